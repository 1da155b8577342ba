"""The rows that are matched: directions of a dictionary, as unit vectors in any precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from saebench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_ROWS, _GPU_ROWS = 512, 4096
"""Rows that are turned into double precision at a time; on a CPU few enough to stay in its cache."""


@dataclass(frozen=True)
class Dictionary:
    """Directions of latents, one row a latent; a zero row has cosine 0 with everything.

    Attributes:
        rows: `[n, d]`, not normalised, single or double precision.
        norms: Norm of each row, `[n]` float64; 1 for a zero row, so that dividing by it does no harm.
    """

    rows: Tensor
    norms: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Dimensions of the space."""
        return self.rows.shape[1]

    @cached_property
    def zero(self) -> Tensor:
        """Which rows are zero, `[n]` bool on the CPU."""
        return torch.cat([(part == 0).all(-1) for part in self.rows.split(_step(self.rows))]).cpu()

    def unit(self, dtype: torch.dtype) -> Tensor:
        """Unit rows `[n, d]`, divided in double precision and then rounded to `dtype`."""
        out = torch.empty(self.rows.shape, dtype=dtype, device=self.rows.device)
        step = _step(self.rows)
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            out[part] = (self.rows[part].double() / self.norms[part, None]).to(dtype)
        return out

    def exact(self, index: Tensor) -> Tensor:
        """Unit rows in double precision, `[len(index), d]`."""
        return self.rows[index].double() / self.norms[index, None]

    def take(self, index: Tensor) -> Dictionary:
        """Some of the rows."""
        index = index.to(self.rows.device)
        return Dictionary(self.rows[index], self.norms[index])


def dictionary(rows: Tensor, label: str) -> Dictionary:
    """The dictionary of a matrix, checked.

    Args:
        rows: `[n, d]`.
        label: What to call it in an error.

    Raises:
        UserError: Not a matrix, empty, or with rows that are not finite.
    """
    if rows.ndim != 2 or not rows.numel():
        raise UserError(f"{label} is no dictionary: a matrix [latents, d] is needed, its shape is {list(rows.shape)}.")
    if not rows.is_floating_point():
        rows = rows.double()
    rows = rows.detach() if rows.dtype in (torch.float32, torch.float64) else rows.detach().float()
    norms = torch.cat([part.double().norm(dim=-1) for part in rows.split(_step(rows))])
    broken = (~norms.isfinite()).nonzero().view(-1)
    if len(broken):
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(
            f"Latent {int(broken[0])}{more} of {label} is not finite (NaN or infinite): it has no direction."
        )
    return Dictionary(rows, torch.where(norms > 0, norms, torch.ones_like(norms)))


def joined(parts: Sequence[Dictionary]) -> Dictionary:
    """Several directions of each latent as one: the cosine of two joined rows is the mean of the parts' cosines.

    Each part is a unit row divided by the root of their number, so a latent one of whose parts is zero has
    a norm below 1, and that part counts as cosine 0.
    """
    if len(parts) == 1:
        return parts[0]
    rows = torch.cat([part.unit(part.rows.dtype) for part in parts], dim=1) / len(parts) ** 0.5
    return Dictionary(rows, torch.ones(len(rows), dtype=torch.float64, device=rows.device))


def cosines(a: Dictionary, b: Dictionary, i: Tensor, j: Tensor) -> Tensor:
    """Cosines of pairs of rows in double precision, `[len(i)]` float64, some pairs at a time."""
    device, step = a.rows.device, _step(a.rows)
    found = [
        (a.exact(left.to(device)) * b.exact(right.to(device))).sum(-1)
        for left, right in zip(i.split(step), j.split(step), strict=True)
    ]
    return torch.cat(found).cpu() if found else torch.zeros(0, dtype=torch.float64)


def _step(rows: Tensor) -> int:
    return _ROWS if rows.device.type == "cpu" else _GPU_ROWS
