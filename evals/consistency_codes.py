"""Whether the latents of another seed do the same on the same tokens. From the codes of a seed group."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from saebench.inputs import SeedCodes
from saebench.metric import Array, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np


@metric(version=1, unit="correlation", better="higher", best=1.0, bounds=(-1.0, 1.0), units="latents")
def matched_correlation(c: SeedCodes) -> Sums:
    """Mean correlation of the codes of matched latents of two seeds, over all valid tokens.

    mean over i of Pearson(f_i, g_pi(i)), pi the matching of decoders of pw_mcc; pairs with a latent that
    never fires are left out. See matched_correlation_null.
    """
    return _sums(c, c.matched, weighted=False)


@metric(version=1, unit="correlation", better="none", bounds=(-1.0, 1.0), units="latents")
def matched_correlation_null(c: SeedCodes) -> Sums:
    """What matched_correlation is expected to be when latents that fire are paired at random.

    mean over i and j of Pearson(f_i, g_j).
    """
    return _sums(c, c.chance, weighted=False)


@metric(version=1, unit="correlation", better="higher", best=1.0, bounds=(-1.0, 1.0), units="latents")
def wmppc(c: SeedCodes) -> Sums:
    """Weighted mean over latents of the largest correlation with any latent of another seed.

    wMPPC(A -> B) = sum w_i max over j of Pearson(f_i, g_j) / sum w_i, w_i = sum of |f_i| over tokens (Cornet et
    al. 2025). It is not symmetric: this SAE is A. A maximum is above 0 by chance; wmppc_null is the mean over j.
    """
    return _sums(c, c.best, weighted=True)


@metric(version=1, unit="correlation", better="none", bounds=(-1.0, 1.0), units="latents")
def wmppc_null(c: SeedCodes) -> Sums:
    """What wmppc is expected to be when each latent is paired with a random one that fires.

    sum w_i mean over j of Pearson(f_i, g_j) / sum w_i.
    """
    return _sums(c, c.chance, weighted=True)


@matched_correlation.value
@matched_correlation_null.value
@wmppc.value
@wmppc_null.value
def _(s: Totals) -> Array:
    return s.correlation / s.weight


def _sums(c: SeedCodes, correlation: Callable[..., np.ndarray], *, weighted: bool) -> Sums:
    """A row for each latent: over all partners, and with each."""
    import numpy as np
    import torch

    weight = c.own.size if weighted else np.ones(len(c.own.size))
    columns, weights = [], []
    for partner in c.partners:
        found = correlation(partner)
        columns.append(np.nan_to_num(found) * weight)
        weights.append(np.where(np.isnan(found), 0, weight))
    columns, weights = ([sum(part), *part] for part in (columns, weights))
    fields: dict[str, Any] = {
        name: torch.from_numpy(np.stack(part, axis=1)) for name, part in (("correlation", columns), ("weight", weights))
    }
    notes = [f"without {name}, which could not be run" for name in c.missing]
    return Sums(**fields, slices=["", *(f"with={partner.name}" for partner in c.partners)], notes=notes)
