"""What is known of each scored token besides its activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

_MIX = (6364136223846793005, 1442695040888963407, 7109453100751455733)
"""Odd multipliers and an offset of the hash that draws tokens."""


@dataclass(frozen=True)
class TokenInfo:
    """Token id, place, frequency and domain of each valid token of a batch.

    Attributes:
        ids: Token ids, `[tokens]`.
        position: Place in the row, BOS at 0, `[tokens]`.
        frequency: Share of the corpus' valid tokens that are this token, `[tokens]`.
        domain: Index of the document's domain in `domains`, `[tokens]`.
        domains: Names of the domains; empty where the data has none.
        rank: Place of the token id when ids are ordered by frequency, the most frequent at 0, `[tokens]`.
        row: Row of the corpus, `[tokens]`.
        total: Valid tokens of the corpus.
        vocabulary: Number of token ids.
    """

    kind: ClassVar[str] = "stream"

    ids: Tensor
    position: Tensor
    frequency: Tensor
    domain: Tensor
    domains: tuple[str, ...]
    rank: Tensor
    row: Tensor
    total: int
    vocabulary: int

    def sample(self, most: int) -> Tensor:
        """About `most` tokens of the corpus, drawn by row and position: the same for every SAE, `[tokens]` bool.

        Which tokens they are does not depend on batches. A smaller sample is part of a larger one.
        """
        import torch

        if self.total <= most:
            return torch.ones_like(self.ids, dtype=torch.bool)
        mixed = (self.row.long() * 1_000_003 + self.position.long()) * _MIX[0] + _MIX[1]
        mixed = (mixed ^ (mixed >> 33 & 0x7FFFFFFF)) * _MIX[2]
        mixed = mixed ^ (mixed >> 28 & 0xFFFFFFFFF)
        return (mixed >> 11 & 0xFFFFFFFFFFFF).double() * 2.0**-48 < most / self.total
