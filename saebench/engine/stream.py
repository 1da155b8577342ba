"""The pass: the model runs once on each batch, each SAE encodes it once, and every metric sees the same codes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saebench.engine.ablation import Ablation
from saebench.engine.accumulate import Fields, Tally, add_fields, by_unit, out_of_memory, reduced
from saebench.engine.batches import Batch, Batcher, frequencies
from saebench.engine.checkpoint import Checkpoint
from saebench.engine.encoding import encoded
from saebench.engine.kept import Kept, Prefix
from saebench.engine.labels import Labels
from saebench.engine.losses import CleanPredictions
from saebench.engine.pooling import Collector, Means
from saebench.engine.truth import firing, true_dictionary, true_features
from saebench.inputs import (
    Activity,
    ErrorModel,
    Losses,
    OtherCodes,
    RandomActivity,
    RandomReconstruction,
    Reconstruction,
    SeedPairs,
    TokenInfo,
    TokenLabels,
    TrueFeatures,
)
from saebench.metric import Metric, NotApplicable, Sums

if TYPE_CHECKING:
    from saebench.data.corpus import Corpus
    from saebench.engine.error_fit import ErrorFit
    from saebench.models import Run, Subject
    from saebench.saes import SparseCoder


@dataclass
class Task:
    """One SAE and the metrics that are still to be taken of it in this pass.

    Attributes:
        sae: The coder.
        metrics: Stream and items metrics.
        tallies: Their sums, in the same order.
        collectors: What items metrics need of the pass, by name.
        errors: The fitted model of its error, where a metric asks for one.
        others: Its codes on text that is not scored, where a metric asks for them.
        pairs: Its seed group, where a metric asks for it.
        doubts: Warnings of the trial before the pass.
        failure: Why the SAE itself could not be run, if it could not.
        seconds: Time spent on encode, decode and resumed forwards.
    """

    sae: SparseCoder
    metrics: list[Metric]
    tallies: list[Tally] = field(default_factory=list)
    collectors: dict[str, Collector] = field(default_factory=dict)
    errors: ErrorFit | None = None
    others: OtherCodes | None = None
    pairs: SeedPairs | None = None
    doubts: list[str] = field(default_factory=list)
    failure: str | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.tallies = [Tally() for _ in self.metrics]

    def fail(self, reason: str) -> None:
        """Give the SAE up."""
        self.failure = reason

    def spend(self, seconds: float) -> None:
        """Count time spent on the SAE itself."""
        self.seconds += seconds

    def wants(self, kind: type) -> bool:
        """Whether one of the metrics asks for this input."""
        return any(kind in metric.inputs.values() for metric in self.metrics)

    def stream(self) -> list[tuple[Metric, Tally]]:
        """The metrics that are fed batch by batch and have not given up."""
        return [(m, t) for m, t in zip(self.metrics, self.tallies, strict=True) if m.kind == "stream" and not t.failure]


class Pass:
    """One run of a model over a corpus for any number of SAEs and metrics.

    Args:
        means: Pooled activations that are wanted, by hook.
        budget: Tokens in a batch, padding included; halved whenever memory runs out. The results do not
            depend on it.
        checkpoint: Where the sums so far are kept, so that a killed pass goes on from there.
        progress: Called after each batch with the share of the corpus that is done.
        kept: What earlier passes over the corpus left of the model's part; this one adds to it.
    """

    def __init__(
        self,
        model: Subject,
        corpus: Corpus,
        tasks: list[Task],
        *,
        means: Mapping[str, Sequence[Means]] | None = None,
        budget: int,
        checkpoint: Checkpoint | None = None,
        progress: Callable[[float], None] | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._kept = kept
        self.model, self.corpus, self.tasks = model, corpus, tasks
        self.budget = budget
        self.means = means or {}
        self._checkpoint = checkpoint
        self._progress = progress
        self._units = int(corpus.blocks[-1]) + 1
        self._batcher = Batcher(corpus, model.device)
        self._frequency = frequencies(corpus, model.vocab_size, model.device)
        self._hooks = sorted({hook for task in tasks for hook in (task.sae.hook_in, task.sae.hook_out)})
        self._losses = model.has_logits and any(task.wants(Losses) for task in tasks)
        truths = [task for task in tasks if task.wants(TrueFeatures)]
        self._truths = {id(task): true_dictionary(model, task.sae) for task in truths}
        streamed = {task.sae.hook_out for task in tasks if task.stream()}
        self.shared: dict[str, Fields] = {hook: {} for hook in streamed}
        known = kept.shared if kept else {}
        self._totals: dict[str, Fields] = {hook: {} for hook in self.shared if hook not in known}
        self._domains = sorted(set(corpus.domains))
        self._rank = self._frequency.argsort(descending=True, stable=True).argsort()
        self._labels = Labels(model, corpus) if any(task.wants(TokenLabels) for task in tasks) else None
        self._ablations: dict[str, Ablation] = {}

    @property
    def wanted(self) -> bool:
        """Whether anything is to be taken of the pass."""
        return bool(self.means) or any(task.stream() or task.collectors for task in self.tasks)

    def run(self) -> None:
        """Run the pass; afterwards the tallies and `shared` hold the sums."""
        with torch.no_grad():
            if self._losses:
                self._ablations = {
                    hook: Ablation(self.model, self.corpus, hook, self._batcher, self.budget) for hook in self._totals
                }
            start = self._restore()
            while start < len(self._batcher.order):
                start = self._step(start)
                self._save(start)
                if self._progress:
                    self._progress(start / len(self._batcher.order))
            self._close()

    def one_row(self) -> None:
        """Take one row alone, and nothing that does not depend on the SAE: the tallies have their full sizes then."""
        self._totals = {}
        with torch.no_grad():
            for add in self._batch(self._prefix(0, 1)):
                add()

    def _step(self, start: int) -> int:
        """One batch, with half the budget for as long as memory runs out; returns where the next one starts."""
        while True:
            end = self._batcher.end(start, self.budget)
            try:
                additions = self._batch(self._prefix(start, end))
            except RuntimeError as error:
                if not out_of_memory(error) or end - start == 1:
                    raise
                self.budget = max(1, self.budget // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            while additions:  # each is let go when it is added
                additions.pop(0)()
            return end

    def _prefix(self, start: int, end: int) -> Prefix:
        """The model's run on a batch, from an earlier pass if one kept it."""
        known = self._kept.prefix((start, end), self._hooks, final=self._losses) if self._kept else None
        if known is not None:
            return known
        batch = self._batcher.batch(start, end)
        run = self.model.forward(batch.tokens, self._hooks, final=self._losses)
        clean = None if run.final is None else CleanPredictions(self.model, run.final, batch)
        made = Prefix(batch, run, clean)
        if self._kept is not None:
            self._kept.keep((start, end), self._hooks, made, self.model)
        return made

    def _batch(self, prefix: Prefix) -> list[Callable[[], None]]:
        """Everything that is to be taken of a batch; nothing is added up before all of it is there."""
        batch, run, clean = prefix
        additions = self._references(batch, run, clean)
        for hook, means in self.means.items():
            acts = run.acts[hook][batch.valid]
            additions += [wanted.adder(acts, batch) for wanted in means]
        known: dict[type, Any] = {TokenInfo: self._info(batch)}
        if self._labels is not None:
            known[TokenLabels] = self._labels.of(batch)
        holds = firing(self.model, batch) if self._truths else None
        for task in self.tasks:
            if id(task) in self._truths:
                known[TrueFeatures] = true_features(self._truths[id(task)], holds)
            if task.failure is None and (task.stream() or task.collectors):
                additions += self._task(task, batch, run, clean, known)
        return additions

    def _references(self, batch: Batch, run: Run, clean: CleanPredictions | None) -> list[Callable[[], None]]:
        """The sums that do not depend on the SAE, by output hook."""
        additions: list[Callable[[], None]] = []
        for hook, totals in self._totals.items():
            y = run.acts[hook][batch.valid].double()
            rows: dict[str, Any] = {"tokens": 1, "power": y.square().sum(-1), "target": y}
            if clean is not None:
                spread = torch.zeros(len(batch.block), dtype=torch.float64, device=batch.block.device)
                spread[batch.predicting] = clean.clean().double()
                rows |= {"ce_clean": spread, "predictions": batch.predicting}
                rows |= self._ablations[hook].observe(batch, run, clean)
            additions.append(partial(add_fields, totals, by_unit(Sums(**rows), batch.block, self._units)))
        return additions

    def _task(
        self, task: Task, batch: Batch, run: Run, clean: CleanPredictions | None, known: Mapping[type, Any]
    ) -> list[Callable[[], None]]:
        """One SAE's encode, decode and resumed forward, and the rows of its metrics."""
        began = time.perf_counter()
        additions: list[Callable[[], None]] = []
        try:
            views = self._views(task, batch, run, clean)
        except (RuntimeError, ValueError, TypeError) as error:
            if out_of_memory(error):
                raise
            return [partial(task.fail, f"the SAE failed on a batch: {type(error).__name__}: {error}")]
        views.update(known)
        additions.append(partial(task.spend, time.perf_counter() - began))
        additions += [collector.adder(views[Activity].codes, batch) for collector in task.collectors.values()]
        additions += [self._metric(metric, tally, views, batch) for metric, tally in task.stream()]
        return additions

    def _views(self, task: Task, batch: Batch, run: Run, clean: CleanPredictions | None) -> dict[type, Any]:
        sae = task.sae
        x, target = run.acts[sae.hook_in][batch.valid], run.acts[sae.hook_out]
        y = x if sae.hook_in == sae.hook_out else target[batch.valid]
        codes = encoded(sae, run.acts[sae.hook_in], batch.valid)
        views: dict[type, Any] = {Activity: Activity(codes, sae.W_dec)}
        views[RandomActivity] = views[Activity]
        if not self.model.has_logits:
            views[Losses] = NotApplicable(f"{self.model.name} has no logits")
        if task.others is not None:
            views[OtherCodes] = task.others
        needs_losses = clean is not None and task.wants(Losses)
        if needs_losses or task.wants(Reconstruction) or task.wants(RandomReconstruction):
            y_hat = sae.decode(codes)
            views[Reconstruction] = Reconstruction(x.float(), y.float(), y_hat.float())
            views[RandomReconstruction] = views[Reconstruction]
            if task.errors is not None:
                views[ErrorModel] = task.errors.predict(x, views[Reconstruction].squared_error)
            if needs_losses:
                assert clean is not None
                spliced = target.clone()
                spliced[batch.valid] = y_hat.to(target.dtype)
                views[Losses] = clean.against(self.model.resume(run, sae.hook_out, spliced))
        return views

    def _metric(self, metric: Metric, tally: Tally, views: Mapping[type, Any], batch: Batch) -> Callable[[], None]:
        began = time.perf_counter()
        outcome = reduced(metric, views, batch.block, self._units)
        return partial(tally.take, outcome, time.perf_counter() - began)

    def _info(self, batch: Batch) -> TokenInfo:
        row, position = batch.where
        ids = batch.tokens[row, position]
        domain = torch.zeros_like(ids)
        if self._domains:
            known = {name: i for i, name in enumerate(self._domains)}
            owners = batch.row_document.tolist()
            of_row = torch.tensor([known[self.corpus.domains[d]] for d in owners], device=ids.device)
            domain = of_row[row]
        return TokenInfo(
            ids=ids,
            position=position,
            frequency=self._frequency[ids],
            domain=domain,
            domains=tuple(self._domains),
            rank=self._rank[ids],
            row=torch.from_numpy(batch.rows).to(ids.device)[row],
            total=self.corpus.content,
            vocabulary=self.model.vocab_size,
        )

    def _close(self) -> None:
        """Finish the shared sums: the variance about the corpus mean, and the ablations that waited for it."""
        for hook, totals in self._totals.items():
            tokens, target = totals["tokens"], totals["target"]
            mean = target.sum(0) / tokens.sum()
            variance = totals["power"] - 2 * target @ mean + tokens * (mean @ mean)
            shared = {name: value for name, value in totals.items() if name != "target"}
            shared["variance"] = np.maximum(variance, 0)
            if hook in self._ablations:
                centre = torch.from_numpy(mean).float().to(self.model.device)
                shared |= self._ablations[hook].closing(centre)
            self.shared[hook] = shared
        if self._kept is not None:
            self._kept.shared.update({hook: self.shared[hook] for hook in self._totals})
            self.shared = {hook: self._kept.shared[hook] for hook in self.shared}

    def _restore(self) -> int:
        return self._checkpoint.restore(self.tasks, self._totals, self.means) if self._checkpoint else 0

    def _save(self, start: int) -> None:
        if self._checkpoint:
            self._checkpoint.save(start, self.tasks, self._totals, self.means, last=start == len(self._batcher.order))
