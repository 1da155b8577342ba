"""What the auto-interp metrics share: how latents are drawn, and means over latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from saebench.inputs import Sampling
from saebench.metric import Array, Sums, Totals

SAMPLING = Sampling()

T = TypeVar("T")


def means(items: Sequence[T], columns: Mapping[str, Callable[[T], float | None]], notes: Sequence[str] = ()) -> Sums:
    """Sums of a number that latents have, a slice a number; a latent that has none counts in no mean.

    Args:
        items: One a latent.
        columns: How each slice's number is had of a latent, None where it has none.
    """
    import torch

    table = [[take(item) for take in columns.values()] for item in items]
    value = torch.tensor([[0.0 if v is None else v for v in row] for row in table], dtype=torch.float64)
    counted = torch.tensor([[float(v is not None) for v in row] for row in table], dtype=torch.float64)
    return Sums(value=value, latents=counted, slices=tuple(columns), notes=notes)


def mean(s: Totals) -> Array:
    """The mean over latents that have a number."""
    return s.value / s.latents


def unscored(problems: Sequence[str], notes: Sequence[str] = ()) -> tuple[str, ...]:
    """What a reader should know of latents without a score, after the notes of the drawing."""
    kinds: dict[str, int] = {}
    for problem in problems:
        if problem:
            kind = problem.split(":")[0] if problem.startswith("too few") else problem
            kinds[kind] = kinds.get(kind, 0) + 1
    told = sorted(kinds.items(), key=lambda pair: -pair[1])[:5]
    return (*notes, *(f"{count} of {len(problems)} latents unscored, {kind}" for kind, count in told))
