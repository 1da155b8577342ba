"""The coder that knows the true features, and coders that fail in one known way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.synthetic import Synthetic

_SILENT = 1e-4
"""Coefficients below this are rounding."""


class Ideal:
    """Reads the coefficients of the true features off an activation, exactly; with defects where asked for. On the CPU.

    Args:
        truth: A known dictionary without noise, of no more features than dimensions.
        share: Of the features that have a latent, spread evenly over all.
        split: Latents of each feature; a firing goes to one of them.
        absorb: Share of a child's firings on which its parent's latent stays silent; the child's rows then hold
            their parent's direction too.
        merge: How much of its partner's direction is added to each row, against one of its own.

    Raises:
        UserError: More features than dimensions, so that they cannot be read off.
    """

    def __init__(
        self, truth: Synthetic, *, share: float = 1.0, split: int = 1, absorb: float = 0.0, merge: float = 0.0
    ) -> None:
        n, d = truth.directions.shape
        if n > d:
            raise UserError(f"{truth.recipe.name}: {n} features cannot be read off {d} dimensions; lower n.")
        self.truth, self.split, self.absorb = truth, split, absorb
        self._rows = torch.from_numpy(truth.directions)
        self._reads = torch.linalg.pinv(self._rows)
        self._parent = torch.from_numpy(truth.parent)
        kept = round(share * n)
        self._kept = torch.linspace(0, n - 1, kept).round().long()
        rows = self._made(torch.from_numpy(truth.partner), merge)[self._kept]
        self.W_dec = rows.repeat_interleave(split, 0)

    def _made(self, partner: Tensor, merge: float) -> Tensor:
        """The decoder row of each feature, unit norm, `[n, d]`."""
        rows = self._rows.clone()
        if self.absorb:
            children = self._parent >= 0
            rows[children] += self._rows[self._parent[children]]
        pairs = partner >= 0
        rows[pairs] += merge * self._rows[partner[pairs]]
        return torch.nn.functional.normalize(rows, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """Codes `[tokens, latents]`."""
        codes = x.float() @ self._reads
        codes = codes.where(codes.abs() > _SILENT, 0)
        luck = (codes * 1000).frac().abs()  # even between 0 and 1, and the same for the same activation
        children = (self._parent >= 0).nonzero().view(-1)
        taken = (codes[:, children] != 0) & (luck[:, children] < self.absorb)
        silent = torch.zeros(codes.shape).index_add_(1, self._parent[children], taken.float()) > 0
        codes = codes.where(~silent, 0)[:, self._kept]
        place = (luck[:, self._kept] * self.split).long()
        return torch.nn.functional.one_hot(place, self.split).mul(codes[..., None]).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstructions `[tokens, d]`."""
        return codes @ self.W_dec
