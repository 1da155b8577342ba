"""Items metrics: what a pass must collect for them, and the inputs that are made of it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saebench.engine.judged import all_drawn
from saebench.engine.judged import collectors as contexts
from saebench.engine.pooling import Collector, Density, Means, Picked, Pool
from saebench.inputs import (
    Activations,
    EntityCodes,
    EntityModel,
    JudgedLatents,
    LabelledCodes,
    LabelledEffects,
    LastTokenCodes,
    PooledCodes,
    QuestionRuns,
    SampledLatents,
    SeedCodes,
    WordCodes,
)

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.data.datasets import Dataset
    from saebench.engine.stream import Task
    from saebench.judges.protocol import Judge
    from saebench.metric import Metric
    from saebench.models import Subject
    from saebench.saes import SparseCoder

_LABELLED = (LabelledCodes, LastTokenCodes)


def document_lengths(corpus: Corpus) -> np.ndarray:
    """Valid tokens of each document, `[documents]`."""
    owner = np.repeat(corpus.documents, corpus.lengths)[corpus.valid]
    return np.bincount(owner, minlength=int(corpus.documents[-1]) + 1)


def collectors(task: Task, data: Dataset, seed: int) -> dict[str, Collector]:
    """What one SAE's metrics need collected in a pass."""
    lengths = document_lengths(data.corpus)
    ways = {how for metric in task.metrics for how in _poolings(metric)}
    if not task.sae.normalised and "effect" in ways:
        ways = ways - {"effect"} | {"mean"}
    made: dict[str, Collector] = {how: Pool(how, lengths, task.sae.d_sae) for how in sorted(ways)}
    if any(task.wants(kind) for kind in (WordCodes, EntityCodes)):
        made["picked"] = Picked()
    return made | contexts(task, data, seed)


def means(tasks: Iterable[Task], corpus: Corpus, model: Subject) -> dict[str, list[Means]]:
    """The pooled activations that the metrics of a pass need, by hook."""
    lengths = document_lengths(corpus)
    wanted = {(hook, how) for task in tasks for metric in task.metrics for hook, how in _activations(metric, task)}
    made: dict[str, list[Means]] = {}
    for hook, how in sorted(wanted):
        made.setdefault(hook, []).append(Means(how, lengths, model.site(hook).width))
    return made


def _poolings(metric: Metric) -> Iterable[str]:
    kinds = set(metric.inputs.values())
    if kinds & set(_LABELLED):
        yield metric.settings.get("pooling", "mean")
    if LabelledEffects in kinds:
        yield "effect"
    if PooledCodes in kinds:
        yield "mean"


def _activations(metric: Metric, task: Task) -> Iterable[tuple[str, str]]:
    kinds = set(metric.inputs.values())
    if kinds & set(_LABELLED):
        yield task.sae.hook_in, metric.settings.get("pooling", "mean")
    if LabelledEffects in kinds:
        yield task.sae.hook_out, "mean"
    if kinds & {WordCodes, EntityCodes}:
        yield task.sae.hook_out, "last"


class Shared:
    """What is the same for every SAE of a pass: activations by hook, with what metrics have made of them."""

    def __init__(
        self,
        model: Subject,
        data: Dataset,
        pooled: Mapping[str, Sequence[Means]],
        budget: int,
        saes: Sequence[SparseCoder],
        judge: Judge,
        seed: int,
    ) -> None:
        self.model, self.data, self.budget, self._saes = model, data, budget, saes
        self.judge, self.seed = judge, seed
        self._activations = {
            hook: Activations({part.how: part.pooled() for part in parts}) for hook, parts in pooled.items()
        }
        self._entities: dict[str, EntityModel] = {}

    def activations(self, hook: str) -> Activations:
        """Pooled activations at a hook."""
        return self._activations[hook]

    def check(self, hook: str) -> None:
        """Refuse activations that are not finite, where some were pooled.

        Raises:
            ValueError: Which items have them.
        """
        known = self._activations.get(hook)
        for pooled in known.pooled.values() if known else ():
            _finite(~pooled.isfinite().all(1), f"the model's activations at {hook}", self.data)

    def entities(self, hook: str) -> EntityModel:
        """The frozen model on the prompts about entities, for edits at a hook."""
        if hook not in self._entities:
            from saebench.engine.resume import EntityResume

            resume = EntityResume(self.model, self.data, hook, self.budget)
            y = self._activations[hook].pooled["last"].to(self.model.device)
            self._entities[hook] = EntityModel(self.data.items, y, resume.right(), resume)
        return self._entities[hook]

    @cached_property
    def clean(self) -> Tensor:
        """Logits of the questions' options without an intervention, `[prompts, options]`."""
        from saebench.engine.answers import clean_answers

        return clean_answers(self.model, self.data, self.budget)

    @cached_property
    def densities(self) -> dict[str, dict[str, Density | str]]:
        """How often each SAE's latents fire on the texts beside the items, or why it failed; a pass a text."""
        from saebench.engine.answers import density

        found: dict[str, dict[str, Density | str]] = {sae.name: {} for sae in self._saes}
        for text, corpus in self.data.aside.items():
            for sae, part in zip(self._saes, density(self.model, corpus, self._saes, self.budget), strict=True):
                found[sae.name][text] = part
        return found


def inputs(task: Task, shared: Shared) -> dict[type, Any]:
    """The inputs of one SAE's items metrics, by type.

    Raises:
        ValueError: An activation or a code is not finite; a SAE that does not fire on NaN would hide it.
    """
    sae, data = task.sae, shared.data
    kinds = {kind for metric in task.metrics for kind in metric.inputs.values()}
    for hook in dict.fromkeys([sae.hook_in, sae.hook_out]):
        shared.check(hook)
    pools = {how: pool.pooled() for how, pool in task.collectors.items() if isinstance(pool, Pool)}
    for codes in pools.values():
        _finite(codes.sum((~codes.values.isfinite()).double()) > 0, "the SAE's codes", data)
    made: dict[type, Any] = {}
    if PooledCodes in kinds:
        names = sorted(set(data.corpus.domains))
        domain = torch.tensor([names.index(name) for name in data.corpus.domains], dtype=torch.long)
        made[PooledCodes] = PooledCodes(pools["mean"], domain, tuple(names))
    for kind in kinds & set(_LABELLED):
        made[kind] = kind(data.items, pools, shared.activations(sae.hook_in))
    if LabelledEffects in kinds:
        from saebench.engine.ablate import Ablate

        made[LabelledEffects] = LabelledEffects(
            data.items,
            pools["effect" if "effect" in pools else "mean"],
            shared.activations(sae.hook_out),
            _cpu(sae.W_dec) if sae.linear_decoder else None,
            Ablate(shared.model, data.corpus, sae, shared.budget),
        )
    if SeedCodes in kinds and task.pairs is not None:
        from saebench.engine.agreement import seed_codes

        made[SeedCodes] = seed_codes(task, task.pairs)
    if kinds & {WordCodes, EntityCodes}:
        made |= _picked(task, shared, kinds)
    if kinds & {SampledLatents, JudgedLatents}:
        drawn = all_drawn(task, shared.model, data, shared.judge, shared.seed)
        made |= {kind: kind(drawn) for kind in (SampledLatents, JudgedLatents)}
    if QuestionRuns in kinds:
        from saebench.engine.answers import question_runs

        made[QuestionRuns] = question_runs(
            sae, shared.model, data, shared.densities[sae.name], shared.clean, shared.budget
        )
    return made


def _picked(task: Task, shared: Shared, kinds: set[type]) -> dict[type, Any]:
    sae, made = task.sae, {}
    picked = task.collectors["picked"]
    assert isinstance(picked, Picked)
    codes = picked.codes()
    if WordCodes in kinds:
        plain = codes.to("cpu", torch.float32)
        scale = plain.ctx.get("scale")
        effects = plain if scale is None else plain.with_values(plain.values * scale.reshape(-1)[plain.tokens])
        decoder = _cpu(sae.W_dec) if sae.linear_decoder else None
        activations = shared.activations(sae.hook_out)
        made[WordCodes] = WordCodes(shared.data.items, plain, effects, activations, decoder, _cpu(sae.b_dec))
    if EntityCodes in kinds:
        made[EntityCodes] = EntityCodes(shared.entities(sae.hook_out), codes, sae.decode(codes).float(), sae)
    return made


def _finite(broken: Tensor, what: str, data: Dataset) -> None:
    """Raise where some items are broken, `[items]` bool."""
    places = broken.nonzero().view(-1).tolist()
    if places:
        which = ", ".join(str(place + 1) for place in places[:5]) + (" ..." if len(places) > 5 else "")
        raise ValueError(
            f"{what} are not finite on {len(places)} of {len(broken)} items of the {data.name} data (number {which}): "
            f"leave those out, or use a wider dtype"
        )


def _cpu(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach().to("cpu", torch.float32)
