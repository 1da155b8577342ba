"""From a metric's sums to the rows of a result: the value with its error, and everything it depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.engine.accumulate import Tally, closed
from saebench.inputs import FITTED, Activity, JudgedLatents, Losses, Reconstruction, TokenLabels
from saebench.judges.ngram import NGramJudge
from saebench.metric import Metric
from saebench.results import Row, bootstrap, provenance

if TYPE_CHECKING:
    from saebench.data.corpus import Corpus
    from saebench.data.datasets import Dataset
    from saebench.engine.references import Fitting
    from saebench.inputs import SeedPairs
    from saebench.judges.protocol import Judge
    from saebench.models import Subject
    from saebench.saes import SparseCoder

MOST_LEFT_OUT = 10
"""Most sentences that a row says about data that was left out."""


@dataclass(frozen=True)
class Cell:
    """One metric of one SAE on one corpus: what one group of rows answers.

    Attributes:
        sae: The coder.
        metric: With its effective settings.
        data: What it is taken on; None for a metric of the weights.
        problem: Why its data could not be read, if it could not.
        fitting: Text that is not scored, for what a metric fits beforehand.
        pairs: The seed group of the SAE, where its metric asks for one.
        judge: Who explains and scores latents.
    """

    sae: SparseCoder
    metric: Metric
    model: Subject
    data: Dataset | None
    suite: str
    seed: int
    problem: str = ""
    fitting: Fitting | None = None
    pairs: SeedPairs | None = None
    judge: Judge = field(default_factory=NGramJudge)

    @property
    def fits(self) -> bool:
        """Whether its metric needs something fitted to other text."""
        return bool(FITTED & set(self.metric.inputs.values()))

    @property
    def judged(self) -> bool:
        """Whether its numbers depend on the run's judge."""
        return JudgedLatents in self.metric.inputs.values()

    @property
    def judge_warnings(self) -> list[str]:
        """What is to be said of how the judge was asked."""
        return list(getattr(self.judge, "notes", ())) if self.judged else []

    @property
    def fit_warnings(self) -> list[str]:
        """What is to be said of the text that something was fitted to."""
        return [self.fitting.warning] if self.fits and self.fitting and self.fitting.warning else []

    @property
    def group_warnings(self) -> list[str]:
        """How its seed group came about, where it was not simply declared, and what is missing from it."""
        return list(self.pairs.whole.notes) if self.pairs and self.pairs.whole else []

    @property
    def data_warnings(self) -> list[str]:
        """What was left out of the items when they were read, and how else they differ from what was asked for."""
        left_out = tuple(getattr(self.data.items, "left_out", ())) if self.data else ()
        more = len(left_out) - MOST_LEFT_OUT
        return [*left_out[:MOST_LEFT_OUT], *([f"and {more} more left out when the data was read"] if more > 0 else [])]

    @property
    def corpus(self) -> Corpus | None:
        """The token rows of its data."""
        return self.data.corpus if self.data else None

    @property
    def signature(self) -> str:
        """Everything that the numbers depend on; equal signatures mean equal numbers."""
        sae, model, corpus = self.sae, self.model, self.corpus
        parts = [
            self.metric.signature,
            f"model:{model.name}#{model.fingerprint}",
            f"sae:{sae.name}#{sae.fingerprint}",
            f"hook:{sae.hook_in}" + ("" if sae.hook_in == sae.hook_out else f">{sae.hook_out}"),
        ]
        if self.fits and self.fitting:
            parts.append(f"fit:{self.fitting.corpus.hash}")
        if TokenLabels in self.metric.inputs.values() and corpus is not None:
            parts.append(f"labels:{'of the data' if corpus.marks is not None else 'of strings'}")
        if self.pairs:
            parts.append(f"group:{self.pairs.whole.identity if self.pairs.whole else 'none'}")
        if self.judged:
            parts.append("judge:" + ",".join(f"{k}={v}" for k, v in sorted(self.judge.signature().items())))
        if self.problem:
            parts.append(f"data:{self.metric.data}|not read")
        if corpus is not None:
            parts.append(f"data:{corpus.name}#{corpus.hash}|tokens:{corpus.content}|context:{corpus.context}")
        return "|".join([*parts, f"dtype:{self.dtype}", f"seed:{self.seed}"])

    @property
    def dtype(self) -> str:
        """Precision of the model and of the SAE, such as float32 or bfloat16/float32."""
        weights = self.sae.W_dec if self.sae.W_dec is not None else self.sae.b_dec
        dtypes = (self.model.dtype, self.model.dtype if weights is None else weights.dtype)
        names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
        return names[0] if names[0] == names[1] else "/".join(names)

    def rows(
        self,
        tally: Tally,
        shared: Mapping[str, np.ndarray],
        *,
        warnings: Sequence[str] = (),
        seconds: float = 0.0,
    ) -> list[Row]:
        """The rows of this cell: one for each slice, with the sums they were made from.

        A value function that fails, or a shared sum that nobody provides, makes an error row.
        """
        if tally.failure is None and not tally.slices and not tally.fields and not tally.shared:
            return [self.failed("error", "the metric returned no sums", warnings)]
        if tally.failure is not None:
            return [self.failed(*tally.failure, warnings)]
        try:
            fields = closed(self.metric, tally, shared)
            estimate = bootstrap(self.metric, fields, seed=self.seed)
        except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
            return [self.failed("error", f"its value could not be taken: {type(error).__name__}: {error}", warnings)]
        names = tally.slices or ("",)
        facts = self._facts()
        return [
            Row(
                **facts,
                slice=name,
                slices_total=len(names),
                sums=_of_slice(fields, place, len(names)),
                warnings=list(dict.fromkeys([*warnings, *tally.notes])),
                seconds=round(tally.seconds + seconds, 4),
                **estimate.columns(place),
            )
            for place, name in enumerate(names)
        ]

    def failed(self, status: str, reason: str, warnings: Sequence[str] = ()) -> Row:
        """The row of a cell that has no value, with the reason."""
        return Row(**self._facts(), status=status, reason=reason, warnings=list(warnings))

    def _facts(self) -> dict[str, Any]:
        sae, model, corpus, metric = self.sae, self.model, self.corpus, self.metric
        return {
            "sae": sae.name,
            "sae_ref": sae.ref,
            "sae_hash": sae.fingerprint,
            "architecture": sae.architecture,
            "d_sae": sae.d_sae,
            "model": model.name,
            "model_hash": model.fingerprint,
            "hook_in": sae.hook_in,
            "hook_out": sae.hook_out,
            "corpus": corpus.name if corpus else "",
            "corpus_hash": corpus.hash if corpus else "",
            "metric": metric.name,
            "version": metric.version,
            "tokens": corpus.content if corpus else None,
            "context": corpus.context if corpus else None,
            "units": metric.units,
            "unit": metric.unit,
            "better": metric.better,
            "bounds": metric.bounds,
            "signature": self.signature,
            "settings": {**metric.settings, **({"judge": self.judge.name} if self.judged else {})},
            "suite": self.suite,
            "seed": self.seed,
            "dtype": self.dtype,
            "role": sae.role,
            "order": _known_order(sae, metric),
            **provenance(),
        }


def _known_order(sae: SparseCoder, metric: Metric) -> dict[str, int]:
    """Where a SAE of the world stands in the known orders that a metric should see.

    The order of damage is for all. That of fidelity (more active latents) holds within an architecture, and for
    metrics that read nothing but what the SAE reconstructs: one latent need not tell a class better for it.
    """
    if sae.role != "sae" or not sae.ref.startswith("world:"):
        return {}
    from saebench.data.world import sae_index

    facts = sae_index().get(sae.ref.removeprefix("world:"), {})
    order: dict[str, int] = dict(facts.get("order", {}))
    place = order.pop("fidelity", None)
    read = set(metric.inputs.values())
    if place is not None and read & {Losses, Reconstruction} and Activity not in read:
        order[f"fidelity/{facts['architecture']}"] = place
    return order


def _of_slice(fields: Mapping[str, np.ndarray], place: int, slices: int) -> dict[str, np.ndarray]:
    """The column of one slice in each field; fields without slices belong to all."""
    return {
        name: value[:, place] if value.ndim > 1 and value.shape[1] == slices else value
        for name, value in fields.items()
    }
