"""The weight and bias of a norm, found by what the norm does, and activations before they are applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_LARGE = 100.0
"""Size of inputs beside which a norm's epsilon does not count."""


@dataclass(frozen=True)
class Affine:
    """A norm's last step, `normalised * weight + bias`.

    Attributes:
        weight: What each coordinate is multiplied with, `[width]` float32; Gemma's is one plus its parameter.
        bias: What is added, `[width]` float32; zero in RMS norms.
    """

    weight: Tensor
    bias: Tensor

    def before(self, after: Tensor) -> Tensor:
        """Normalised activations `[..., width]` of a norm's output."""
        weight, bias = self.weight.to(after.device), self.bias.to(after.device)
        return ((after.float() - bias) / weight).to(after.dtype)

    def moved(self, after: Tensor, by: Tensor) -> Tensor:
        """The norm's output where its normalised activation is moved; by zeros, it stays what it is to the bit."""
        shift = by.to(after.device).float() * self.weight.to(after.device)
        return (after.float() + shift.reshape(after.shape)).to(after.dtype)


def affine_of(norm: Any, width: int, like: Tensor) -> Affine | None:
    """The weight and bias of a layer norm or an RMS norm, or None for another module or where a weight is zero.

    A norm gives back a vector of alternating signs times its weight, plus its bias; whether it is a norm of one of
    the two kinds is then tried on random vectors.

    Args:
        norm: The module.
        width: Size of its input's last axis.
        like: A tensor of the norm's device and type.
    """
    signs = torch.ones(width).index_fill(0, torch.arange(1, width, 2), -1.0)
    sample = _LARGE * torch.randn(4, width, generator=torch.Generator().manual_seed(0))

    def applied(x: Tensor) -> Tensor:
        made = norm(x.to(like)[None])
        return (made[0] if isinstance(made, (tuple, list)) else made)[0].float().cpu()

    with torch.no_grad():
        try:
            up, down = applied(torch.stack([signs, -signs]) * _LARGE)
            tried = applied(sample)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return None
    found = Affine((up - down) / 2 * signs, (up + down) / 2)
    given = sample.to(like.dtype).float()
    level = given - given.mean(-1, keepdim=True)
    step = 16 * torch.finfo(like.dtype).eps
    fits = any(
        torch.allclose(found.weight * x / x.square().mean(-1, keepdim=True).sqrt() + found.bias, tried, step, step)
        for x in (given, level)
    )
    return found if fits and bool(found.weight.all()) else None
