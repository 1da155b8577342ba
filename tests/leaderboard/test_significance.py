"""Pairwise tests, groups of equals, and paired tests from stored sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from saebench.leaderboard.pairs import Pairs
from saebench.leaderboard.rows import Score
from saebench.leaderboard.significance import best_group, differences, letters, p_value
from saebench.registry import get
from saebench.results import Row, paired


def score(value: float, stderr: float = math.nan, better: str = "higher", sae: str = "s") -> Score:
    return Score(sae=sae, metric="m", value=value, stderr=stderr, better=better)


def test_unpaired_is_the_normal_approximation() -> None:
    p = p_value(score(0.5, 0.03), score(0.6, 0.04))
    assert p == pytest.approx(2 * stats.norm.sf(0.1 / 0.05))
    assert p_value(score(0.5), score(0.6)) == 0
    assert p_value(score(0.5), score(0.5 + 1e-9)) == 1


def test_closeness_to_one_is_what_counts() -> None:
    assert p_value(score(0.9, 0.001, "one"), score(1.1, 0.001, "one")) == pytest.approx(1)
    assert p_value(score(0.9, 0.001, "one"), score(1.2, 0.001, "one")) < 1e-6


def test_holm_over_all_pairs() -> None:
    """Three pairs with p of 0.01, 0.02 and 0.5 (or so): only those below 0.05/3 and then 0.05/2 differ."""
    chosen = {("a", "b"): 0.01, ("a", "c"): 0.02, ("b", "c"): 0.5}
    three = [score(v, 1, sae=name) for v, name in ((1, "a"), (2, "b"), (3, "c"))]

    def pairing(one: Score, two: Score) -> float | None:
        return chosen[(one.sae, two.sae)]

    assert differences(three, 0.05, pairing) == {(0, 1), (0, 2)}
    chosen[("a", "b")] = 0.02
    assert differences(three, 0.05, pairing) == set()


@pytest.mark.parametrize(
    ("better", "best", "marks"), [("higher", {2, 3}, ["c", "b", "a", "a"]), ("lower", {0}, ["a", "b", "c", "c"])]
)
def test_best_group_and_letters(better: str, best: set[int], marks: list[str]) -> None:
    four = [score(v, 0.01, better) for v in (0.1, 0.5, 0.9, 0.91)]
    apart = differences(four)
    assert best_group(four, apart) == best
    assert letters(four, apart) == marks


def test_a_chain_has_overlapping_groups() -> None:
    chain = [score(v, 0.01) for v in (0.50, 0.53, 0.56)]
    assert letters(chain, differences(chain)) == ["b", "ab", "a"]
    assert best_group(chain, differences(chain)) == {1, 2}


def test_letters_are_shared_exactly_by_equals() -> None:
    rng = np.random.default_rng(0)
    many = [score(v, e) for v, e in zip(rng.uniform(0, 1, 25), rng.uniform(0.001, 0.1, 25), strict=True)]
    apart = differences(many)
    marks = letters(many, apart)
    for i in range(25):
        for j in range(i + 1, 25):
            assert bool(set(marks[i]) & set(marks[j])) == ((i, j) not in apart)


def test_one_score_or_none() -> None:
    assert best_group([], set()) == set() and letters([], set()) == []
    assert best_group([score(1)], set()) == {0} and letters([score(1)], set()) == ["a"]


def rows_with_sums(metric: str, sums: dict[str, dict[str, np.ndarray]], **more: Any) -> list[Row]:
    known = get(metric)
    made: list[Row] = []
    for sae, fields in sums.items():
        value = float(known.compute({name: array.sum(axis=0) for name, array in fields.items()}))
        made.append(Row(sae=sae, metric=metric, signature=f"{metric}|{sae}", version=known.version, value=value,
                        stderr=0.5, better=known.better, sums=fields, model="m", hook_out="h", **more))  # fmt: skip
    return made


def as_score(row: Row) -> Score:
    assert row.value is not None and row.stderr is not None
    return Score(sae=row.sae, metric=row.metric, value=row.value, stderr=row.stderr, better=row.better,
                 signature=row.signature, slice=row.slice, version=row.version)  # fmt: skip


def test_stored_sums_are_paired() -> None:
    """Units vary far more than the SAEs differ: only the paired test sees the difference."""
    rng = np.random.default_rng(3)
    base = rng.gamma(2, 400, 80)
    tokens = np.full(80, 100.0)
    a, b = rows_with_sums(
        "l0", {"a": {"fires": base, "tokens": tokens}, "b": {"fires": base + rng.normal(30, 5, 80), "tokens": tokens}}
    )
    one, two = as_score(a), as_score(b)
    assert p_value(one, two) > 0.1
    assert p_value(one, two, Pairs([a, b])) < 1e-6
    assert a.sums is not None and b.sums is not None
    assert Pairs([a, b])(one, two) == pytest.approx(paired(get("l0"), a.sums, b.sums).p, rel=0.3)


def test_rows_that_cannot_be_paired() -> None:
    rng = np.random.default_rng(3)
    sums = {name: {"fires": rng.gamma(2, 400, 20), "tokens": np.full(20, 100.0)} for name in "ab"}
    a, b = rows_with_sums("l0", sums)
    assert Pairs([a, b])(as_score(a), as_score(b)) is not None
    assert Pairs([a.without_sums(), b])(as_score(a), as_score(b)) is None
    assert Pairs([a])(as_score(a), as_score(b)) is None
    (other,) = rows_with_sums("l0", {"b": sums["b"]}, context=64)
    assert Pairs([a, other])(as_score(a), as_score(other)) is None
