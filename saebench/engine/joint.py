"""Labelled data under two names that hold the same texts: one pass over each distinct text serves both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.data.corpus import item_corpus
from saebench.data.datasets import Dataset
from saebench.engine.pooling import Means, Pool
from saebench.engine.stream import Task

if TYPE_CHECKING:
    from saebench.engine.rows import Cell
    from saebench.saes import Codes

TOGETHER = ("probing", "last_token")
"""Data names whose metrics ask for pooled codes of labelled texts alone."""


@dataclass(frozen=True)
class Joint:
    """Several datasets as one, each distinct row of tokens once.

    Attributes:
        whole: The distinct rows; the dataset itself where there is but one.
        parts: The datasets by name.
        rows: Where each item of a dataset is among the distinct rows, by name.
    """

    whole: Dataset
    parts: Mapping[str, Dataset]
    rows: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> Joint:
        """The datasets of the cells of one pass."""
        parts = {cell.data.name: cell.data for cell in cells if cell.data is not None}
        first = next(iter(parts.values()))
        if len(parts) == 1:
            return cls(first, parts, {})
        number: dict[bytes, int] = {}
        rows: list[np.ndarray] = []
        places = {}
        for name, data in parts.items():
            places[name] = np.zeros(data.corpus.rows, dtype=np.int64)
            for i in range(data.corpus.rows):
                row = data.corpus.row(i)
                places[name][i] = number.setdefault(row.tobytes(), len(rows))
                rows += [row] * (len(number) > len(rows))
        source = " and ".join(dict.fromkeys(data.corpus.source for data in parts.values()))
        corpus = item_corpus("+".join(parts), rows, first.corpus.special, source=source)
        return cls(Dataset("+".join(parts), corpus), parts, places)

    @property
    def shared(self) -> int:
        """Rows that need not run because another dataset has them."""
        return sum(data.corpus.rows for data in self.parts.values()) - self.whole.corpus.rows

    def task(self, task: Task, name: str, pooled: Mapping[str, Codes]) -> Task:
        """What a pass over all of it left for the metrics of one dataset.

        Args:
            task: The SAE's task in the pass.
            name: The dataset.
            pooled: Pooled codes of all distinct rows, by pooling.
        """
        if not self.rows:
            return task
        chosen = [i for i, metric in enumerate(task.metrics) if metric.data == name]
        part = Task(task.sae, [task.metrics[i] for i in chosen], pairs=task.pairs, failure=task.failure)
        part.tallies = [task.tallies[i] for i in chosen]
        rows = torch.from_numpy(self.rows[name])
        part.collectors = {how: _Pooled(how, codes[rows]) for how, codes in pooled.items()}
        return part

    def means(self, name: str, means: Mapping[str, Sequence[Means]]) -> Mapping[str, Sequence[Means]]:
        """The pooled activations of one dataset, by hook."""
        if not self.rows:
            return means
        return {hook: [part.of(self.rows[name]) for part in parts] for hook, parts in means.items()}


def together(grouped: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """The passes, with those that share texts made one."""
    names = [name for name in TOGETHER if name in grouped]
    cells = [cell for name in names for cell in grouped[name]]
    if len(names) < 2 or not Joint.of(cells).shared:
        return grouped
    made: dict[str, list[Cell]] = {}
    for name, own in grouped.items():
        made.setdefault("+".join(names) if name in names else name, []).extend(own)
    return made


class _Pooled(Pool):
    """Codes that were pooled already."""

    def __init__(self, how: str, codes: Codes) -> None:
        super().__init__(how, np.zeros(0), codes.width)
        self._codes = codes

    def pooled(self) -> Codes:
        return self._codes
