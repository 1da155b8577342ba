"""Validity: does a metric put SAEs whose order is known into that order?"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

EXACT = 7
"""Most SAEs of one order whose permutations are all gone through; of more, `DRAWN` are drawn."""
DRAWN = 20_000

Order = tuple[int, ...]


class Validity(NamedTuple):
    """How well a column agrees with known orders.

    Attributes:
        tau: Pairs of SAEs of known order that the metric puts right less those it puts wrong, over all of them:
            Kendall's tau with the ties of the known order left out; a tie of the metric counts as neither.
        p: Two-sided permutation p-value of `tau`, the SAEs of each order permuted among themselves and the orders
            taken as independent.
        n: SAEs of known order.
        by_order: `tau` of each named order alone.
    """

    tau: float
    p: float
    n: int
    by_order: dict[str, float]


def validity(goodness: Mapping[str, float], places: Mapping[str, Mapping[str, int]]) -> Validity | None:
    """The agreement of a metric with the known orders of its SAEs, or None where no pair of known order was scored.

    Args:
        goodness: Value of each SAE, turned so that a larger one is better.
        places: Place of each SAE (0 the best) by order. SAEs are compared within an order only; `NAME/PART` is one
            part of the order NAME, as SAEs of different architectures stand in none.
    """
    members: dict[str, list[str]] = {}
    for sae in goodness:
        for order in places.get(sae, {}):
            members.setdefault(order, []).append(sae)
    scores: dict[str, list[int]] = {}
    chances = {0: 1.0}
    known: set[str] = set()
    for order, saes in members.items():
        ranks = _dense([-places[sae][order] for sae in saes])
        seen = _dense([goodness[sae] for sae in saes])
        pairs = _pairs(ranks)
        if not pairs:
            continue
        known |= set(saes)
        total = scores.setdefault(order.partition("/")[0], [0, 0])
        total[0] += _score(ranks, seen)
        total[1] += pairs
        chances = _convolved(chances, _by_chance(ranks, seen))
    if not scores:
        return None
    score, pairs = (sum(part) for part in zip(*scores.values(), strict=True))
    p = sum(chance for value, chance in chances.items() if abs(value) >= abs(score))
    by_order = {name: right / of for name, (right, of) in scores.items()}
    return Validity(score / pairs, min(p, 1.0), len(known), by_order)


def _dense(values: Sequence[float]) -> Order:
    """Ranks from 0 without gaps; equal values have equal ranks."""
    place = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return tuple(place[value] for value in values)


def _signs(ranks: np.ndarray) -> np.ndarray:
    """Sign of the difference of each pair, `[..., pairs]`."""
    first, second = np.triu_indices(ranks.shape[-1], 1)
    return np.sign(ranks[..., first] - ranks[..., second])


def _pairs(ranks: Order) -> int:
    return int(np.abs(_signs(np.array(ranks))).sum())


def _score(ranks: Order, seen: Order) -> int:
    return int((_signs(np.array(ranks)) * _signs(np.array(seen))).sum())


@functools.lru_cache(maxsize=4096)
def _by_chance(ranks: Order, seen: Order) -> dict[int, float]:
    """Probability of each score when the SAEs of an order are permuted."""
    n = len(ranks)
    if n <= EXACT:
        permuted = np.array(list(itertools.permutations(seen)))
    else:
        permuted = np.random.Generator(np.random.PCG64(n)).permuted(np.tile(seen, (DRAWN, 1)), axis=1)
    scores, counts = np.unique(_signs(permuted) @ _signs(np.array(ranks)), return_counts=True)
    return dict(zip(map(int, scores), (counts / counts.sum()).tolist(), strict=True))


def _convolved(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Distribution of the sum of two independent scores."""
    found: dict[int, float] = {}
    for (x, p), (y, q) in itertools.product(a.items(), b.items()):
        found[x + y] = found.get(x + y, 0.0) + p * q
    return found
