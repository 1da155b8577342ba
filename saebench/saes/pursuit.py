"""Encoders that pick latents one after the other: matching pursuit (MP-SAE) and gradient pursuit (ITDA)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saebench.saes.coder import Coder
from saebench.saes.codes import Codes


@dataclass(eq=False, kw_only=True, repr=False)
class MatchingPursuit(Coder):
    """f by k steps of matching pursuit on unit rows d_i (Costa et al. 2025, arXiv 2506.03093).

    r = x; k times: i = argmax r.d_i, c = relu(r.d_i), f_i += c, r -= c d_i. The encoder is the decoder's transpose, and
    rows of other lengths would be another algorithm, so they are refused.
    """

    k: int

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`; at most k fire."""
        codes, residual = x.new_zeros(len(x), self.d_sae), x
        for _ in range(self.k):
            best = (residual @ self.W_enc).max(-1)
            step = best.values.relu()[:, None]
            codes.scatter_add_(1, best.indices[:, None], step)
            residual = residual - step * self.W_dec[best.indices]
        return Codes.from_dense(codes)

    def complaint(self) -> str | None:
        """What is wrong where the rows are not of unit length."""
        norms = self.W_dec.norm(dim=1)
        if bool(((norms - 1).abs() < 1e-2).all()):
            return None
        return (
            f"matching pursuit needs decoder rows of norm 1, found {float(norms.min()):.3g} to "
            f"{float(norms.max()):.3g}. If its forward normalises them, say `decoder_rows: unit norm` in saebench.yaml."
        )


_FLOOR = 1e-3
"""Least squared length of a step's image, below which steps are damped (sparsify's own number)."""


@dataclass(eq=False, kw_only=True, repr=False)
class GradientPursuit(Coder):
    """f by k steps of gradient pursuit on atoms a_i, then its k largest (ITDA; Leask et al. 2025, 2505.17769).

    r = x - mean - f A; the atom of largest r.a_i joins the support; g = (A r) on the support, c = g A;
    f = relu(f + (c.r / max(c.c, 1e-3)) g). The decoder has rows of its own where the coder is a transcoder.
    """

    k: int
    mean: Tensor

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().shapes(), "mean": (self.d_in,)}

    def activate(self, x: Tensor) -> Codes:
        """Codes of input `[n, d_in]`; at most k fire."""
        x, atoms = x - self.mean, self.W_enc.T
        f = x.new_zeros(len(x), self.d_sae)
        for _ in range(self.k):
            residual = x - f @ atoms
            match = residual @ self.W_enc
            support = (f != 0).scatter(1, match.argmax(1, keepdim=True), True)
            gradient = support * match
            image = gradient @ atoms
            step = (image * residual).sum(1) / image.square().sum(1).clamp_min(_FLOOR)
            f = (f + step[:, None] * gradient).relu()
        best = f.topk(min(self.k, self.d_sae), dim=-1)
        return Codes.from_topk(best.values, best.indices, self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class Codebook(Coder):
    """f_i = 1 for the k codes nearest to x by cosine, y the sum of the codes (Tamkin et al. 2023)."""

    k: int

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`, each zero or one; the encoder's columns count by direction alone."""
        directions = self.W_enc / self.W_enc.norm(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
        nearest = (x @ directions).topk(self.k, dim=-1, sorted=False).indices
        return Codes.from_topk(torch.ones_like(nearest, dtype=x.dtype), nearest, self.d_sae)
