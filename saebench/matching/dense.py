"""Matching of small dictionaries through the matrix of all pairs, by scipy; the oracle of the sparse way."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from saebench.matching.dictionary import Dictionary
from saebench.matching.exact import Solved


def solve_dense(a: Dictionary, b: Dictionary, *, signed: bool) -> Solved:
    """Match every row of the smaller dictionary with scipy's exact solver (Crouse 2016), in double precision.

    Args:
        a: n rows.
        b: m rows, m >= n.
        signed: Similarity is the cosine; else its absolute value.
    """
    similarity = (a.unit(torch.float64) @ b.unit(torch.float64).T).cpu().numpy()
    if not signed:
        np.abs(similarity, out=similarity)
    row, partner = linear_sum_assignment(similarity, maximize=True)
    owner = np.full(len(b), -1, dtype=np.int64)
    owner[partner] = row
    nearest = (similarity.max(1), similarity.max(0))
    bound = float(similarity[row, partner].sum())
    similarity[row, partner] = -np.inf
    second = (similarity.max(1), similarity.max(0))
    second = tuple(np.where(np.isfinite(part), part, np.nan) for part in second)
    return Solved(partner.astype(np.int64), bound, nearest, (second[0], second[1]), 0, 0)
