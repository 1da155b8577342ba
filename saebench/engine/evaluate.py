"""`evaluate`: from references to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saebench.engine import execute
from saebench.engine.judged import chosen_judge
from saebench.engine.prepare import prepare
from saebench.errors import UserError
from saebench.progress import Progress
from saebench.results import Results, Row, Store
from saebench.suite import Suite, load_suite


def evaluate(
    saes: Any = (),
    suite: str | Path | Suite | Mapping[str, Any] = "core",
    *,
    model: Any = None,
    data: Mapping[str, Any] | None = None,
    metrics: Sequence[str] | None = None,
    groups: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    hook: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int | None = None,
    repeats: int | None = None,
    judge: Any = None,
    executor: str = "local",
    offline: bool = False,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Score SAEs on a suite: one pass of the model over each corpus, whatever the number of SAEs and metrics.

    Args:
        saes: References (`world:NAME`, a path, `saelens:RELEASE/ID`, `hf:OWNER/REPO`) or objects with
            encode and decode; one, a list, or a mapping from names to them. Empty: those of the suite.
        suite: Name, YAML file, mapping or `Suite`.
        model: Hub id, local directory, model object or `Subject`. None: the suite's, else the one that
            the SAEs name.
        data: Source by data name, such as `{"text": "file.jsonl"}`, strings, or token ids `[rows, context]`.
        metrics: Only these, instead of all of the suite.
        groups: SAEs of one recipe and different seeds by name of the group; they are scored as well.
        out: Folder for the rows. Finished rows found there are not computed again.
        hook: Hook of SAEs that do not name theirs.
        device: auto, cpu, cuda, cuda:1, mps; shard spreads the model over all devices.
        dtype: Precision of the model; auto is float32 on a CPU and the checkpoint's own on a GPU.
        seed: Instead of the suite's.
        repeats: Seeds to score with, from `seed` upwards, instead of the suite's. More than one gives each metric
            its reseed noise (`noise` and `mdd` of the frame): how far it moves on the same SAE with its own
            randomness alone. Everything else is read and run again as it was.
        judge: Who explains and scores latents, instead of the suite's: `ngram` (no network), `openai:MODEL`, one of
            these with settings (`{"openai:MODEL": {"budget_calls": 500}}`), or a `Judge`.
        executor: Where units of work run; "local" is this process.
        offline: Refuse what needs a network.
        only_cached: Return what `out` holds and run nothing.
        progress: Receives the run's events.

    Returns:
        All rows of the plan, old and new. A SAE or metric that failed has rows with a reason.

    Raises:
        UserError: Nothing can be run as asked; the message says what to change.
    """
    if executor != "local":
        raise UserError(f"Unknown executor {executor!r}. Choose from: local.")
    suite = load_suite(suite)
    repeats = suite.repeats if repeats is None else repeats
    if repeats < 1:
        raise UserError(f"repeats is {repeats}: give the number of seeds to score with, 1 or more.")
    progress = progress or Progress()
    store = Store(out) if out is not None else None
    first = suite.seed if seed is None else seed
    asked = chosen_judge(suite.judge if judge is None else judge)  # one for all seeds, so that its budget is the run's
    rows: list[Row] = []
    used = False
    for again in range(first, first + repeats):
        plan = prepare(
            saes,
            suite,
            model=model,
            data=data,
            metrics=metrics,
            groups=groups,
            store=store,
            hook=hook,
            device=device,
            dtype=dtype,
            seed=again,
            judge=asked,
            offline=offline,
        )
        progress.planned(plan)
        rows += plan.cached
        for made in (
            [] if only_cached else execute.run(plan, partial=_partial(out), progress=progress, pages=_folder(out))
        ):
            if store is not None:
                store.append(made)
            rows += made
            progress.finished(made)
        used = used or any(cell.judged for cell in plan.cells)
    if used and (ledger := getattr(asked, "ledger", None)):
        progress.judged(asked.name, str(ledger))
    return Results(rows)


def _folder(out: str | Path | None) -> Path | None:
    """The folder that the rows are in."""
    if out is None:
        return None
    place = Path(out)
    return place.parent if place.suffix == ".jsonl" else place


def _partial(out: str | Path | None) -> Path | None:
    """Where an unfinished pass is kept: beside the rows."""
    folder = _folder(out)
    return folder and folder / "partial"
