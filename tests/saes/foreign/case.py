"""What the layouts share: a case, the shapes of layers, top-k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.saes.checkpoints import D, F, draw

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From activations to codes and reconstruction."""


@dataclass(frozen=True)
class Case:
    """One checkpoint to write.

    Attributes:
        name: Format and class.
        format: Name of the format that must be detected.
        write: Writes the checkpoint under a folder, and gives the path to load and the library's forward.
        hooks: Hooks that must be declared.
    """

    name: str
    format: str
    write: Callable[[Path], tuple[Path, Forward]]
    hooks: tuple[str, str]


def linear(latents: int = F, d: int = D, *, bias: bool = True) -> dict[str, Tensor]:
    """Two layers as torch keeps them: the weight of each is output by input."""
    made = {"encoder.weight": draw(latents, d, seed=1), "decoder.weight": draw(d, latents, seed=2)}
    return {**made, "encoder.bias": draw(latents, seed=3)} if bias else made


def matrices() -> dict[str, Tensor]:
    return {
        "W_enc": draw(D, F, seed=1),
        "b_enc": draw(F, seed=3),
        "W_dec": draw(F, D, seed=2),
        "b_dec": draw(D, seed=4),
    }


def topk(pre: Tensor, k: int) -> Tensor:
    """relu, then the k largest of each row."""
    positive = pre.relu()
    best = positive.topk(k, dim=-1)
    return torch.zeros_like(positive).scatter(-1, best.indices, best.values)
