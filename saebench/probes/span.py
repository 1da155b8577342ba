"""Train rows as inner products, and the probes of them taken back to the features of other rows."""

from __future__ import annotations

from typing import cast

import numpy as np

from saebench.probes.newton import Dual, Few, Kernel, Products
from saebench.probes.select import Table, shape_of

MOST = 1500
"""Largest system, in texts or in features that occur, that is factored: it costs the cube."""
SHARED = 2500
"""Most train rows of a task whose inner products are made once for all its problems."""
BLOCK = 2**21
"""Entries of a sparse table that are made dense at a time."""


class Rows:
    """The rows of a task, of which its problems take some; what they share is made once.

    Args:
        x: Features, `[rows, features]`.
        train: Those of the rows that some problem is fitted on, ascending.
    """

    def __init__(self, x: Table, train: np.ndarray) -> None:
        self.x: Table = x if x.dtype == np.float64 else cast("Table", x.astype(np.float64))
        self._train = train
        self.used = _occurring(self.x)
        self._gram: np.ndarray | None = None

    def suits(self, texts: int) -> str:
        """The quicker way for so many of the rows: "kernel" (few texts), "few" (few features), or "" (neither)."""
        if 0 < 2 * len(self.used) <= texts and len(self.used) <= MOST:
            return "few"
        return "kernel" if texts <= MOST else ""

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """Inner products of some of the train rows, `[rows, rows]` float64."""
        if len(self._train) > SHARED:
            return _gram(self.x[rows])
        if self._gram is None:
            self._gram = _gram(self.x[self._train])
        at = np.searchsorted(self._train, rows)
        return self._gram[np.ix_(at, at)]

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """The features that occur, `[rows, used]`."""
        part = self.x[rows][:, self.used]
        return part if isinstance(part, np.ndarray) else part.toarray()


class Span:
    """A problem's train rows, centred and divided by the root of their total variance.

    Attributes:
        products: Their inner products, in the order given.
    """

    def __init__(self, task: Rows, rows: np.ndarray) -> None:
        self._task, self._rows = task, rows
        self._mean = np.asarray(task.x[rows].mean(axis=0)).ravel()
        make = _few if task.suits(len(rows)) == "few" else _kernel
        self.products, self._power = make(task, rows)

    def logits(self, probe: Dual, rows: np.ndarray) -> np.ndarray:
        """Log-odds of other rows of the task."""
        weight = self._power * (self._task.x[self._rows].T @ probe.a - self._mean * probe.a.sum())
        return self._task.x[rows] @ weight - float(self._mean @ weight) + probe.intercept


def _kernel(task: Rows, rows: np.ndarray) -> tuple[Products, float]:
    """Inner products of the centred rows over the total variance, and one over that variance."""
    plain = task.gram(rows)
    square = float(plain.trace()) / len(plain)
    across = plain.mean(axis=0)
    plain -= across
    plain -= (across - across.mean())[:, None]
    power = _power(float(plain.trace()) / len(plain), square)
    plain *= power
    return Kernel.of(plain), power


def _few(task: Rows, rows: np.ndarray) -> tuple[Products, float]:
    """Centred rows of the features that occur, over the root of the total variance, and one over that variance."""
    plain = task.dense(rows)
    square = float(np.square(plain).sum()) / len(plain)
    plain = plain - plain.mean(axis=0)
    power = _power(float(np.square(plain).sum()) / len(plain), square)
    plain *= np.sqrt(power)
    return Few(plain), power


def _power(variance: float, square: float) -> float:
    """One over the variance; one where the rows are all the same."""
    return 1 / variance if variance > 1e-12 * square else 1.0


def _occurring(x: Table) -> np.ndarray:
    """Features that are not zero everywhere."""
    if isinstance(x, np.ndarray):
        return np.flatnonzero(x.any(axis=0))
    return np.flatnonzero(np.bincount(x.indices, minlength=shape_of(x)[1]))


def _gram(x: Table) -> np.ndarray:
    """Inner products of rows, `[rows, rows]` float64."""
    if isinstance(x, np.ndarray):
        return x @ x.T
    by_column = x.tocsc()
    used = _occurring(x)
    gram = np.zeros((shape_of(x)[0],) * 2)
    width = max(1, BLOCK // max(1, len(gram)))
    for start in range(0, len(used), width):
        block = by_column[:, used[start : start + width]].toarray()
        gram += block @ block.T
    return gram
