"""A corpus cut into short windows, each with chances that depend on its place in its document alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saebench.data.draws import uniforms

if TYPE_CHECKING:
    from saebench.data.corpus import Corpus
    from saebench.engine.batches import Batch

_MOST = 2**24
"""More windows than a document has; what tells those of one document from the next one's."""


@dataclass(frozen=True)
class Placed:
    """The windows of a batch, and where its valid tokens are in them.

    Attributes:
        windows: Number of each window in the corpus, `[windows]`.
        window: Which of them each valid token is in, `[tokens]` int32.
        place: Its place in the window, `[tokens]` int32.
    """

    windows: np.ndarray
    window: np.ndarray
    place: np.ndarray


class Windows:
    """Each row's valid tokens in as few equal runs as are no longer than `size`.

    Documents fall into two halves by a hash of their number: what is shown to an explainer comes from the
    first, what it is scored on from the second.

    Attributes:
        first: Number of each row's first window, `[rows + 1]`.
        document: Document of each window, `[windows]`.
        half: 0 or 1, `[windows]` int8.
        chance: A number in (0, 1) for each window, `[windows]`.
        other: Another, for draws that must not go together with those by `chance`.
        pool: Windows with the lowest chance of each half, `[2][at most pool]`.
        seat: Place of a window in the pool of its half, -1 outside, `[windows]` int32.
    """

    def __init__(self, corpus: Corpus, size: int, seed: int, pool: int) -> None:
        self.corpus, self.size = corpus, size
        self.tokens, some = np.zeros(corpus.rows, dtype=np.int64), corpus.lengths > 0
        self.tokens[some] = np.add.reduceat(corpus.valid, corpus.starts[:-1][some], dtype=np.int64)
        self.runs = -(-self.tokens // size)
        self.first = np.concatenate([[0], np.cumsum(self.runs)])
        self._row = np.repeat(np.arange(corpus.rows), self.runs)
        self.document = corpus.documents[self._row]
        start = np.searchsorted(self.document, self.document)
        name = self.document * _MOST + np.arange(len(self.document)) - start
        self.chance = uniforms(name, seed, "contexts")
        self.other = uniforms(name, seed, "contexts", "other")
        self.half = (uniforms(self.document, seed, "half") < 0.5).astype(np.int8)
        self.pool = [self._lowest(half, pool) for half in (0, 1)]
        self.seat = np.full(len(self.document), -1, dtype=np.int32)
        for drawn in self.pool:
            self.seat[drawn] = np.arange(len(drawn))
        self._batch: tuple[Batch, Placed] | None = None

    def __len__(self) -> int:
        return len(self.document)

    def of(self, batch: Batch) -> Placed:
        """The windows of a batch's valid tokens; remembered until the next batch."""
        if self._batch is None or self._batch[0] is not batch:
            self._batch = (batch, self._placed(batch))
        return self._batch[1]

    def ids(self, window: int) -> np.ndarray:
        """Token ids of a window."""
        row = self._row[window]
        where = slice(self.corpus.starts[row], self.corpus.starts[row + 1])
        start, end = (self._start(row, window - self.first[row] + more) for more in (0, 1))
        return self.corpus.tokens[where][self.corpus.valid[where]][start:end]

    def _start(self, row: np.ndarray | int, run: np.ndarray | int) -> np.ndarray:
        """Rank among the row's valid tokens of a run's first."""
        runs = np.maximum(self.runs[row], 1)
        return -(-(run * self.tokens[row]) // runs)

    def _lowest(self, half: int, count: int) -> np.ndarray:
        mine = np.flatnonzero(self.half == half)
        return np.sort(mine[np.argsort(self.chance[mine], kind="stable")[:count]])

    def _placed(self, batch: Batch) -> Placed:
        line = batch.where[0].cpu().numpy()
        counts = np.bincount(line, minlength=len(batch.rows))
        rank = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        row = batch.rows[line]
        run = rank * self.runs[row] // np.maximum(self.tokens[row], 1)
        runs = self.runs[batch.rows]
        before = np.cumsum(runs) - runs
        windows = np.repeat(self.first[batch.rows] - before, runs) + np.arange(runs.sum())
        place = rank - self._start(row, run)
        return Placed(windows, (before[line] + run).astype(np.int32), place.astype(np.int32))
