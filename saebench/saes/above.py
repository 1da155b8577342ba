"""One pass over pre-activations that keeps what is above a bar, compiled. Imported only where a batch is large."""

from __future__ import annotations

import numpy as np

from saebench.compiled import compiled

FEW = 32
"""One of how many entries of a row must be kept for its next to be looked at entry by entry."""


@compiled
def above(
    values: np.ndarray, bar: np.ndarray, offsets: np.ndarray, latents: np.ndarray, kept: np.ndarray
) -> int:  # fmt: skip
    """Write down the entries above their column's bar; returns how many there are.

    Entries are written before it is known whether they stay, so that nothing waits for a comparison.

    Args:
        values: `[n, F / run, run]` float32, in runs of entries that are looked at together.
        bar: `[F / run, run]` float32.
        offsets: `[n + 1]`, filled with where each row begins.
        latents: Room for `n F + 1` columns.
        kept: Room for as many values.
    """
    n, runs, run = values.shape
    count, before = 0, 0
    for i in range(n):
        offsets[i] = count
        few = before * FEW <= runs * run
        for r in range(runs):
            if few:
                hits = 0
                for j in range(run):
                    hits += values[i, r, j] > bar[r, j]
                if hits == 0:
                    continue
            for j in range(run):
                latents[count] = r * run + j
                kept[count] = values[i, r, j]
                count += values[i, r, j] > bar[r, j]
        before = count - offsets[i]
    offsets[n] = count
    return count
