"""How many bits a token's code takes, and what error the reconstruction has at that many bits.

An entry f_i is rounded to the middle of one of B equal parts of the range from 0 to 1.9 times the latent's largest code
on text that is not scored (of a signed SAE, from 1.9 times its smallest code); B is the fewest of 4 ... 256 with which
the squared error grows by at most the tolerance. With 1.9 the largest code, which may well occur again, lies on no edge
between parts, where rounding would decide. The error is taken on a fixed sample of tokens, the same for every SAE.

Bits are to be compared at equal distortion. Of two SAEs of unequal `description_length_fvu` the one with fewer bits
*and* lower FVU is better; where one has fewer bits and the other lower FVU, score several sparsities of each recipe and
interpolate their bits at a common FVU. After Ayonrinde et al. 2024, Interpretability as Compression (MDL-SAE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import Activity, OtherCodes, Reconstruction, TokenInfo
from saebench.metric import Array, Count, Positive, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Fields = dict[str, np.ndarray]

_BINS = (4, 8, 16, 32, 64, 128, 256)
_NAMES = ("chosen", *(f"bins={bins}" for bins in _BINS))
_SHARED = ("tokens", "variance")
_REACH = 1.9
"""Range over the largest code: no B has the largest code on an edge, as B / 1.9 is never a whole number."""


@metric(version=2, unit="bits a token", better="lower", best=0.0, bounds=(0.0, None), units="latents")
def description_length(
    a: Activity, r: Reconstruction, t: TokenInfo, o: OtherCodes, *, tolerance: Positive = 0.1, tokens: Count = 4096
) -> Sums:
    """Bits that a token's code takes when it is rounded as coarsely as the tolerance allows.

    sum over latents of H_b(p_i) + p_i H(bin(f_i) | f_i != 0): whether latent i fires, and if so in which bin. The first
    slice has the fewest bins whose rounded reconstruction has a squared error of at most (1 + `tolerance`) times the
    unrounded one's; it is undefined where 256 bins are too few. The other slices have a fixed number of bins. Entropies
    are those of the counts, so compare SAEs on the same number of tokens. See `description_length_fvu`.
    """
    import torch

    finest = _finest(a, o)
    counts = torch.bincount(a.codes.latents * _BINS[-1] + finest, minlength=a.codes.width * _BINS[-1])
    rounded, plain = _errors(a, r, t, o, tokens)
    return Sums(
        counts=counts.view(a.codes.width, -1), tokens=torch.tensor([float(a.codes.n)]),
        allowed=(1 + tolerance) * plain.sum()[None], rounded=rounded.sum(0)[None], slices=_NAMES,
    )  # fmt: skip


@description_length.finish
def _(f: Fields) -> Fields:
    import numpy as np

    fires, tokens = f["counts"].sum(1), f["tokens"][0]
    whether = _entropy(np.stack([fires, tokens - fires], 1))
    which = [_entropy(f["counts"].reshape(len(fires), bins, -1).sum(2)) for bins in _BINS]
    bits = np.stack([whether + fires / tokens * entropy for entropy in which], axis=1)
    enough = f["rounded"][0] <= f["allowed"][0]
    chosen = bits[:, enough.argmax()] if enough.any() else np.full(len(bits), np.nan)
    return {"bits": np.concatenate([chosen[:, None], bits], axis=1)}


@description_length.value
def _(s: Totals) -> Array:
    return s.bits


@metric(version=2, unit="share of variance", better="lower", best=0.0, bounds=(0.0, None))
def description_length_fvu(
    a: Activity, r: Reconstruction, t: TokenInfo, o: OtherCodes, *, tolerance: Positive = 0.1, tokens: Count = 4096
) -> Sums:
    """Share of the target's variance that the rounded reconstruction of `description_length` leaves unexplained.

    (mean |y - y^_rounded|^2 over about `tokens` tokens) / (mean |y - mean y|^2 over all), with the same bins by slice.
    """
    rounded, plain = _errors(a, r, t, o, tokens)
    sampled = t.sample(tokens)
    return Sums(rounded=rounded, allowed=(1 + tolerance) * plain, sampled=sampled, shared=_SHARED, slices=_NAMES)


@description_length_fvu.finish
def _(f: Fields) -> Fields:
    import numpy as np

    enough = f["rounded"].sum(0) <= f["allowed"].sum()
    chosen = f["rounded"][:, enough.argmax()] if enough.any() else np.full(len(f["rounded"]), np.nan)
    kept = {name: f[name] for name in ("sampled", *_SHARED)}
    wide = {name: np.repeat(value[:, None], len(_NAMES), axis=1) for name, value in kept.items()}
    return {**wide, "rounded": np.concatenate([chosen[:, None], f["rounded"]], axis=1)}


@description_length_fvu.value
def _(s: Totals) -> Array:
    return s.rounded / s.sampled * s.tokens / s.variance


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of each row's shares in bits, `[rows]`; an empty row has none."""
    import numpy as np

    total = np.maximum(counts.sum(1), 1.0)
    weighted = (counts * np.log2(np.maximum(counts, 1.0))).sum(1)
    return np.maximum(np.log2(total) - weighted / total, 0.0)


def _ranges(o: OtherCodes) -> tuple[Tensor, Tensor]:
    """Where the bins of each latent begin and how long they are together, `[d_sae]`, from the other text.

    A latent that does not fire there takes the widest range of all.
    """
    codes = o.codes
    empty = codes.values.new_zeros(codes.width)
    low = empty.scatter_reduce(0, codes.latents, codes.values, "amin")
    high = empty.scatter_reduce(0, codes.latents, codes.values, "amax")
    seen = codes.fires > 0
    low, high = low.where(seen, low.min()), high.where(seen, high.max())
    span = _REACH * (high - low)
    return _REACH * low, span.where(span > 0, span.new_ones(()))


def _finest(a: Activity, o: OtherCodes) -> Tensor:
    """Which of the most bins each entry falls into, `[nnz]`; what lies outside the range goes to its end."""

    def made() -> Tensor:
        low, span = o.once(("description length",), lambda: _ranges(o))
        place = (a.codes.values - low[a.codes.latents]) / span[a.codes.latents]
        return (place * _BINS[-1]).long().clamp(0, _BINS[-1] - 1)

    return a.once(("description length: bins",), made)


def _errors(a: Activity, r: Reconstruction, t: TokenInfo, o: OtherCodes, tokens: int) -> tuple[Tensor, Tensor]:
    """Squared error of the sampled tokens by number of bins, `[tokens, bins]`, and without rounding; others have 0."""
    return a.once(("description length: errors", tokens), lambda: _rounded_errors(a, r, t, o, tokens))


def _rounded_errors(a: Activity, r: Reconstruction, t: TokenInfo, o: OtherCodes, tokens: int) -> tuple[Tensor, Tensor]:
    import torch

    sampled = t.sample(tokens)
    low, span = o.once(("description length",), lambda: _ranges(o))
    inside = sampled[a.codes.tokens]
    finest, latents = _finest(a, o)[inside], a.codes.latents[inside]
    codes, error = a.codes[sampled], r.error[sampled]
    scale = codes.ctx["scale"].reshape(-1, 1) if "scale" in codes.ctx else 1.0
    columns = []
    for bins in _BINS:
        middle = (finest // (_BINS[-1] // bins) + 0.5) / bins
        off = codes.values - (low[latents] + middle * span[latents])
        moved = error + scale * (codes.with_values(off) @ a.rows)
        columns.append(moved.square().sum(-1))
    rounded = error.new_zeros(len(sampled), len(_BINS))
    rounded[sampled] = torch.stack(columns, dim=1)
    return rounded, r.squared_error.where(sampled, error.new_zeros(()))
