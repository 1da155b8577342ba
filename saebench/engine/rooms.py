"""Which SAEs are in a device's memory together, where they do not all fit beside the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from saebench.saes.coder import Coder

if TYPE_CHECKING:
    from saebench.engine.rows import Cell
    from saebench.saes import SparseCoder

_SHARE = 0.5
"""Share of a device's free memory that SAEs may take; the rest is for activations, codes and logits."""

HOME = torch.device("cpu")
"""Where SAEs wait."""


def sae_budget(device: torch.device) -> float:
    """Bytes of SAEs that may lie on a device at once; no bound on a CPU, where they lie anyway."""
    if device.type == "cuda":
        return _SHARE * torch.cuda.mem_get_info(device)[0]
    return float("inf")


def size_of(sae: SparseCoder) -> int:
    """Bytes of a SAE's weights; of its matrices alone where it has no list of tensors."""
    tensors = sae.tensors().values() if isinstance(sae, Coder) else (sae.W_enc, sae.W_dec, sae.b_dec)
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def settled(saes: Iterable[SparseCoder], device: torch.device, references: int = 0) -> list[SparseCoder]:
    """The SAEs on the device if they fit there all, with as many references as they will get; else at home.

    Args:
        saes: The SAEs.
        device: The model's.
        references: Nulls and baselines that are still to be made, each no larger than the largest SAE.
    """
    given = list(saes)
    sizes = [size_of(sae) for sae in given]
    room = sae_budget(device) + sum(size for sae, size in zip(given, sizes, strict=True) if _on(sae, device))
    fits = sum(sizes) + references * max(sizes, default=0) <= room
    return [sae.to(device=device if fits else HOME) for sae in given]


def rooms(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells in groups whose SAEs fit on the device together, in order; one SAE's cells are never parted.

    SAEs of seed groups stay together, as each is held against the others.
    """
    given = list(cells)
    room = sae_budget(given[0].model.device)
    if room == float("inf") or all(_on(cell.sae, cell.model.device) for cell in given):
        return [given]
    waiting: dict[int, list[Cell]] = {}
    paired = {id(cell.sae) for cell in given if cell.pairs}
    for cell in given:
        waiting.setdefault(0 if id(cell.sae) in paired else id(cell.sae), []).append(cell)
    made: list[list[Cell]] = []
    taken = 0.0
    for together in waiting.values():
        size = sum(size_of(sae) for sae in {id(cell.sae): cell.sae for cell in together}.values())
        if made and taken + size <= room:
            made[-1] += together
            taken += size
        else:
            made.append(together)
            taken = size
    return made


@contextmanager
def moved_in(cells: list[Cell]) -> Iterator[list[Cell]]:
    """The cells with their SAEs on the model's device, which leave it again afterwards."""
    moved = {id(cell.sae): cell.sae.to(device=cell.model.device) for cell in cells}
    try:
        yield [replace(cell, sae=moved[id(cell.sae)]) for cell in cells]
    finally:
        for sae in moved.values():
            if not isinstance(sae, Coder):  # a wrapped object is moved itself; a coder's copy is let go
                sae.to(device=HOME)


def _on(sae: SparseCoder, device: torch.device) -> bool:
    """Whether a SAE lies on an accelerator."""
    weights = sae.W_dec if sae.W_dec is not None else sae.b_dec
    return device.type != "cpu" and weights is not None and weights.device.type == device.type
