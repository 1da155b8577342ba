"""Whether L0 is right, seen from how activations project on the decoder; beside `decoder_mixing` (geometry.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import Activity, Reconstruction, TokenInfo
from saebench.metric import Array, Count, NotApplicable, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np

    Fields = dict[str, np.ndarray]

_SCALE, _LARGEST, _CELLS = 1e-3, 1e6, 1024
"""Projections are counted in cells that are even in asinh(p / scale), up to the largest, on both sides of zero."""


@metric(version=1, unit="activation", better="none")
def nth_projection(
    a: Activity, r: Reconstruction, t: TokenInfo, *, n: tuple[Count, ...] = (32, 128, 512), tokens: Count = 2048
) -> Sums:
    """The projection on decoder rows that n latents a token exceed on average (s_n^dec).

    The N n-th largest of the projections <y - b, d_i / |d_i|> of N tokens on all latents, b being what is decoded when
    nothing fires. With n well above the true L0 it is near its lowest where L0 is right: mixed latents project on what
    they should not. Chanin & Garriga-Alonso 2025, Sparse but Wrong, as their code has it: of all projections at once,
    not the mean of each token's n-th. Taken on about `tokens` tokens, the same for every SAE, from counts in cells some
    4 % wide, between whose ends it is interpolated. An n that is not below the number of latents is left out.
    """
    import torch

    chosen = [count for count in n if count < a.codes.width]
    if not chosen:
        raise NotApplicable(f"the SAE has {a.codes.width} latents: no n of {', '.join(map(str, n))} is below that")
    sampled = t.sample(tokens)
    codes = a.codes[sampled]
    scale = codes.ctx["scale"].reshape(-1, 1) if "scale" in codes.ctx else 1.0
    centred = r.error[sampled] + scale * (codes @ a.rows)
    unit = torch.nn.functional.normalize(a.rows, dim=-1)
    at = torch.asinh((centred @ unit.T).double() / _SCALE) / _width() + _CELLS / 2
    cell = at.long().clamp(0, _CELLS - 1)
    row = torch.arange(len(cell), device=cell.device)[:, None]
    counts = torch.zeros(len(sampled), _CELLS, dtype=torch.float64, device=cell.device)
    flat = torch.bincount((row * _CELLS + cell).reshape(-1), minlength=len(cell) * _CELLS)
    counts[sampled] = flat.view(-1, _CELLS).double()
    wanted = sampled[:, None] * torch.tensor(chosen, dtype=torch.float64, device=cell.device)
    notes = [f"n = {count} is not below its {a.codes.width} latents" for count in n if count not in chosen]
    return Sums(counts=counts, wanted=wanted, slices=[f"n={count}" for count in chosen], notes=notes)


@nth_projection.finish
def _(f: Fields) -> Fields:
    """The quantile with each document's influence on it, `[documents, slices]`."""
    import numpy as np

    edges = _SCALE * np.sinh((np.arange(_CELLS + 1) - _CELLS / 2) * _width())
    above = np.concatenate([f["counts"][:, ::-1].cumsum(1)[:, ::-1], np.zeros((len(f["counts"]), 1))], axis=1)
    total, there = above.sum(0), f["wanted"][:, :1] > 0
    columns = []
    for wanted in f["wanted"].T:
        cell = int(np.searchsorted(-total, -wanted.sum(), side="right")) - 1
        cell = min(max(cell, 0), _CELLS - 1)
        held, width = total[cell] - total[cell + 1], edges[cell + 1] - edges[cell]
        share = (total[cell] - wanted.sum()) / held if held else 0.0
        exceed = above[:, cell] + share * (above[:, cell + 1] - above[:, cell])
        slope = width / held if held else 0.0
        columns.append(edges[cell] + share * width + there.sum() * (exceed - wanted) * slope)
    return {"psi": np.stack(columns, axis=1) * there, "n": np.repeat(there, len(columns), axis=1)}


@nth_projection.value
def _(s: Totals) -> Array:
    return s.psi / s.n


def _width() -> float:
    """Width of a cell in asinh."""
    import math

    return 2 * math.asinh(_LARGEST / _SCALE) / _CELLS
