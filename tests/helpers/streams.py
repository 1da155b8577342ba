"""Codes made by hand, given to a stream metric as the engine would: in batches, with other text to choose by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saebench.engine.accumulate import Tally, closed, reduced
from saebench.inputs import (
    Activity,
    OtherCodes,
    RandomActivity,
    RandomReconstruction,
    Reconstruction,
    TokenInfo,
    TokenLabels,
)
from saebench.metric import Metric
from saebench.saes import Codes


@dataclass(frozen=True)
class Given:
    """What a coder says of n tokens, and what is known of them.

    Attributes:
        codes: Dense codes, `[n, d_sae]`.
        decoder: `[d_sae, d]`.
        y: Target, `[n, d]`; by default what is decoded.
        bias: What is decoded when nothing fires.
        scale: What each token's decoded part is multiplied by, `[n]`.
        ids: Token ids, `[n]`.
        labels: `[n, labels]`, named by `names`.
        other: Dense codes of the text that is not scored; by default the same codes.
        other_labels: Its labels.
        per_row: Tokens in a row, which is a document.
        vocabulary: Number of token ids.
        domain: Number of each token's domain, `[n]`, named by `domains`.
    """

    codes: Tensor
    decoder: Tensor
    y: Tensor | None = None
    bias: Tensor | None = None
    scale: Tensor | None = None
    ids: Tensor | None = None
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    other: Tensor | None = None
    other_labels: Tensor | None = None
    per_row: int = 10
    vocabulary: int = 50
    domain: Tensor | None = None
    domains: tuple[str, ...] = ()

    def but(self, **changes: Any) -> Given:
        """The same with changes."""
        return replace(self, **changes)

    @property
    def y_hat(self) -> Tensor:
        """The reconstruction."""
        scale = torch.ones(len(self.codes)) if self.scale is None else self.scale
        return scale[:, None] * (self.codes @ self.decoder) + (0 if self.bias is None else self.bias)

    def views(self, part: slice) -> dict[type, Any]:
        """The inputs of one batch."""
        n = len(self.codes)
        ctx = {} if self.scale is None else {"scale": self.scale[part, None]}
        y = self.y_hat if self.y is None else self.y
        place = torch.arange(n)
        ids = torch.zeros(n, dtype=torch.long) if self.ids is None else self.ids
        count = torch.bincount(ids, minlength=self.vocabulary)
        rank = count.argsort(descending=True, stable=True).argsort()
        activity = Activity(Codes.from_dense(self.codes[part], ctx), self.decoder)
        made = Reconstruction(y[part], y[part], self.y_hat[part])
        views: dict[type, Any] = {
            Activity: activity,
            RandomActivity: activity,
            Reconstruction: made,
            RandomReconstruction: made,
            TokenInfo: TokenInfo(
                ids[part],
                (place % self.per_row + 1)[part],
                (count / n)[ids[part]],
                (torch.zeros_like(ids) if self.domain is None else self.domain)[part],
                self.domains,
                rank[ids[part]],
                (place // self.per_row)[part],
                n,
                self.vocabulary,
            ),
        }
        if self.labels is not None:
            total = tuple(int(x) for x in self.labels.sum(0))
            views[TokenLabels] = TokenLabels(self.names, self.labels[part].bool(), total, "hand")
        return views

    def others(self) -> OtherCodes:
        """The text that is not scored."""
        labels = self.labels if self.other_labels is None else self.other_labels
        total = () if labels is None else tuple(int(x) for x in labels.sum(0))
        known = None if labels is None else TokenLabels(self.names, labels.bool(), total, "hand")
        return OtherCodes(Codes.from_dense(self.codes if self.other is None else self.other), known)


def values(metric: Metric, given: Given, *, batches: int = 3, **settings: Any) -> dict[str, float]:
    """The metric's values by slice; `notes` and `psi` can be had from `taken`."""
    tally, fields = taken(metric, given, batches=batches, **settings)
    value = np.atleast_1d(metric.compute({name: array.sum(0) for name, array in fields.items()}))
    return dict(zip(tally.slices or ("",), value.tolist(), strict=True))


def taken(metric: Metric, given: Given, *, batches: int = 3, **settings: Any) -> tuple[Tally, dict[str, np.ndarray]]:
    """The metric's sums over batches and its final fields per unit."""
    n = len(given.codes)
    rows = torch.arange(n) // given.per_row
    units = int(rows[-1]) + 1
    edges = np.linspace(0, n, batches + 1).astype(int)
    others, tally = given.others(), Tally()
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = slice(int(start), int(end))
        views = {**given.views(part), OtherCodes: others}
        tally.take(reduced(metric.with_settings(**settings), views, rows[part], units), 0.0)
    assert tally.failure is None, tally.failure
    y = (given.y_hat if given.y is None else given.y).double()
    spread = (y - y.mean(0)).square().sum(-1)
    shared = {
        "variance": np.bincount(rows.numpy(), weights=spread.numpy(), minlength=units),
        "tokens": np.bincount(rows.numpy(), minlength=units).astype(float),
    }
    return tally, closed(metric.with_settings(**settings), tally, shared)


def sparse(n: int, width: int, k: int, seed: int = 0) -> Tensor:
    """Codes `[n, width]` with k positive entries a token."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(n, width, generator=generator)
    keep = scores.topk(k, dim=-1).indices
    sizes = torch.rand(n, k, generator=generator) + 0.5
    return torch.zeros(n, width).scatter_(1, keep, sizes)


def unit_rows(n: int, d: int, seed: int = 0) -> Tensor:
    """Random directions `[n, d]`."""
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)
