"""Encoders whose number of latents differs from token to token: AdaptiveK, top-AFA; and Kronecker products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saebench.saes.coder import Coder
from saebench.saes.codes import Codes


def _first(values: Tensor, latents: Tensor, count: Tensor, width: int) -> Codes:
    """Codes of the first `count [n]` of each row's latents, which are in order."""
    kept = torch.arange(values.shape[1], device=values.device) < count[:, None]
    return Codes.from_topk(values * kept, latents, width)


def _pre(coder: Coder, x: Tensor) -> Tensor:
    pre = x @ coder.W_enc
    return (pre if coder.b_enc is None else pre + coder.b_enc).relu()


@dataclass(eq=False, kw_only=True, repr=False)
class AdaptiveTopK(Coder):
    """f = relu of the k(x) largest of x W_enc + b_enc, k(x) from a linear score of the raw input (AdaptiveK).

    s = clamp(x.probe + probe_bias, 0, 10) / 10; k(x) = round(k_min + (k_max - k_min) sigmoid(6 (s - 0.5))).
    """

    probe: Tensor
    probe_bias: Tensor
    k_min: int
    k_max: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().shapes(), "probe": (self.d_in,), "probe_bias": (1,)}

    def counts(self, x: Tensor) -> Tensor:
        """Latents that each token of raw input `[n, d_in]` may use, `[n]`."""
        score = (x @ self.probe + self.probe_bias).clamp(0, 10) / 10
        k = self.k_min + (self.k_max - self.k_min) * torch.sigmoid(6 * (score - 0.5))
        return k.clamp(self.k_min, self.k_max).round().long()

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        best = _pre(self, x).topk(min(self.k_max, self.d_sae), dim=-1)
        raw = x + self.b_dec if self.centred else x
        return _first(best.values, best.indices, self.counts(raw), self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class TopAFA(Coder):
    """f = the first k(x) of relu(x W_enc + b_enc) in order of contribution, k(x) by the input's norm (top-AFA).

    With c_1 >= c_2 >= ... the sorted (f_i ||d_i||)^2, k(x) is the k at which sqrt(c_1 + ... + c_k) is nearest to ||x||
    (Lee et al. 2025; the last partial sum counts as very large, so that never all latents are kept).
    """

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`: centred, and standardised where the coder is."""
        f = _pre(self, x)
        share = (f * self.W_dec.norm(dim=-1)).square()
        order = share.argsort(-1, descending=True)
        reached = share.gather(-1, order).cumsum(-1)
        reached[..., -1] = 1e8
        count = (reached.sqrt() - x.norm(dim=-1, keepdim=True)).abs().argmin(-1) + 1
        return _first(f.gather(-1, order), order, count, self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class Kron(Coder):
    """KronSAE: latents are products of two small codes in each of H heads, then the k largest (arXiv 2505.22255).

    p = relu(x P + p_bias), q = relu(x Q + q_bias), each cut into heads; z_h[i, j] = sqrt(p_i q_j); f = k largest of z.
    There is no encoder matrix, so what needs one leaves this coder out.
    """

    P: Tensor
    Q: Tensor
    heads: int
    k: int
    p_bias: Tensor | None = None
    q_bias: Tensor | None = None
    W_enc: Tensor = None  # type: ignore[assignment]

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.P.shape[0]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        m = self.P.shape[1]
        n = self.d_sae * self.heads // m
        shown = {"P": (self.d_in, m), "Q": (self.d_in, n), "p_bias": (m,), "q_bias": (n,)}
        return {"W_dec": (self.d_sae, self.d_out), "b_dec": (self.d_out,), "W_skip": (self.d_out, self.d_in), **shown}

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        sides = []
        for weight, bias in ((self.P, self.p_bias), (self.Q, self.q_bias)):
            pre = x @ weight if bias is None else x @ weight + bias
            sides.append(pre.relu().sqrt().unflatten(-1, (self.heads, -1)))
        product = (sides[0][..., :, None] * sides[1][..., None, :]).flatten(1)
        best = product.topk(self.k, dim=-1, sorted=False)
        return Codes.from_topk(best.values, best.indices, self.d_sae)
