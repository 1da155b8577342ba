"""Where the reconstruction fails: the normalised error by position, by token frequency and by domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import Reconstruction, TokenInfo
from saebench.metric import Array, Count, NotApplicable, Share, Sums, Totals, metric

if TYPE_CHECKING:
    from torch import Tensor


@metric(version=1, unit="share of power", better="lower", best=0.0, bounds=(0.0, None))
def nmse_by_position(r: Reconstruction, t: TokenInfo, *, edges: tuple[Count, ...] = (4, 16, 64)) -> Sums:
    """Squared error as a share of the target's power, by the token's place in its row.

    sum |y - y^|^2 / sum |y|^2 over the tokens of a band; `edges` are the first positions of the bands
    after the first, BOS being position 0.
    """
    rising = tuple(sorted(set(edges)))
    return _by_band(r, _band(t.position, rising), _names("position", rising))


@metric(version=2, unit="share of power", better="lower", best=0.0, bounds=(0.0, None))
def nmse_by_frequency(r: Reconstruction, t: TokenInfo, *, edges: tuple[Share, ...] = (1e-4, 1e-3, 1e-2)) -> Sums:
    """Squared error as a share of the target's power, by how frequent the token is in the corpus.

    sum |y - y^|^2 / sum |y|^2 over the tokens whose share of the corpus lies in a band.
    """
    rising = tuple(sorted(set(edges)))
    return _by_band(r, _band(t.frequency, rising), _names("frequency", rising))


@metric(version=1, unit="share of power", better="lower", best=0.0, bounds=(0.0, None))
def nmse_by_domain(r: Reconstruction, t: TokenInfo) -> Sums:
    """Squared error as a share of the target's power, by the domain of the document.

    sum |y - y^|^2 / sum |y|^2 over the tokens of a domain, where the data names one (`domain` column).
    """
    if not t.domains:
        raise NotApplicable("the data has no `domain` column")
    return _by_band(r, t.domain, [f"domain={name}" for name in t.domains])


def _band(values: Tensor, edges: tuple[float, ...]) -> Tensor:
    """How many edges each value has reached, `[tokens]`."""
    import torch

    # in the values' own precision, so that a share of exactly one in a hundred has reached 0.01
    return torch.bucketize(values, torch.tensor(edges, dtype=values.dtype, device=values.device), right=True)


def _by_band(r: Reconstruction, band: Tensor, names: list[str]) -> Sums:
    """Error and power of each token in the column of its band, zero in the others."""
    import torch

    inside = torch.nn.functional.one_hot(band, len(names)).to(r.power.dtype)
    return Sums(error=inside * r.squared_error[:, None], power=inside * r.power[:, None], slices=names)


def _names(what: str, edges: tuple[float, ...]) -> list[str]:
    bounds = ["", *map(str, edges), ""]
    middle = [f"{what}={low}-{high}" for low, high in zip(bounds[1:-2], bounds[2:-1], strict=True)]
    return [f"{what}<{edges[0]}", *middle, f"{what}>={edges[-1]}"]


@nmse_by_position.value
@nmse_by_frequency.value
@nmse_by_domain.value
def _(s: Totals) -> Array:
    return s.error / s.power
