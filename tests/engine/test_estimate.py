"""The memory that a plan announces has in it what the pass will keep."""

from __future__ import annotations

import saebench as sb
from saebench.engine import estimate
from saebench.engine.prepare import prepare
from saebench.engine.stream import Pass, Task
from tests.helpers.toys import ToySAE, tiny_llama, token_rows

WIDTH = 96


def test_announced_memory_holds_the_sums_of_every_sae() -> None:
    model = tiny_llama()
    suite = {
        "metric": ["max_phi", "negative_interference", "l0", "dead_fraction"],
        "references": {"null": None, "baseline": None},
    }
    saes = [sb.load_sae(ToySAE(WIDTH, seed=seed), name=f"toy{seed}") for seed in range(3)]
    plan = prepare(saes, suite, model=model, data={"text": token_rows(400, 12)})
    tasks = [
        Task(sae, [cell.metric for cell in plan.cells if cell.sae is sae]) for sae in {c.sae: 1 for c in plan.cells}
    ]
    corpus = plan.cells[0].corpus
    assert corpus is not None
    Pass(plan.cells[0].model, corpus, tasks, budget=256).run()
    kept = sum(value.nbytes for task in tasks for tally in task.tallies for value in tally.fields.values())
    assert kept > 3 * 2 * 8 * WIDTH**2, "of each SAE two matrices of latents by latents"
    assert estimate._kept(plan.cells) == 2 * kept
    assert estimate.memory_gb(plan.cells) > 0.1, "the process itself is counted"
