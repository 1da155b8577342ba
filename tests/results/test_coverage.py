"""Intervals cover the truth, and the gate raises few false alarms: 2,000 simulated runs at once.

Each simulated run is a slice of one metric: its units are drawn anew, the bootstrap's weights are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from saebench.results import bootstrap, paired
from saebench.results.comparison import Held, Line
from saebench.results.contrast import Contrast, harm_of
from saebench.results.verdicts import hold, judge

RUNS, UNITS, DOCUMENTS, REPLICATES = 2000, 128, 6, 1000

Sample = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def share(estimate: Any, truth: float) -> float:
    """Share of the runs whose interval holds the truth."""
    assert len(estimate.value) == RUNS and np.isfinite(estimate.ci_low).all()
    return float(((estimate.ci_low <= truth) & (truth <= estimate.ci_high)).mean())


def quality(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens of each unit, and the sums of two SAEs that are equally good on average, `[units, runs]`.

    A unit is a block of whole documents, as in a corpus; how hard a document is, is the same for both SAEs.
    """
    shape = (DOCUMENTS, UNITS, RUNS)
    tokens = rng.integers(20, 300, shape).astype(float)
    hard = tokens * rng.standard_gamma(2, shape) / 2
    a, b = (hard * rng.standard_gamma(20, shape) / 20 for _ in range(2))
    return tokens.sum(0), a.sum(0), b.sum(0)


def test_a_mean_is_covered(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(0.3, 1.0, (UNITS, RUNS))
    assert 0.92 <= share(bootstrap(make.metrics["mean"], make.sums(x), replicates=REPLICATES), 0.3) <= 0.98


def test_a_ratio_is_covered(make: Any, rng: np.random.Generator) -> None:
    tokens, a, _ = quality(rng)
    assert 0.92 <= share(bootstrap(make.metrics["mean"], make.sums(a, tokens), replicates=REPLICATES), 1.0) <= 0.98


def test_a_paired_difference_is_covered(make: Any, rng: np.random.Generator) -> None:
    tokens, a, b = quality(rng)
    better = make.sums(b + 0.05 * tokens, tokens)
    found = paired(make.metrics["mean"], make.sums(a, tokens), better, replicates=REPLICATES)
    assert 0.92 <= share(found, 0.05) <= 0.98


@pytest.mark.parametrize("tail", ["student", "lognormal", "skewed"])
def test_a_paired_difference_of_single_items_with_heavy_tails_is_covered(
    make: Any, rng: np.random.Generator, tail: str
) -> None:
    """Units are items, most of which hardly differ and some by much."""
    shape = (UNITS, RUNS)
    drawn, truth = {
        "student": (rng.standard_t(3, shape), 0.0),
        "lognormal": (np.exp(1.5 * rng.normal(size=shape)) * rng.normal(size=shape), 0.0),
        "skewed": (np.exp(rng.normal(size=shape)), np.exp(0.5)),
    }[tail]
    a = rng.normal(size=shape)
    found = paired(make.metrics["mean"], make.sums(a), make.sums(a + drawn), replicates=REPLICATES)
    assert 0.92 <= share(found, float(truth)) <= 0.98
    excludes = (found.ci_low > 0) | (found.ci_high < 0)
    assert np.mean((found.p < 0.05) == excludes) > 0.99, "the p-value is of the same interval"


def test_an_interval_that_is_a_third_too_short_would_be_found_out(make: Any, rng: np.random.Generator) -> None:
    """The bounds above mean something: they refuse what they should."""
    found = bootstrap(make.metrics["mean"], make.sums(rng.normal(size=(UNITS, RUNS))), replicates=REPLICATES)
    middle, half = (found.ci_low + found.ci_high) / 2, (found.ci_high - found.ci_low) / 3
    short = replace(found, ci_low=middle - half, ci_high=middle + half)
    assert share(short, 0.0) < 0.92


def verdicts(make: Any, tokens: np.ndarray, a: np.ndarray, b: np.ndarray, better: str, lines: int) -> list[list[Held]]:
    """What a gate at tolerance 0 makes of each comparison of two SAEs, of so many lines each."""
    sides = make.sums(a, tokens), make.sums(b, tokens)
    harm = paired(make.metrics["mean"], *sides, replicates=REPLICATES, transform=harm_of(better))
    drawn = [
        Line("x", "y", "mean", str(i), better=better, a=1.0, b=1.0, contrast=Contrast(h, h, "paired"))
        for i, h in enumerate(harm.draws)
    ]
    chunks = [drawn[i : i + lines] for i in range(0, RUNS, lines)]
    return [[line.held for line in hold(judge(chunk), None)] for chunk in chunks]


@pytest.mark.parametrize(("better", "lines"), [("higher", 1), ("lower", 10)])
def test_the_gate_seldom_accuses_an_equal_sae(make: Any, rng: np.random.Generator, better: str, lines: int) -> None:
    """Alarms by comparison, whatever the number of its lines: Holm keeps the rate of the whole."""
    found = verdicts(make, *quality(rng), better, lines)
    assert len(found) == RUNS // lines and {outcome for held in found for outcome in held} >= {"cannot tell"}
    assert np.mean(["regression" in held for held in found]) <= 0.05


def test_the_gate_does_accuse_a_worse_sae(make: Any, rng: np.random.Generator) -> None:
    tokens, a, b = quality(rng)
    found = verdicts(make, tokens, a, b - 0.15 * tokens, "higher", 10)
    assert np.mean(["regression" in held for held in found]) > 0.9
