"""Encoders by activation: one matrix product and one selection each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebench.saes.coder import Coder
from saebench.saes.codes import Codes

FEW = 8
"""From this k on a CPU finds the k largest by a bar; below it `topk` is quicker."""
BLOCK, ROWS = 2**21, 512
"""Pre-activations that one thread makes at a time on a CPU, and rows at least: of fewer the product is slower."""


def _above_kth(pre: Tensor, k: int) -> Codes | None:
    """The positive entries among the k largest of each row; None where `topk` has to decide.

    On a CPU: the k-th largest of the maxima of groups is a bar that the k largest reach and few others do, and among
    those a partition finds the k-th largest. Three times as quick as `topk` for k = 20 of 1,024 and slower below
    `FEW` (measured). Equal values at the bar, or NaN, are left to `topk`.
    """
    width = pre.shape[-1]
    if pre.device.type != "cpu" or pre.dtype != torch.float32 or not FEW <= k < width or not len(pre):
        return None
    bar = _bar(_maxima(pre, k), k)
    if bar is None:
        return None
    bar = bar.clamp_min(float(np.finfo(np.float32).smallest_subnormal))
    codes = Codes.from_mask(torch.from_numpy(pre.detach().numpy() >= bar.numpy()[:, None]), pre)
    if int(codes.l0.max()) > k:
        bar = _bar(codes.padded()[0], k)
        codes = None if bar is None else codes.keep(codes.values >= bar[codes.tokens])
    return codes if codes is not None and int(codes.l0.max()) <= k else None


def _maxima(pre: Tensor, k: int) -> Tensor:
    """Maxima of more than 2k groups of each row's entries, or the entries where that would be no saving."""
    groups = 1 << (2 * k).bit_length()
    few = pre.shape[-1] % groups or pre.shape[-1] < 4 * groups
    return pre if few else pre.view(len(pre), -1, groups).amax(1)


def _bar(values: Tensor, k: int) -> Tensor | None:
    """The k-th largest of each row, `[rows]`; None where there is NaN."""
    if bool(values.isnan().any()):
        return None
    return torch.from_numpy(np.partition(values.detach().numpy(), -k, axis=-1)[:, -k].copy())


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, out: Tensor | None = None) -> Tensor:
    return torch.mm(x, weight, out=out) if bias is None else torch.addmm(bias, x, weight, out=out)


def _above(x: Tensor, weight: Tensor, bias: Tensor | None, bar: float | Tensor = 0.0) -> Codes:
    """The entries of x W + b above a bar; on a CPU some rows at a time, in room that is used again."""
    width = weight.shape[1]
    rows = min(torch.get_num_threads(), 4) * max(ROWS, BLOCK // width)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias))
    if x.device.type != "cpu" or learns or len(x) <= rows:
        return Codes.above(_linear(x, weight, bias), bar)
    room = x.new_empty(rows, width)
    parts = (x[start : start + rows] for start in range(0, len(x), rows))
    return Codes.cat([Codes.above(_linear(part, weight, bias, out=room[: len(part)]), bar) for part in parts])


@dataclass(eq=False, kw_only=True, repr=False)
class ReLU(Coder):
    """Standard SAE and transcoder: f = relu(x W_enc + b_enc) (Bricken et al. 2023)."""

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        return _above(x, self.W_enc, self.b_enc)


@dataclass(eq=False, kw_only=True, repr=False)
class JumpReLU(Coder):
    """f = relu(p) where p = x W_enc + b_enc is above the threshold (Rajamanoharan et al. 2024b).

    BatchTopK and Matryoshka SAEs are run this way too, with the threshold met in training.
    """

    threshold: Tensor

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`; relu(p) [p > t] fires where p > max(t, 0)."""
        return _above(x, self.W_enc, self.b_enc, self.threshold.clamp_min(0))


@dataclass(eq=False, kw_only=True, repr=False)
class TopK(Coder):
    """f = relu of the k largest of x W_enc + b_enc (Gao et al. 2024); at most k fire."""

    k: int

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        pre = _linear(x, self.W_enc, self.b_enc)
        codes = _above_kth(pre, self.k)
        if codes is not None:
            return codes
        top = pre.topk(self.k, dim=-1, sorted=False)
        return Codes.from_topk(top.values.relu(), top.indices, self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class GroupMax(Coder):
    """f = relu of the largest of x W_enc + b_enc in each of k equal groups of latents, so at most k fire (sparsify)."""

    k: int

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        pre = _linear(x, self.W_enc, self.b_enc)
        best = pre.unflatten(-1, (self.k, -1)).max(-1)
        first = torch.arange(0, self.d_sae, self.d_sae // self.k, device=pre.device)
        return Codes.from_topk(best.values.relu(), first + best.indices, self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class KSparse(Coder):
    """f = the k largest of x W_enc + b_enc, with no relu (Makhzani and Frey 2013); often tied."""

    k: int

    signed = True

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`; where fewer than k are positive they may be negative."""
        best = _linear(x, self.W_enc, self.b_enc).topk(self.k, dim=-1, sorted=False)
        return Codes.from_topk(best.values, best.indices, self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class AbsTopK(Coder):
    """f = the k entries of x W_enc + b_enc of largest magnitude, signs kept (arXiv 2510.00404)."""

    k: int

    signed = True

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`; they may be negative."""
        pre = _linear(x, self.W_enc, self.b_enc)
        latents = pre.abs().topk(self.k, dim=-1, sorted=False).indices
        return Codes.from_topk(pre.gather(-1, latents), latents, self.d_sae)


@dataclass(eq=False, kw_only=True, repr=False)
class Gated(Coder):
    """f = [x W_enc + b_gate > 0] relu(x (W_enc exp(r_mag)) + b_mag) (Rajamanoharan et al. 2024a).

    The two paths share their product, so it is made once and the magnitudes only where a gate opens.
    """

    b_gate: Tensor
    r_mag: Tensor
    b_mag: Tensor

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        open_gates = _above(x, self.W_enc, None, -self.b_gate)
        at = open_gates.latents
        magnitudes = open_gates.values * self.r_mag.exp()[at] + self.b_mag[at]
        return open_gates.with_values(magnitudes.relu())


@dataclass(eq=False, kw_only=True, repr=False)
class Linear(Coder):
    """f = x W_enc + b_enc, every latent a signed linear score (principal components)."""

    signed = True

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        return Codes.from_dense(_linear(x, self.W_enc, self.b_enc))


@dataclass(eq=False, kw_only=True, repr=False)
class Identity(Coder):
    """f = x: every channel is a latent, and the reconstruction is exact."""

    signed = True

    def activate(self, x: Tensor) -> Codes:
        """The input's own channels."""
        return Codes.from_dense(x)

    def decode(self, codes: Codes | Tensor, ctx: object = None) -> Tensor:
        """The channels themselves, bit for bit."""
        return codes.dense() if isinstance(codes, Codes) else codes
