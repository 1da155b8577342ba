"""Scoring in a training loop: the model's part is computed once, each score takes the SAE's part alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.engine import execute
from saebench.engine.judged import chosen_judge, refuse_remote
from saebench.engine.kept import Kept
from saebench.engine.plan import GROUPED, chosen_data, chosen_metrics, make_plan
from saebench.engine.prepare import fitting_saes, load_subject, read_data
from saebench.engine.references import fitting_text
from saebench.errors import UserError, unknown
from saebench.inputs import FITTED
from saebench.metric import Metric
from saebench.progress import Progress
from saebench.results import Results, Row, Store, compare
from saebench.suite import Suite, load_suite

if TYPE_CHECKING:
    from saebench.engine.references import Fitting
    from saebench.saes import SparseCoder

Log = Callable[[int, dict[str, float]], Any]
"""Receives a step and its numbers by name, such as `lambda step, numbers: wandb.log(numbers, step=step)`."""


class Monitor:
    """Scores a SAE while it is trained: a suite every so many steps, with error bars, in seconds.

    The text is read and the model run on it once, when the monitor is made and at the first score; activations at the
    hooks and clean losses stay in memory. Each score then encodes, decodes and resumes from the hook. In a loop::

        monitor = saebench.Monitor("gpt2", every=1000, hook="blocks.8.hook_resid_post", out="runs/train")
        for step in range(steps):
            ...
            monitor(step, sae)
            if monitor.should_stop("loss_recovered", patience=5):
                break

    With SAELens: `SAETrainer(..., evaluator=monitor.evaluator)`, which is called as often as its logger says.

    Args:
        model: As in `evaluate`; an object that is in memory already is used as it is.
        data: Source by data name, as in `evaluate`.
        suite: What is scored; metrics that need other SAEs of a seed group cannot be.
        every: Steps between scores.
        metrics: Only these, instead of all of the suite.
        hook: Hook of a SAE that does not name its own.
        out: Folder or `.jsonl` file for the rows.
        name: Name of the SAE; its rows are called `NAME@STEP`.
        log: Called with each score's step and numbers, such as W&B's log.
        room: Bytes for clean log-probabilities; what does not fit is taken again at each score.
        device: As in `evaluate`.
        dtype: As in `evaluate`.
        seed: Instead of the suite's.
        offline: Refuse what needs a network.

    Raises:
        UserError: Nothing can be scored as asked; the message says what to change.
    """

    def __init__(
        self,
        model: Any,
        data: Mapping[str, Any] | None = None,
        suite: str | Path | Suite | Mapping[str, Any] = "quick",
        every: int = 1000,
        *,
        metrics: Sequence[str] | None = None,
        hook: str | None = None,
        out: str | os.PathLike[str] | None = None,
        name: str = "sae",
        log: Log | None = None,
        room: int = 2**30,
        device: str = "auto",
        dtype: str = "auto",
        seed: int | None = None,
        offline: bool = False,
    ) -> None:
        if every < 1:
            raise UserError(f"every is {every}: give the number of steps between scores, 1 or more.")
        self.every, self.hook, self.name, self.log = every, hook, name, log
        self.suite = load_suite(suite)
        self.seed = self.suite.seed if seed is None else seed
        self.metrics = chosen_metrics(self.suite, metrics)
        _check(self.metrics)
        judge: Any = self.suite.judge
        self._judge = chosen_judge(judge)
        if offline:
            refuse_remote(self._judge, self.metrics)
        self.model = load_subject(model, (), device=device, dtype=dtype, offline=offline)
        sources = chosen_data(self.suite, data, self.metrics)
        self._read = read_data(sources, self.model, seed=self.seed, offline=offline)
        self._fitting = self._text(sources, offline)
        self._kept = {name: Kept(room) for name in self._read}
        self._store = Store(out) if out is not None else None
        self.steps: list[int] = []
        self.history: dict[int, Results] = {}
        self._told: dict[tuple[Any, ...], bool] = {}

    def __call__(self, step: int, sae: Any) -> Results | None:
        """Score the SAE if its turn has come: at step `every`, 2 `every` and so on; None at the others."""
        return self.score(step, sae) if step > 0 and step % self.every == 0 else None

    def score(self, step: int, sae: Any) -> Results:
        """Score the SAE as it is now.

        Args:
            step: Name of the score; one that was there before is replaced.
            sae: Anything that `load_sae` takes; a training SAE of SAELens is scored as what it would save.
        """
        coder = _coder(sae, f"{self.name}@{step}", self.hook).to(device=self.model.device)
        fitting, misfits = fitting_saes([coder], self.model)
        if not fitting:
            raise UserError(misfits[0].reason)
        plan = make_plan(
            self.model, self.suite, self.metrics, fitting, self._read, {}, seed=self.seed, fitting=self._fitting,
            judge=self._judge,
        )  # fmt: skip
        rows: list[Row] = []
        for made in execute.run(plan, partial=None, progress=Progress(), kept=self._kept):
            rows += made
        results = Results(rows)
        if self._store is not None:
            self._store.append(results.rows)
        self.history[step] = results
        self._told.clear()
        self.steps = sorted(self.history)
        if self.log is not None:
            self.log(step, self.numbers(step))
        return results

    def numbers(self, step: int) -> dict[str, float]:
        """The numbers of a step by name, with `NAME_stderr` beside each that has one; missing ones are left out."""
        found: dict[str, float] = {}
        for row in self.history[step]:
            label = row.metric + (f"[{row.slice}]" if row.slice else "")
            if row.value is not None:
                found[label] = row.value
                if row.stderr is not None:
                    found[f"{label}_stderr"] = row.stderr
        return found

    def values(self, metric: str, slice: str = "") -> dict[int, float | None]:
        """A metric's value by step.

        Raises:
            UserError: The suite has no such metric or slice.
        """
        return {step: row.value for step, row in self._rows(metric, slice).items()}

    def should_stop(self, metric: str, *, slice: str = "", patience: int = 3, least: float = 0.0) -> bool:
        """Whether none of the last `patience` scores is surely better than the best one before them.

        "Surely" is the paired test of `compare` at 5 %, on the same text: noise does not prolong a training, and does
        not end it early either.

        Args:
            metric: What training is to improve.
            slice: Slice of it.
            patience: Scores without improvement that are waited for.
            least: Improvement, in the metric's unit, below which nothing counts.

        Raises:
            UserError: The suite has no such metric, or the metric has no direction.
        """
        if patience < 1:
            raise UserError(f"patience is {patience}: give a number of scores, 1 or more.")
        if not self.steps:
            return False
        question = (metric, slice, patience, least)
        if question not in self._told:
            self._told[question] = self._stalled(metric, slice, patience, least)
        return self._told[question]

    def _stalled(self, metric: str, slice_name: str, patience: int, least: float) -> bool:
        rows = self._rows(metric, slice_name)
        better = next(iter(rows.values())).better
        if better == "none":
            raise UserError(f"{metric} has no direction: choose a metric that can be better or worse.")
        told = {step: _goodness(row) for step, row in rows.items() if row.value is not None}
        before = [step for step in self.steps[:-patience] if step in told]
        if not before:
            return False
        best = max(before, key=lambda step: told[step])
        late = [step for step in self.steps[-patience:] if step in told]
        return not any(
            told[step] - told[best] > least and self._surely(metric, slice_name, best, step) for step in late
        )

    def evaluator(self, sae: Any, data_provider: Any = None, activation_scaler: Any = None) -> dict[str, Any]:
        """The monitor as SAELens' `SAETrainer` calls it: `SAETrainer(..., evaluator=monitor.evaluator)`.

        It scores at every call and counts the calls, `every` steps each; the trainer logs what it returns.
        """
        step = (self.steps[-1] if self.steps else 0) + self.every
        self.score(step, _unscaled(sae, activation_scaler, self.name))
        return {f"saebench/{name}": value for name, value in self.numbers(step).items()}

    def results(self) -> Results:
        """All rows so far."""
        return Results(row for step in self.steps for row in self.history[step])

    def _text(self, sources: Mapping[str, tuple[Any, Any]], offline: bool) -> Fitting | None:
        """Text that is not scored, for metrics that fit something beforehand."""
        if not any(FITTED & set(metric.inputs.values()) for metric in self.metrics):
            return None
        readable = {name: data.corpus for name, data in self._read.items() if not isinstance(data, str)}
        return fitting_text(readable, sources, self.model, offline=offline)

    def _rows(self, metric: str, slice_name: str) -> dict[int, Row]:
        found = {
            step: row
            for step in self.steps
            for row in self.history[step]
            if (row.metric, row.slice) == (metric, slice_name)
        }
        if not found and self.steps:
            names = {row.metric + (f"[{row.slice}]" if row.slice else "") for row in self.history[self.steps[-1]]}
            raise unknown("number of this monitor", metric + (f"[{slice_name}]" if slice_name else ""), names)
        return found

    def _surely(self, metric: str, slice_name: str, earlier: int, later: int) -> bool:
        chosen = [self.history[step].filter(metric=metric, slice=slice_name) for step in (earlier, later)]
        names = [f"{self.name}@{step}" for step in (earlier, later)]
        comparison = compare(*chosen, sae_a=names[0], sae_b=names[1])
        return bool(comparison.where("better"))


def _check(metrics: Sequence[Metric]) -> None:
    grouped = [metric.name for metric in metrics if GROUPED & set(metric.inputs.values())]
    if grouped:
        raise UserError(f"{', '.join(grouped)} compares SAEs of several seeds: a monitor has one. Leave it out.")


def _goodness(row: Row) -> float:
    assert row.value is not None
    return {"higher": row.value, "lower": -row.value, "one": -abs(row.value - 1.0)}[row.better]


def _coder(sae: Any, name: str, hook: str | None) -> SparseCoder:
    """The SAE under the name of its step."""
    from saebench.saes import load_sae
    from saebench.saes.saelens import in_training

    coder = load_sae(in_training(sae, name) or sae, hook=hook)
    return coder.replace(name=name) if hasattr(coder, "replace") else coder  # pyright: ignore[reportAttributeAccessIssue]


def _unscaled(sae: Any, scaler: Any, name: str) -> Any:
    """A SAELens training SAE that takes activations as the model gives them."""
    from saebench.saes.saelens import in_training

    if getattr(scaler, "whitening", None) is not None:
        raise UserError("SAELens whitens the activations of this training; a SAE on whitened ones cannot be scored.")
    factor = getattr(scaler, "scaling_factor", None)
    return in_training(sae, name, scale=float(factor)) or sae if factor is not None else sae
