"""Least squares of a SAE's error on the activation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from saebench.inputs import ErrorModel

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import SparseCoder

_RCOND = 1e-9
"""Directions of x with less than this share of the largest variance are not used."""


@dataclass(frozen=True)
class ErrorFit:
    """The fitted coefficients of one SAE.

    Attributes:
        weights: `[d_in + 1, d_out + 1]`: x and a constant to e and |e|.
        mean: Mean of e and |e|, `[d_out + 1]`.
        tenths: Nine squared errors that cut the text into ten equal parts, `[9]`.
    """

    weights: Tensor
    mean: Tensor
    tenths: Tensor

    def predict(self, x: Tensor, squared_error: Tensor) -> ErrorModel:
        """Predictions for tokens `[tokens, d_in]` with squared errors `[tokens]`."""
        predicted = x.float() @ self.weights[:-1] + self.weights[-1]
        return ErrorModel(
            linear=predicted[:, :-1],
            constant=self.mean[:-1],
            norm=predicted[:, -1],
            norm_constant=float(self.mean[-1]),
            decile=torch.bucketize(squared_error, self.tenths),
        )


@dataclass
class Moments:
    """Sums of products over the tokens seen, and the squared errors."""

    xx: Tensor
    xe: Tensor
    squared: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, sae: SparseCoder, device: torch.device) -> Moments:
        """Empty sums for one SAE."""

        def zeros(width: int) -> Tensor:
            return torch.zeros(sae.d_in + 1, width + 1, dtype=torch.float64, device=device)

        return cls(zeros(sae.d_in), zeros(sae.d_out))

    def add(self, x: Tensor, error: Tensor) -> None:
        """Take tokens `[tokens, d_in]` and their errors `[tokens, d_out]`."""
        squared = error.square().sum(-1)
        wide = torch.cat([x, torch.ones_like(x[:, :1])], dim=1).double()
        target = torch.cat([error, squared.sqrt()[:, None]], dim=1).double()
        self.xx += wide.T @ wide
        self.xe += wide.T @ target
        self.squared.append(squared)

    def solved(self) -> ErrorFit:
        """The least-squares fit."""
        count, mean_x, mean_e = self.xx[-1, -1], self.xx[-1, :-1], self.xe[-1]
        centred = self.xx[:-1, :-1] - mean_x.outer(mean_x) / count
        slope = torch.linalg.pinv(centred, rtol=_RCOND, hermitian=True) @ (self.xe[:-1] - mean_x.outer(mean_e) / count)
        offset = (mean_e - mean_x @ slope) / count
        squared = torch.cat(self.squared)
        ranks = (torch.arange(1, 10, dtype=torch.float64) / 10 * len(squared)).long().clamp_max(len(squared) - 1)
        tenths = squared.sort().values[ranks.to(squared.device)]
        return ErrorFit(torch.cat([slope, offset[None]]).float(), (mean_e / count).float(), tenths)
