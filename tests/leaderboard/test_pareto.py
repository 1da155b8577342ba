"""Fronts, hypervolumes and matched scores against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from saebench.errors import UserError
from saebench.leaderboard import front, hypervolume, score_at
from saebench.leaderboard.pareto import cost, shared_middle

WAYS: list[Any] = ["higher", "lower", "one"]


def by_hand(x: np.ndarray, y: np.ndarray, better_x: Any, better_y: Any) -> set[int]:
    a, b = cost(x, better_x), cost(y, better_y)
    return {
        i for i in range(len(a))
        if not any(a[j] <= a[i] and b[j] <= b[i] and (a[j] < a[i] or b[j] < b[i]) for j in range(len(a)))
    }  # fmt: skip


@pytest.mark.parametrize("better_x", WAYS)
@pytest.mark.parametrize("better_y", WAYS)
def test_front_is_the_set_that_nothing_dominates(better_x: Any, better_y: Any) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 40):
        for _ in range(20):
            # Few values, so that there are ties and identical points.
            x, y = rng.integers(0, 6, size) / 2, rng.integers(0, 6, size) / 2
            found = front(x, y, better_x, better_y)
            assert set(found) == by_hand(x, y, better_x, better_y)
            assert len(set(found)) == len(found)
            assert (np.diff(cost(x, better_x)[found]) >= 0).all()


def test_front_leaves_out_missing_points() -> None:
    assert front([1, np.nan, 3, 0], [1, 9, 2, np.nan]).tolist() == [0, 2]
    assert front([], []).tolist() == []


def test_front_needs_directions() -> None:
    with pytest.raises(UserError, match="direction is 'none'"):
        front([1], [1], "none", "higher")


@pytest.mark.parametrize("better_x", ["higher", "lower"])
@pytest.mark.parametrize("better_y", ["higher", "lower"])
def test_hypervolume_by_counting_cells(better_x: Any, better_y: Any) -> None:
    """On integer points the area is the number of unit cells that some point dominates."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 10, 8), rng.integers(0, 10, 8)
        corner = (10 if better_x == "lower" else -1, 10 if better_y == "lower" else -1)
        a, b = cost(x, better_x), cost(y, better_y)
        edge_a, edge_b = float(cost(corner[0], better_x)), float(cost(corner[1], better_y))
        cells = [(i + 0.5, j + 0.5) for i in np.arange(a.min(), edge_a) for j in np.arange(b.min(), edge_b)]
        covered = sum(any(p <= i and q <= j for p, q in zip(a, b, strict=True)) for i, j in cells)
        assert hypervolume(x, y, corner, better_x, better_y) == pytest.approx(covered)


def test_hypervolume_by_monte_carlo_on_a_log_axis() -> None:
    rng = np.random.default_rng(2)
    x, y = 10 ** rng.uniform(0.5, 2, 12), rng.uniform(0.5, 1, 12)
    where = np.stack([rng.uniform(0, 2, 200_000), rng.uniform(0, 1, 200_000)])
    hit = ((np.log10(x)[:, None] <= where[0]) & (y[:, None] >= where[1])).any(axis=0)
    assert hypervolume(x, y, (100, 0), log_x=True) == pytest.approx(2 * hit.mean(), abs=0.01)


def test_hypervolume_by_hand() -> None:
    assert hypervolume([2, 4], [1, 3], (10, 0)) == 2 * 1 + 6 * 3
    assert hypervolume([2, 4], [1, 3], (10, 5)) == 0  # the reference is better than every point
    assert hypervolume([2, np.nan], [1, 3], (10, 0)) == 8
    with pytest.raises(UserError, match="positive x"):
        hypervolume([0, 4], [1, 3], (10, 0), log_x=True)
    with pytest.raises(UserError, match="best at one"):
        hypervolume([1, 4], [1, 3], (10, 0), "one", log_x=True)


def test_score_at_a_matched_l0() -> None:
    x, y = [10.0, 100.0], [0.8, 0.9]
    assert score_at(x, y, math.sqrt(1000))[0] == pytest.approx(0.85)
    assert score_at(x, y, 55, log_x=False)[0] == pytest.approx(0.85)
    value, stderr = score_at(x, y, math.sqrt(1000), [0.02, 0.04])
    assert stderr == pytest.approx(math.hypot(0.01, 0.02))
    assert score_at(x, y, 10, [0.02, 0.04]) == pytest.approx((0.8, 0.02))
    assert score_at(x, y, 100, [math.nan, 0.04]) == pytest.approx((0.9, 0.04))


def test_scores_are_not_extrapolated() -> None:
    for at in (9.9, 101, -1):
        assert math.isnan(score_at([10, 100], [0.8, 0.9], at)[0])
    assert math.isnan(score_at([], [], 5)[0])
    assert score_at([32], [0.5], 32, [0.1]) == (0.5, 0.1)


def test_equal_x_is_averaged() -> None:
    value, stderr = score_at([32, 32, 64], [0.5, 0.7, 0.9], 32, [0.1, 0.1, 0.1])
    assert value == pytest.approx(0.6)
    assert stderr == pytest.approx(0.1 / math.sqrt(2))


def test_monotone_rule_stays_between_its_neighbours() -> None:
    x, y = [5, 10, 20, 80], [0.2, 0.7, 0.72, 0.9]
    read = [score_at(x, y, at, method="monotone")[0] for at in np.geomspace(5, 80, 60)]
    assert (np.diff(read) >= 0).all()
    assert score_at(x, y, 20, method="monotone")[0] == pytest.approx(0.72)


def test_middle_of_the_shared_range() -> None:
    assert shared_middle([(5, 100), (10, 40), (8, 90)]) == 20
    assert shared_middle([(1, 2), (10, 40), (10, 90)]) == 20
    assert shared_middle([(3.01, 3.03)]) == pytest.approx(math.sqrt(3.01 * 3.03))  # 3.0 would be outside
    assert shared_middle([]) is None
