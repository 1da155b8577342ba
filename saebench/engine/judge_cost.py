"""What the judge of a run would cost, before anything is asked: stand-ins for its tasks, of windows of the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.data.pieces import Pieces
from saebench.engine.judged import sampling, windows_of
from saebench.inputs.judged import RANDOM, TOP, WEIGHTED
from saebench.judges.protocol import Context, ExplainTask, Explanation, ScoreTask

if TYPE_CHECKING:
    from saebench.data.datasets import Dataset
    from saebench.engine.rows import Cell
    from saebench.inputs import Sampling

_STAND_INS = 8
"""Latents whose tasks are made up; the others cost as much."""
_SENTENCE = "mentions of family members, especially in the possessive, in descriptions of people"

Tasks = list[ExplainTask | ScoreTask]


def cost(cells: Sequence[Cell]) -> dict[str, Any] | None:
    """Name of the judge and what its answers would cost at most; None where no cell asks for it.

    Calls, tokens and money are None for a judge that costs nothing.
    """
    asked = [cell for cell in cells if cell.judged]
    if not asked:
        return None
    judge = asked[0].judge
    told: dict[str, Any] = {"name": judge.name, "calls": None, "tokens": None, "money": None}
    if not hasattr(judge, "estimate"):
        return told
    groups: dict[tuple[str, Sampling], list[Cell]] = {}
    for cell in asked:
        groups.setdefault((cell.sae.name, known(cell)), []).append(cell)
    parts = [_estimate(judge, own) for own in groups.values()]
    money = [part[2] for part in parts]
    return {
        **told,
        "calls": sum(part[0] for part in parts),
        "tokens": sum(part[1] for part in parts),
        "money": None if None in money else sum(m for m in money if m is not None),
    }


def known(cell: Cell) -> Sampling:
    """The sampling of a cell that has one."""
    found = sampling(cell.metric)
    assert found is not None
    return found


def _estimate(judge: Any, cells: Sequence[Cell]) -> tuple[int, int, float | None]:
    """Calls, tokens and money for the cells of one SAE and sampling."""
    s, data = known(cells[0]), cells[0].data
    assert data is not None
    latents = min(s.latents or cells[0].sae.d_sae, cells[0].sae.d_sae)
    names = {cell.metric.name for cell in cells}
    made = _Made(data, cells[0].model.tokenizer, s, cells[0].seed)
    tasks = [task for i in range(min(_STAND_INS, latents)) for task in made.tasks(i, names)]
    found = judge.estimate(tasks)
    times = latents / max(1, min(_STAND_INS, latents))
    tokens = (found.prompt_tokens + found.completion_tokens) * times
    return round(found.calls * times), round(tokens), None if found.money is None else found.money * times


class _Made:
    """Tasks of the sizes that the metrics ask for, each of other windows."""

    def __init__(self, data: Dataset, tokenizer: Any, s: Sampling, seed: int) -> None:
        self._windows, self._pieces, self._s = windows_of(data, s, seed), Pieces(tokenizer), s
        self._next = self._endless()

    def _endless(self) -> Iterator[int]:
        while True:
            yield from range(len(self._windows))

    def tasks(self, latent: int, names: set[str]) -> Tasks:
        """The tasks of one latent."""
        s = self._s
        shown = self._contexts(s.top + s.weighted + s.spread, fires=True)
        tasks: Tasks = [ExplainTask(latent, shown, self._contexts(s.silent, fires=False))]
        told = Explanation(f"{_SENTENCE} {latent}")
        firing = 3 * s.stratum
        if names & {"detection", "detection_auroc", "detection_unscored"}:
            contexts = self._contexts(firing, fires=True) + self._contexts(s.stratum + s.random, fires=False)
            tasks.append(ScoreTask("detection", latent, told, contexts))
        if names & {"fuzzing", "fuzzing_auroc"}:
            marked = (frozenset({0, 1}),) * firing
            tasks.append(ScoreTask("fuzzing", latent, told, self._contexts(firing, fires=True), marked))
        if "detection@saebench" in names:
            contexts = self._contexts(TOP + WEIGHTED, fires=True) + self._contexts(RANDOM, fires=False)
            tasks.append(ScoreTask("detection", latent, told, contexts))
        return tasks

    def _contexts(self, count: int, *, fires: bool) -> tuple[Context, ...]:
        made = []
        for window in (next(self._next) for _ in range(count)):
            tokens = self._pieces.of(self._windows.ids(window).tolist())
            acts = np.zeros(len(tokens))
            acts[len(tokens) // 2] = float(fires)
            stratum = "top" if fires else "random"
            made.append(Context(tokens, tuple(acts.tolist()), int(self._windows.document[window]), stratum))
        return tuple(made)
