"""Which latents fire together, and whether they then work against each other.

Counted on a fixed number of tokens, the same for every SAE, since with more of them more pairs are seen together; and
on at most `latents` latents, of a wider SAE a subset drawn by its width: never n x n of a large dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from saebench.inputs import Activity, TokenInfo
from saebench.metric import Array, Count, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Fields = dict[str, np.ndarray]

_SEED = 0


class _Pairs(NamedTuple):
    """Sums over sampled tokens: firings together `[n, n]`, products of codes `[n, n]`, tokens; and which latents."""

    together: Tensor
    product: Tensor
    tokens: int
    latents: Tensor
    notes: tuple[str, ...]


@metric(version=1, unit="share of pairs", better="none", bounds=(0.0, 1.0), units="latents")
def connectivity(a: Activity, t: TokenInfo, *, tokens: Count = 5_000, latents: Count = 1024) -> Sums:
    """Share of pairs of latents that never fire on the same token.

    1 - |{(i, j): f_i and f_j fire on the same token}| / n^2, a latent and itself being a pair: Fel et al. 2025,
    Archetypal SAE. Slice `live` takes the latents that fire at all, so that dead ones do not count as well separated.
    """
    return _together(a, t, tokens, latents, slices=("all", "live"))


@connectivity.finish
def _(f: Fields) -> Fields:
    import numpy as np

    seen = f["together"] > 0
    live = np.diag(seen)
    apart = np.stack([(~seen).sum(1), (~seen & live & live[:, None]).sum(1)], 1)
    return {"apart": apart, "pairs": np.stack([np.full(len(live), len(live)), live * live.sum()], 1)}


@connectivity.value
def _(s: Totals) -> Array:
    return s.apart / s.pairs


@metric(version=1, unit="correlation", better="none", bounds=(-1.0, 1.0), units="latents")
def max_phi(a: Activity, t: TokenInfo, *, tokens: Count = 5_000, latents: Count = 1024, least: Count = 10) -> Sums:
    """Mean over latents of the largest correlation of its firing with that of another latent: one for a copy.

    mean over i of max over j of phi_ij, the correlation of 1[f_i != 0] with 1[f_j != 0] over tokens. Latents that fire
    on fewer than `least` of the tokens, or on all of them, take no part.
    """
    return _together(a, t, tokens, latents, least=float(least))


@max_phi.finish
def _(f: Fields) -> Fields:
    import numpy as np

    together, tokens = f["together"], f["tokens"][0]
    fires = np.diag(together)
    counted = (fires >= f["least"][0] / f["batches"][0]) & (fires < tokens)
    spread = np.where(counted, np.sqrt(fires * (tokens - fires)), np.nan)
    phi = (tokens * together - np.outer(fires, fires)) / np.outer(spread, spread)
    np.fill_diagonal(phi, np.nan)
    top = np.where(np.isnan(phi), -np.inf, phi).max(1)
    counted &= np.isfinite(top)
    return {"phi": np.where(counted, top, 0.0), "latents": counted}


@max_phi.value
def _(s: Totals) -> Array:
    return s.phi / s.latents


@metric(version=1, unit="squared activation", better="lower", best=0.0, bounds=(0.0, None), units="latents")
def negative_interference(a: Activity, t: TokenInfo, *, tokens: Count = 5_000, latents: Count = 1024) -> Sums:
    """How strongly latents that fire together write against each other.

    || ReLU(-(Z'Z / N) o D D') ||_2, Z the codes `[N, n]` and D the decoder's rows, the norm being the largest singular
    value: Fel et al. 2025, Archetypal SAE, with Z'Z as a mean over tokens so that it does not grow with them. Unmoved
    when latents are rescaled; it grows with the square of the activations' scale. The norm of a matrix has no interval.
    """
    import torch

    pairs = _pairs(a, t, tokens, latents)
    own = a.rows[pairs.latents.to(a.rows.device)].double()
    against = pairs.product.double() * (own @ own.T)
    return Sums(against=against, tokens=torch.tensor([float(pairs.tokens)]), notes=pairs.notes)


@negative_interference.finish
def _(f: Fields) -> Fields:
    import numpy as np

    tokens = f["tokens"][0]
    if not tokens:
        return {"norm": np.full(1, np.nan)}
    against = np.maximum(-f["against"] / tokens, 0.0)
    return {"norm": np.abs(np.linalg.eigvalsh((against + against.T) / 2)[[-1]])}


@negative_interference.value
def _(s: Totals) -> Array:
    return s.norm


def _together(
    a: Activity, t: TokenInfo, tokens: int, latents: int, *, slices: tuple[str, ...] = (), **settings: float
) -> Sums:
    """Firings together, with the tokens looked at; settings come back multiplied by the number of batches."""
    import torch

    pairs = _pairs(a, t, tokens, latents)
    numbers = {"batches": 1.0, "tokens": float(pairs.tokens), **settings}
    fixed: dict[str, Any] = {name: torch.tensor([number]) for name, number in numbers.items()}
    return Sums(together=pairs.together, **fixed, slices=slices, notes=pairs.notes)


def _pairs(a: Activity, t: TokenInfo, tokens: int, latents: int) -> _Pairs:
    """Sums of this batch, made once for the metrics of this file."""
    return a.once(("coactivation", tokens, latents), lambda: _summed(a, t, tokens, latents))


def _summed(a: Activity, t: TokenInfo, tokens: int, most: int) -> _Pairs:
    import torch

    width = a.codes.width
    looked = torch.arange(width)
    notes: tuple[str, ...] = ()
    if width > most:
        looked = torch.randperm(width, generator=torch.Generator().manual_seed(_SEED))[:most].sort().values
        notes = (f"a subset of {most} of its {width} latents",)
    sample = t.sample(tokens)
    z = a.codes[sample].columns(looked).float()
    fires = (z != 0).to(z.dtype)
    return _Pairs(fires.T @ fires, z.T @ z, int(sample.sum()), looked, notes)
