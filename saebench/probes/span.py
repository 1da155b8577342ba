"""Few texts and many features: the same probes, solved in the span of the texts.

An L2-penalised solution lies in the span of the (centred) train rows. With X X' = U S^2 U' (X = U S V') the problem
in u = V' w has the features U S and the same penalty |u|^2 = |w|^2, so that its optimum is the same probe. Every C
and iteration costs texts x texts instead of texts x features, and the columns of U S are orthogonal, which makes
conjugate gradients short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from saebench.probes.select import Table, shape_of
from saebench.probes.wide import Features

if TYPE_CHECKING:
    from saebench.probes.logistic import Probe

MOST_TEXTS = 800
"""More train texts than this are solved on the features themselves: the eigenvectors cost their cube."""
DENSE = 2**24
"""Largest table, in entries, that is made dense for its products."""
_RCOND = 1e-12
"""Directions with less than this share of the largest variance are left out: centred rows are dependent."""


class Span:
    """Train rows `[texts, features]` seen from their span; features are divided by 1 / scale first."""

    def __init__(self, train: Table, scale: float) -> None:
        self._train, self._scale = _plain(train), scale
        self._mean = np.asarray(self._train.mean(axis=0), dtype=np.float64).ravel()
        gram = torch.from_numpy(self._products(train))
        power, basis = torch.linalg.eigh(gram)
        kept = power > _RCOND * float(power[-1].clamp_min(1e-300))
        self._back = basis[:, kept] / power[kept].sqrt()
        self.features = Features(basis[:, kept] * power[kept].sqrt())

    @staticmethod
    def suits(train: Table) -> bool:
        """Whether this is the quicker way."""
        texts, features = shape_of(train)
        return 1 < texts <= MOST_TEXTS and texts < features

    def logits(self, probe: Probe, test: Table) -> np.ndarray:
        """Log-odds of other rows `[texts, features]` under one probe on `features`."""
        along = (self._back @ probe.coef.T).numpy()[:, 0]
        return self._products(test) @ along + float(probe.intercept)

    def _products(self, rows: Table) -> np.ndarray:
        """Inner products of centred rows with the centred train rows, `[rows, texts]` float64."""
        rows = _plain(rows)
        plain = rows @ self._train.T
        dense = np.asarray(plain.todense() if sparse.issparse(plain) else plain, dtype=np.float64)
        here, there = np.asarray(rows @ self._mean).ravel(), np.asarray(self._train @ self._mean).ravel()
        return self._scale**2 * (dense - here[:, None] - there[None, :] + self._mean @ self._mean)


def _plain(rows: Table) -> np.ndarray | sparse.csr_array:
    """Float64 rows, dense where they are few enough."""
    if isinstance(rows, sparse.csr_array):
        small = rows.shape[0] * rows.shape[1] <= DENSE
        return rows.astype(np.float64).toarray() if small else rows.astype(np.float64)
    return np.asarray(rows, dtype=np.float64)
