"""What a model remembers of the tokens before a position, from which rows are run on without running those again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache


@dataclass(frozen=True)
class Past:
    """Keys and values of the first tokens of some rows, aligned on the right.

    Attributes:
        layers: Keys and values by layer, each `[rows, heads, length, width]`; None where a layer is never asked.
        valid: Which of them are a row's own tokens and not padding on the left, `[rows, length]` bool.
    """

    layers: tuple[tuple[Tensor, Tensor] | None, ...]
    valid: Tensor

    def before(self, at: Tensor) -> Past:
        """What lies before one position of each row, `[rows]`; these rows are padded on the right until then."""
        length = int(at.max())
        place = at[:, None] - length + torch.arange(length, device=at.device)
        valid, place = place >= 0, place.clamp_min(0)
        layers = tuple(None if x is None else (_along(x[0], place, 2), _along(x[1], place, 2)) for x in self.layers)
        return Past(layers, valid)

    def rows(self, index: Tensor) -> Past:
        """Some of the rows, without the padding that none of them needs."""
        valid = self.valid[index]
        start = valid.shape[1] - int(valid.sum(1).max())
        layers = tuple(None if x is None else (x[0][index, :, start:], x[1][index, :, start:]) for x in self.layers)
        return Past(layers, valid[:, start:])

    def above(self, layer: int) -> Past:
        """Without the layers below one, which a run that goes on from it never asks."""
        return Past(tuple(x if i >= layer else None for i, x in enumerate(self.layers)), self.valid)

    def call(self, tokens: Tensor, positions: bool) -> dict[str, Any]:
        """How a model is called to run tokens behind this past: as in generation, with rows padded on the left.

        Args:
            tokens: Ids `[rows, n]`.
            positions: Whether the model takes `position_ids`; others count them from the mask.
        """
        cache, known = DynamicCache(), next(pair for pair in self.layers if pair is not None)
        unused = known[0].new_zeros(len(tokens), 1, self.valid.shape[1], 1)  # its length is asked of the first layer
        for number, pair in enumerate(self.layers):
            cache.update(*(pair or (unused, unused)), number)
        mask = torch.cat([self.valid, torch.ones_like(tokens, dtype=torch.bool)], dim=1).long()
        made: dict[str, Any] = {"past_key_values": cache, "attention_mask": mask, "use_cache": True}
        if positions:
            made["position_ids"] = self.valid.sum(1)[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        return made

    @property
    def row_bytes(self) -> int:
        """Memory that a row takes."""
        return sum(t[:1].numel() * t.element_size() for pair in self.layers if pair is not None for t in pair)


def joined(parts: list[Past]) -> Past:
    """The rows of several pasts, one after the other."""
    length = max(part.valid.shape[1] for part in parts)
    layers = []
    for number, first in enumerate(parts[0].layers):
        pairs = [part.layers[number] for part in parts]
        layers.append(None if first is None else tuple(_stacked([p[i] for p in pairs if p], length) for i in (0, 1)))
    return Past(tuple(layers), _stacked([part.valid for part in parts], length, axis=1))


def suffix(tensor: Tensor, at: Tensor, length: int) -> Tensor:
    """`length` entries of each row `[rows, all, ...]` from its position on; where there are fewer, the last again."""
    place = at[:, None] + torch.arange(length, device=at.device)
    return _along(tensor, place.clamp_max(tensor.shape[1] - 1), 1)


def _along(tensor: Tensor, place: Tensor, axis: int) -> Tensor:
    """Entries `[rows, n]` of an axis, other axes as they are."""
    shape = [1] * tensor.ndim
    shape[0], shape[axis] = place.shape
    wanted = [*tensor.shape]
    wanted[axis] = place.shape[1]
    return tensor.gather(axis, place.reshape(shape).expand(wanted))


def _stacked(parts: list[Tensor], length: int, axis: int = 2) -> Tensor:
    """Concatenated rows, padded on the left of an axis with zeros."""
    padded = []
    for part in parts:
        missing = [*part.shape]
        missing[axis] = length - part.shape[axis]
        padded.append(torch.cat([part.new_zeros(missing), part], axis))
    return torch.cat(padded)
