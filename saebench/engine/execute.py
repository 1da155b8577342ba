"""Run a plan: the weights, then one pass for each corpus; rows come out as they are finished."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saebench.engine import agreement, items
from saebench.engine.accumulate import Tally, reduced
from saebench.engine.checkpoint import Checkpoint
from saebench.engine.doubts import doubts
from saebench.engine.fits import Fit, fit
from saebench.engine.gate import measured_warnings
from saebench.engine.joint import Joint
from saebench.engine.kept import Kept
from saebench.engine.latent import write_pages
from saebench.engine.latent_table import write_table
from saebench.engine.pooling import Pool
from saebench.engine.rooms import moved_in, rooms
from saebench.engine.rows import Cell
from saebench.engine.stream import Pass, Task
from saebench.engine.truth import true_dictionary
from saebench.inputs import (
    FITTED,
    ErrorModel,
    JudgedLatents,
    OtherCodes,
    SeedPairs,
    TokenLabels,
    TrueDictionary,
    Weights,
)
from saebench.metric import NotApplicable
from saebench.progress import Progress
from saebench.results import Row

if TYPE_CHECKING:
    from saebench.engine.plan import Failure, Plan
    from saebench.saes import SparseCoder

LATENT_ROOM = {"cpu": 2**27, "cuda": 2**30}
"""Most pre-activations (tokens x latents) of a batch by kind of device; it sets the token budget."""


def run(
    plan: Plan,
    *,
    partial: Path | None,
    progress: Progress,
    kept: dict[str, Kept] | None = None,
    pages: Path | None = None,
) -> Iterator[list[Row]]:
    """Yield the rows of the plan, one SAE at a time.

    Args:
        plan: What to run.
        partial: Where unfinished passes are kept.
        progress: Receives the run's events.
        kept: The model's part of earlier passes by data name, used and added to; only for one model and the same data.
        pages: Folder for pages and tables of latents.
    """
    for judge in {id(cell.judge): cell.judge for cell in plan.cells if cell.judged}.values():
        if hasattr(judge, "check"):
            judge.check()  # pyright: ignore[reportAttributeAccessIssue]
    for failure in plan.failures:
        yield _not_loaded(plan, failure)
    for cell in plan.unreadable:
        yield [cell.failed("error" if cell.model.truth is None else "not_applicable", cell.problem)]
    for data, cells in plan.passes().items():
        known = kept.setdefault(data, Kept()) if kept is not None else None
        parts = rooms(cells)
        for number, part in enumerate(parts):
            advanced = _share_of(progress, data, number, len(parts))
            with moved_in(part) if len(parts) > 1 else nullcontext(part) as inside:
                yield from _stream(inside, partial, advanced, known, pages) if data else _weights(inside)


def _share_of(progress: Progress, data: str, number: int, parts: int) -> Callable[[float], None]:
    """What tells of one of several passes over the same text."""
    return lambda share: progress.advanced(data, (number + share) / parts)


def token_budget(device: torch.device, saes: Iterable[SparseCoder]) -> int:
    """Tokens in a batch: 4,096 on a CPU and 16,384 on a GPU, fewer for very wide SAEs."""
    kind = "cpu" if device.type == "cpu" else "cuda"
    widest = max((sae.d_sae for sae in saes), default=1)
    most = 4096 if kind == "cpu" else 16384
    return max(256, min(most, LATENT_ROOM[kind] // widest))


def _weights(cells: list[Cell]) -> Iterator[list[Row]]:
    for own in _by_sae(cells):
        weights, truth = Weights(own[0].sae), true_dictionary(own[0].model, own[0].sae)
        with torch.no_grad():
            yield [row for cell in own for row in _weights_cell(cell, weights, truth)]


def _weights_cell(cell: Cell, weights: Weights, truth: TrueDictionary | NotApplicable) -> list[Row]:
    began = time.perf_counter()
    tally = Tally()
    given = {Weights: weights, SeedPairs: cell.pairs, TrueDictionary: truth}
    outcome = reduced(cell.metric, given, None, 1)
    tally.take(outcome, time.perf_counter() - began)
    return cell.rows(tally, {}, warnings=[*cell.sae.warnings, *cell.group_warnings])


def _stream(
    cells: list[Cell],
    partial: Path | None,
    advanced: Callable[[float], None],
    kept: Kept | None,
    pages: Path | None,
) -> Iterator[list[Row]]:
    groups = _by_sae(cells)
    tasks = [Task(own[0].sae, [cell.metric for cell in own]) for own in groups]
    model, joint = cells[0].model, Joint.of(cells)
    dataset = joint.whole
    for own, task in zip(groups, tasks, strict=True):
        task.collectors = items.collectors(task, dataset, cells[0].seed)
        task.pairs = next((cell.pairs for cell in own if cell.pairs), None)
    company = agreement.attach(tasks)
    budget = token_budget(model.device, [task.sae for task in tasks])
    _fit(cells, tasks, budget)
    checkpoint = Checkpoint(partial, _key(cells)) if partial else None
    stream = Pass(
        model,
        dataset.corpus,
        [*tasks, *company],
        means=items.means(tasks, dataset.corpus, model),
        budget=budget,
        checkpoint=checkpoint,
        progress=advanced,
        kept=kept,
    )
    if stream.wanted:
        for task, found in zip(tasks, doubts(model, dataset.corpus, [task.sae for task in tasks]), strict=True):
            task.doubts = found
        stream.run()
    saes = [task.sae for task in tasks]
    shared = {
        name: items.Shared(
            model, part, joint.means(name, stream.means), stream.budget, saes, cells[0].judge, cells[0].seed
        )
        for name, part in joint.parts.items()
    }
    for own, task in zip(groups, tasks, strict=True):
        given = _given(task, joint, shared)
        if pages and JudgedLatents in given:
            write_pages(pages, task.sae.name, cells[0].seed, given[JudgedLatents].drawn)
        sums = stream.shared.get(task.sae.hook_out, {})
        yield _rows_of(own, task, sums)
        if pages and not task.failure:
            write_table(pages, own, task.tallies, sums)
        task.collectors.clear()
    if checkpoint:
        checkpoint.remove()


def _fit(cells: list[Cell], tasks: list[Task], budget: int) -> None:
    """Fit what metrics ask for of text that is not scored; a SAE that cannot be run fails with the reason."""
    fitting = next((cell.fitting for cell in cells if cell.fitting), None)
    fits = {
        id(task): Fit(task.sae, task.wants(ErrorModel), task.wants(OtherCodes), task.wants(TokenLabels))
        for task in tasks
        if task.wants(ErrorModel) or task.wants(OtherCodes)
    }
    if fitting is None:
        _without_text(tasks)
        return
    if not fits:
        return
    fit(cells[0].model, fitting.corpus, list(fits.values()), budget)
    for task in tasks:
        if made := fits.get(id(task)):
            task.errors, task.others = made.error_fit, made.others
            if made.failure:
                task.fail(made.failure)


def _without_text(tasks: list[Task]) -> None:
    """Give up the metrics that choose something on text, for there is none."""
    for task in tasks:
        for metric, tally in zip(task.metrics, task.tallies, strict=True):
            if FITTED & set(metric.inputs.values()):
                tally.failure = ("error", "there is no text to fit to: the suite's `text` could not be read")


def _given(task: Task, joint: Joint, shared: dict[str, items.Shared]) -> dict[type, Any]:
    """Take the items metrics of one SAE, dataset by dataset; returns their inputs."""
    pooled = (
        {how: pool.pooled() for how, pool in task.collectors.items() if isinstance(pool, Pool)} if joint.rows else {}
    )
    given: dict[type, Any] = {}
    for name, part in shared.items():
        own = joint.task(task, name, pooled)
        given |= _items(own, part)
        if own is not task:
            task.spend(own.seconds)
    return given


def _items(task: Task, shared: items.Shared) -> dict[type, Any]:
    """Take the items metrics of one SAE from what the pass has collected; returns their inputs."""
    wanted = [
        (metric, tally) for metric, tally in zip(task.metrics, task.tallies, strict=True) if metric.kind == "items"
    ]
    if not wanted or task.failure:
        return {}
    began = time.perf_counter()
    try:
        given = items.inputs(task, shared)
    except (NotApplicable, RuntimeError, ValueError, TypeError, IndexError) as error:
        status = "not_applicable" if isinstance(error, NotApplicable) else "error"
        for _, tally in wanted:
            tally.failure = (status, str(error))
        return {}
    task.spend(time.perf_counter() - began)
    for metric, tally in wanted:
        began = time.perf_counter()
        outcome = reduced(metric, given, None, 0)
        tally.take(outcome, time.perf_counter() - began)
    return given


def _rows_of(cells: list[Cell], task: Task, shared: dict[str, np.ndarray]) -> list[Row]:
    if task.failure:
        return [cell.failed("error", task.failure, cell.sae.warnings) for cell in cells]
    seconds = task.seconds / len(cells)
    warnings = [*task.sae.warnings, *measured_warnings(task, shared), *task.doubts]
    return [
        row
        for cell, tally in zip(cells, task.tallies, strict=True)
        for row in cell.rows(
            tally,
            shared,
            warnings=[*warnings, *cell.fit_warnings, *cell.group_warnings, *cell.data_warnings, *cell.judge_warnings],
            seconds=seconds,
        )
    ]


def _not_loaded(plan: Plan, failure: Failure) -> list[Row]:
    """A row for each metric of a SAE that could not be loaded."""
    return [
        Row(
            sae=failure.name,
            sae_ref=failure.ref,
            metric=metric.name,
            version=metric.version,
            model=plan.model.name,
            suite=plan.suite.name,
            status="error",
            reason=failure.reason,
            better=metric.better,
            unit=metric.unit,
            signature=f"{metric.signature}|model:{plan.model.name}|sae:{failure.ref}|not loaded",
        )
        for metric in plan.metrics
    ]


def _by_sae(cells: list[Cell]) -> list[list[Cell]]:
    grouped: dict[int, list[Cell]] = {}
    for cell in cells:
        grouped.setdefault(id(cell.sae), []).append(cell)
    return list(grouped.values())


def _key(cells: list[Cell]) -> str:
    """Short hash of everything a pass depends on."""
    parts = "\n".join(cell.signature for cell in cells)
    return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()
