"""Whether the encoder or the dictionary limits a SAE: its codes against those that a search finds on its decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import Activity, Reconstruction, TokenInfo
from saebench.metric import Array, Sums, Totals, metric

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import Codes

_SWEEPS = 50
_ROOM = 2**23
"""Most numbers in the decoder rows of the tokens that are searched for at once."""
_SLICES = ("gap", "values", "latents")


@metric(version=1, unit="share of variance", better="lower", best=0.0, bounds=(None, None))
def amortisation_gap(a: Activity, r: Reconstruction, t: TokenInfo, *, tokens: int = 512, most: int = 128) -> Sums:
    """Share of variance that a sparse pursuit explains beyond the encoder, with as many latents a token.

    FVU(encoder's codes) - FVU(pursuit), on about `tokens` tokens that are the same for every SAE. The pursuit is
    orthogonal matching pursuit on the decoder's unit rows with the token's own L0 as its number of steps; its codes are
    not negative unless the SAE's are. Slices: `gap`; `values`, the part that better values on the encoder's own latents
    make up for; `latents`, the rest, which needs others. Below zero where the greedy search does worse than the SAE.
    Tokens on which more than `most` latents fire are left out, which bounds the cost at `tokens` x `most` products with
    the decoder; where all are, it is undefined. After O'Neill et al. 2024, Compute Optimal Inference and Provable
    Amortisation Gap in SAEs.
    """
    import torch

    taken = t.sample(tokens)
    kept = taken & (a.l0 <= most)
    codes = a.codes[kept]
    scale = codes.ctx["scale"].reshape(-1, 1).to(r.y.dtype) if "scale" in codes.ctx else r.y.new_ones(codes.n, 1)
    length = a.norms.where(a.norms > 0, a.norms.new_ones(())).float()
    rows = a.rows.float() / length[:, None]
    plain = r.squared_error[kept]
    target = r.error[kept] / scale + codes.to(dtype=torch.float32) @ a.rows.float()
    signed = bool((a.codes.values < 0).any())
    refit, found = _errors(target, rows, codes, signed)
    size = scale[:, 0].square()
    sums = {"encoder": plain, "refit": refit * size, "pursuit": found * size}
    fields = {name: r.squared_error.new_zeros(len(taken)).index_put((kept,), value) for name, value in sums.items()}
    better = torch.stack([fields["encoder"], fields["encoder"], fields["refit"]], dim=1)
    less = torch.stack([fields["pursuit"], fields["refit"], fields["pursuit"]], dim=1)
    return Sums(
        saved=better.double() - less.double(), sampled=kept[:, None].expand(-1, 3), shared=("tokens", "variance"),
        slices=_SLICES,
    )  # fmt: skip


@amortisation_gap.finish
def _(f: dict) -> dict:
    import numpy as np

    wide = {name: np.repeat(f[name][:, None], len(_SLICES), axis=1) for name in ("tokens", "variance")}
    return {**f, **wide}


@amortisation_gap.value
def _(s: Totals) -> Array:
    return s.saved / s.sampled * s.tokens / s.variance


def _errors(target: Tensor, rows: Tensor, codes: Codes, signed: bool) -> tuple[Tensor, Tensor]:
    """Squared errors `[tokens]` of the best values on the encoder's latents, and of the pursuit."""
    import torch

    _, latents = codes.padded()
    refit, found = [target.new_zeros(0)], [target.new_zeros(0)]
    block = max(1, _ROOM // max(1, latents.shape[1] * target.shape[1]))
    for start in range(0, len(target), block):
        part = slice(start, start + block)
        count = codes.l0[part]
        refit.append(_fitted(target[part], rows, latents[part], count, signed))
        found.append(_fitted(target[part], rows, _pursued(target[part], rows, count, signed), count, signed))
    return torch.cat(refit), torch.cat(found)


def _pursued(target: Tensor, rows: Tensor, count: Tensor, signed: bool) -> Tensor:
    """The latents that orthogonal matching pursuit takes in `count` steps on each token, `[tokens, most steps]`.

    Each step takes the row that the residual projects on most, then fits all values anew. Tokens leave the search when
    they have had their steps.
    """
    import torch

    steps = int(count.max()) if len(count) else 0
    latents = count.new_zeros(len(target), steps)
    residual = target.clone()
    for step in range(steps):
        going = (count > step).nonzero().view(-1)
        projection = residual[going] @ rows.T
        projection = projection.abs() if signed else projection
        latents[going, step] = projection.scatter(1, latents[going, :step], -torch.inf).argmax(-1)
        chosen = rows[latents[going, : step + 1]]
        inside = torch.ones_like(chosen[..., 0], dtype=torch.bool)
        residual[going] = target[going] - _made(_values(target[going], chosen, inside, signed), chosen)
    return latents


def _fitted(target: Tensor, rows: Tensor, latents: Tensor, count: Tensor, signed: bool) -> Tensor:
    """Squared error `[tokens]` of the best values on the first `count` of the latents of each token."""
    import torch

    inside = torch.arange(latents.shape[1], device=latents.device) < count[:, None]
    chosen = rows[latents]
    values = _values(target, chosen, inside, signed)
    dropped = (inside & (values == 0)).any(-1).nonzero().view(-1)
    if not signed and len(dropped):
        values[dropped] = _polished(target[dropped], chosen[dropped], inside[dropped], values[dropped])
    return (target - _made(values, chosen)).square().sum(-1)


def _values(target: Tensor, chosen: Tensor, inside: Tensor, signed: bool) -> Tensor:
    """Least-squares values `[tokens, k]` of rows `[tokens, k, d]`; unless signed, negative ones are dropped."""
    import torch

    while True:
        used = (chosen * inside[..., None]).double()
        gram = used @ used.transpose(1, 2) + torch.diag_embed(torch.where(inside, 1e-9, 1.0).double())
        values = torch.linalg.solve(gram, (used @ target.double()[..., None])[..., 0]) * inside
        negative = values < 0
        if signed or not bool(negative.any()):
            return values.to(target.dtype)
        inside = inside & ~negative


def _polished(target: Tensor, chosen: Tensor, inside: Tensor, values: Tensor) -> Tensor:
    """The best values that are not negative, by coordinate descent: a dropped one may be of use after all."""
    used = (chosen * inside[..., None]).double()
    gram = used @ used.transpose(1, 2)
    safe = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-12)
    values = values.double()
    left = (used @ target.double()[..., None])[..., 0] - (gram @ values[..., None])[..., 0]
    for _ in range(_SWEEPS):
        before = values.clone()
        for j in range(values.shape[1]):
            moved = (values[:, j] + left[:, j] / safe[:, j]).clamp_min(0) * inside[:, j] - values[:, j]
            left -= gram[:, :, j] * moved[:, None]
            values[:, j] += moved
        if not bool(((values - before).abs() > 1e-6 * values.abs().max()).any()):
            break
    return values.to(target.dtype)


def _made(values: Tensor, chosen: Tensor) -> Tensor:
    return (values[:, None] @ chosen)[:, 0]
