"""Rows of a corpus as rectangular batches within a token budget, and the index of their valid tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, padded on the right to the longest, and where their valid tokens are.

    Padding is only ever seen by the model, after everything that counts (it is causal, so nothing before
    it moves); no padding is encoded.

    Attributes:
        rows: Row numbers in the corpus, `[rows]`.
        tokens: Token ids, `[rows, length]`.
        valid: Content tokens, `[rows, length]` bool.
        row_block: Unit of each row, `[rows]`.
        row_document: Document of each row, `[rows]`.
    """

    rows: np.ndarray
    tokens: Tensor
    valid: Tensor
    row_block: Tensor
    row_document: Tensor

    @cached_property
    def where(self) -> tuple[Tensor, Tensor]:
        """Row and position of each valid token, each `[tokens]`."""
        row, position = self.valid.nonzero(as_tuple=True)
        return row, position

    @cached_property
    def block(self) -> Tensor:
        """Unit of each valid token, `[tokens]`."""
        return self.row_block[self.where[0]]

    @cached_property
    def document(self) -> Tensor:
        """Document of each valid token, `[tokens]`."""
        return self.row_document[self.where[0]]

    @cached_property
    def last(self) -> Tensor:
        """The last valid token of each document in the batch, as places among the valid tokens, `[documents]`.

        Rows of a document that spans several are all taken to end it; a text of one row has one.
        """
        ends = torch.ones(len(self.document), dtype=torch.bool, device=self.document.device)
        ends[:-1] = self.where[0].diff() != 0
        return ends.nonzero().view(-1)

    @cached_property
    def predicts(self) -> Tensor:
        """Positions that are valid and whose next token is valid too, `[rows, length]` bool."""
        last = torch.zeros_like(self.valid[:, :1])
        return self.valid & torch.cat([self.valid[:, 1:], last], dim=1)

    @cached_property
    def targets(self) -> Tensor:
        """The token to predict at each predicting position, `[predictions]`."""
        return self.tokens[:, 1:][self.predicts[:, :-1]]

    @cached_property
    def predicting(self) -> Tensor:
        """Which valid tokens predict a valid one, `[tokens]` bool."""
        return self.predicts[self.valid]


class Batcher:
    """Cuts a corpus into batches, longest rows first, so that memory is tried at its worst at once.

    The order of rows does not depend on the budget, so a position in it is a place to resume from.
    """

    def __init__(self, corpus: Corpus, device: torch.device) -> None:
        self.corpus = corpus
        self.device = device
        self.lengths = corpus.lengths
        self.order = np.argsort(-self.lengths, kind="stable")
        self._blocks = corpus.blocks

    def end(self, start: int, budget: int) -> int:
        """Where the batch that starts at `start` ends: as many rows as fit in `budget` tokens, at least one."""
        longest = int(self.lengths[self.order[start]])
        return min(start + max(1, budget // longest), len(self.order))

    def all(self, budget: int) -> Iterator[Batch]:
        """The batches of the whole corpus, in order."""
        start = 0
        while start < len(self.order):
            end = self.end(start, budget)
            yield self.batch(start, end)
            start = end

    def batch(self, start: int, end: int) -> Batch:
        """The batch of the rows from `start` to `end` in the pass's order."""
        return self.rows(self.order[start:end])

    def rows(self, rows: np.ndarray) -> Batch:
        """The batch of some rows of the corpus."""
        places = [slice(self.corpus.starts[row], self.corpus.starts[row + 1]) for row in rows]
        tokens = rectangle([self.corpus.tokens[place] for place in places])
        valid = rectangle([self.corpus.valid[place] for place in places])
        return Batch(
            rows=rows,
            tokens=tokens.long().to(self.device),
            valid=valid.to(self.device),
            row_block=torch.from_numpy(self._blocks[rows]).to(self.device),
            row_document=torch.from_numpy(self.corpus.documents[rows]).to(self.device),
        )


def rectangle(rows: Sequence[np.ndarray]) -> Tensor:
    """Rows of different lengths as one tensor, padded with zeros on the right, `[rows, longest]`."""
    filled = np.zeros((len(rows), max(map(len, rows))), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = row
    return torch.from_numpy(filled)


def frequencies(corpus: Corpus, vocabulary: int, device: torch.device) -> Tensor:
    """Share of the corpus' valid tokens that each id has, `[vocabulary]` float32."""
    counts = np.bincount(corpus.tokens[corpus.valid], minlength=vocabulary)
    return torch.from_numpy(counts / max(1, counts.sum())).float().to(device)
