"""Whether the encoder or the dictionary limits a SAE: its codes against those that a search finds on its decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import Activity, Reconstruction, TokenInfo
from saebench.metric import Array, Count, Sums, Totals, metric

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import Codes

_SWEEPS = 50
_RIDGE = 1e-9
"""What is added to the square of a row, so that a repeated row does no harm."""
_ROOM = 2**23
"""Most numbers in the decoder rows of the tokens that are searched for at once."""
_SLICES = ("gap", "values", "latents")


@metric(version=2, unit="share of variance", better="lower", best=0.0, bounds=(None, None))
def amortisation_gap(a: Activity, r: Reconstruction, t: TokenInfo, *, tokens: Count = 256, most: Count = 128) -> Sums:
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

    _, latents = codes.padded()
    order = codes.l0.argsort(descending=True, stable=True)  # alike ones stand together, so that blocks are narrow
    refit, found = target.new_zeros(2, len(target)).unbind()
    start = 0
    while start < len(order):
        most = max(1, int(codes.l0[order[start]]))
        part = order[start : start + max(1, _ROOM // (most * target.shape[1]))]
        own = _Search(target[part], rows, most, signed)
        refit[part] = own.fitted(latents[part, :most], codes.l0[part])
        found[part] = own.pursued(codes.l0[part])
        start += len(part)
    return refit, found


class _Search:
    """Values on chosen rows for a block of tokens, all in double precision.

    Each token keeps the rows it has chosen, their products with each other and with the target, and the Cholesky
    factor of the former, so that a step costs one new row instead of all products again.

    Args:
        target: `[tokens, d]`.
        rows: Unit rows, `[latents, d]`.
        steps: Most rows of a token.
        signed: Values may be negative.
    """

    def __init__(self, target: Tensor, rows: Tensor, steps: int, signed: bool) -> None:
        self.target, self.rows, self.steps, self.signed = target.double(), rows, steps, signed

    def fitted(self, latents: Tensor, count: Tensor) -> Tensor:
        """Squared error `[tokens]` of the best values on the first `count` of the latents of each token."""
        import torch

        inside = torch.arange(latents.shape[1], device=latents.device) < count[:, None]
        chosen = self.rows[latents].double() * inside[..., None]
        gram, right = chosen @ chosen.mT, (chosen @ self.target[..., None])[..., 0]
        return self._error(gram, right, inside, _solved(gram, right, inside, self.signed))

    def pursued(self, count: Tensor) -> Tensor:
        """Squared error `[tokens]` after orthogonal matching pursuit of `count` steps on each token.

        Each step takes the row that the residual projects on most, then fits all values anew. Tokens leave the
        search when they have had their steps; they are sorted by those, the most first.
        """
        import torch

        n, steps = len(self.target), self.steps
        chosen = self.target.new_zeros(n, steps, self.target.shape[1])
        gram, right = self.target.new_zeros(n, steps, steps), self.target.new_zeros(n, steps)
        factor, forward = torch.zeros_like(gram), torch.zeros_like(right)
        values, latents = torch.zeros_like(right), count.new_zeros(n, steps)
        residual = self.target
        for step in range(int(count.max()) if n else 0):
            g = int((count > step).sum())
            projection = residual[:g].to(self.rows.dtype) @ self.rows.T
            projection = projection.abs() if self.signed else projection
            latents[:g, step] = projection.scatter_(1, latents[:g, :step], -torch.inf).argmax(-1)
            chosen[:g, step] = self.rows[latents[:g, step]].double()
            cross = (chosen[:g, : step + 1] @ chosen[:g, step, :, None])[..., 0]
            gram[:g, step, : step + 1] = gram[:g, : step + 1, step] = cross
            right[:g, step] = (chosen[:g, step] * self.target[:g]).sum(-1)
            _appended(factor[:g], forward[:g], cross, right[:g, step], step)
            here = slice(0, step + 1)
            values[:g, here] = _back(factor[:g, here, here], forward[:g, here])
            if not self.signed:
                wrong = (values[:g, here] < 0).any(1).nonzero().view(-1)
                inside = values[wrong, here] >= 0
                values[wrong, here] = _solved(gram[wrong, here, here], right[wrong, here], inside, signed=False)
            residual = self.target[:g] - (values[:g, None, here] @ chosen[:g, here])[:, 0]
        inside = torch.arange(steps, device=count.device) < count[:, None]
        return self._error(gram, right, inside, values)

    def _error(self, gram: Tensor, right: Tensor, inside: Tensor, values: Tensor) -> Tensor:
        """Squared error `[tokens]` of values, after a second look at those that were dropped."""
        dropped = (inside & (values == 0)).any(-1).nonzero().view(-1)
        if not self.signed and len(dropped):
            values[dropped] = _polished(gram[dropped], right[dropped], inside[dropped], values[dropped])
        power = self.target.square().sum(-1)
        return (power + _cost(gram, right, values)).clamp_min(0).to(self.rows.dtype)


def _appended(factor: Tensor, forward: Tensor, cross: Tensor, right: Tensor, step: int) -> None:
    """Add a row to the Cholesky factors `[tokens, steps, steps]` and to the solution of their lower half, in place.

    Args:
        cross: Products of the new row with all up to itself, `[tokens, step + 1]`.
        right: Its product with the target, `[tokens]`.
    """
    import torch

    below = factor[:, :step, :step]
    line = torch.linalg.solve_triangular(below, cross[:, :step, None], upper=False)[..., 0]
    corner = (cross[:, step] + _RIDGE - line.square().sum(-1)).clamp_min(_RIDGE).sqrt()
    factor[:, step, :step], factor[:, step, step] = line, corner
    forward[:, step] = (right - (line * forward[:, :step]).sum(-1)) / corner


def _back(factor: Tensor, forward: Tensor) -> Tensor:
    """The values `[tokens, k]` from the solution of the lower half."""
    import torch

    return torch.linalg.solve_triangular(factor.mT, forward[..., None], upper=True)[..., 0]


def _solved(gram: Tensor, right: Tensor, inside: Tensor, signed: bool) -> Tensor:
    """Least-squares values `[tokens, k]` from products of rows; unless signed, negative ones are dropped."""
    import torch

    values, going = torch.zeros_like(right), torch.arange(len(right), device=right.device)
    while len(going):
        used = inside[going]
        outside = torch.where(used, _RIDGE, 1.0).double()
        both = used[:, :, None] & used[:, None, :]
        factor = torch.linalg.cholesky(gram[going] * both + torch.diag_embed(outside))
        found = torch.cholesky_solve((right[going] * used)[..., None], factor)[..., 0]
        values[going] = found
        negative = found < 0
        inside = inside.index_put((going,), used & ~negative)
        going = going[negative.any(1)] if not signed else going[:0]
    return values


def _polished(gram: Tensor, right: Tensor, inside: Tensor, values: Tensor) -> Tensor:
    """The best values that are not negative: what was dropped comes back, the likeliest first, where it helps.

    The active-set method of Lawson & Hanson (1974), whole steps only: a token is left alone once no row that is
    unused would lower its error, or taking it in does not.
    """
    import torch

    values, going = values.clone(), torch.arange(len(values), device=values.device)
    for _ in range(_SWEEPS):
        g, r, v = gram[going], right[going], values[going]
        gain = (r - (g @ v[..., None])[..., 0]).masked_fill(~inside[going] | (v > 0), -torch.inf)
        most, place = gain.max(1)
        helps = most > 1e-9 * r.abs().amax(1)
        going, g, r, v, place = going[helps], g[helps], r[helps], v[helps], place[helps]
        if not len(going):
            break
        found = _solved(g, r, (v > 0).scatter(1, place[:, None], True), signed=False)
        better = _cost(g, r, found) < _cost(g, r, v)
        going = going[better]
        values[going] = found[better]
    return values


def _cost(gram: Tensor, right: Tensor, values: Tensor) -> Tensor:
    """Squared error without that of no values at all, `[tokens]`."""
    return (values * ((gram @ values[..., None])[..., 0] - 2 * right)).sum(-1)
