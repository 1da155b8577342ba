"""Pairs of dictionaries that are easy or hard to match, small enough for scipy's dense solver."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def aligned(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """Random directions; half of A's are in B too, moved a little."""
    a, b = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    half = min(n, m) // 2
    b[:half] = a[:half] + rng.uniform(0, 0.8, (half, 1)) * rng.standard_normal((half, d))
    return a, b


def isotropic(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """Random directions; half of A's are in B too, moved a little, some turned round."""
    a, b = aligned(n, m, d, rng)
    half = min(n, m) // 2
    b[:half] *= np.where(rng.random((half, 1)) < 0.2, -1, 1)
    return a, b


def clustered(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """Clusters of different sizes in A and B, so that rows must spill over."""
    centres = rng.standard_normal((max(1, min(n, m) // 12), d))

    def drawn(size: int) -> np.ndarray:
        shares = rng.dirichlet(np.ones(len(centres)))
        return centres[rng.choice(len(centres), size, p=shares)] + 0.4 * rng.standard_normal((size, d))

    return drawn(n), drawn(m)


def correlated(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """A common offset and a steep spectrum: some rows are near to everything."""
    scale = np.arange(1, d + 1) ** -0.7
    offset = rng.standard_normal(d) * scale
    return rng.standard_normal((n, d)) * scale + offset, rng.standard_normal((m, d)) * scale + offset


def near_ties(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """Few directions, each many times, apart by 1e-7 or so."""
    few = rng.standard_normal((max(2, min(n, m) // 8), d))
    a = few[rng.integers(0, len(few), n)] + 1e-7 * rng.standard_normal((n, d))
    return a, few[rng.integers(0, len(few), m)] + 1e-7 * rng.standard_normal((m, d))


def exact_ties(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """Corners of a cube and axes: cosines take a handful of values."""
    return rng.integers(-1, 2, (n, d)).astype(float), rng.integers(-1, 2, (m, d)).astype(float)


def duplicates(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """A fifth of the rows on each side repeat others."""
    a, b = isotropic(n, m, d, rng)
    a[rng.integers(0, n, n // 5)] = a[rng.integers(0, n, n // 5)]
    b[rng.integers(0, m, m // 5)] = b[rng.integers(0, m, m // 5)]
    return a, b


def zero_rows(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """A quarter of the rows on each side are zero."""
    a, b = clustered(n, m, d, rng)
    a[rng.random(n) < 0.25], b[rng.random(m) < 0.25] = 0, 0
    return a, b


def anti_aligned(n: int, m: int, d: int, rng: np.random.Generator) -> Pair:
    """B is mostly A turned round."""
    a, b = isotropic(n, m, d, rng)
    least = min(n, m)
    b[:least] = -a[:least] + 0.1 * rng.standard_normal((least, d))
    return a, b


KINDS: dict[str, Callable[[int, int, int, np.random.Generator], Pair]] = {
    f.__name__: f
    for f in (
        aligned, isotropic, clustered, correlated, near_ties, exact_ties, duplicates, zero_rows, anti_aligned,
    )
}  # fmt: skip


def instance(kind: str, n: int, m: int, d: int, seed: int) -> Pair:
    """A pair of a kind, its rows scaled and in random order."""
    rng = np.random.default_rng([seed, n, m, d, *kind.encode()])
    a, b = KINDS[kind](n, m, d, rng)
    a, b = (x * rng.uniform(0.1, 10, (len(x), 1)) for x in (a, b))
    return a[rng.permutation(n)], b[rng.permutation(m)]


def optimum(a: np.ndarray, b: np.ndarray, *, signed: bool) -> float:
    """The best mean cosine of a one-to-one matching, by scipy on the matrix of all pairs."""
    from scipy.optimize import linear_sum_assignment

    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (a, b))
    similarity = a @ b.T if signed else np.abs(a @ b.T)
    row, column = linear_sum_assignment(similarity, maximize=True)
    return float(similarity[row, column].mean())
