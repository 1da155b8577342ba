"""Bootstrap, paired test and Holm against scipy, formulas and simulation."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from saebench.errors import UserError
from saebench.metric import Metric
from saebench.results import Estimate, add_sums, bootstrap, fold_sums, holm, join_sums, paired, split_sums
from saebench.results.intervals import Resampled, _narrow, _widen, two_sided
from saebench.results.resample import _weights, draw, resampled

UNITS = 128


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def close(a: Estimate, b: Estimate) -> bool:
    """Whether two estimates agree up to the order of summation."""
    return a.n == b.n and astuple(a)[:4] == pytest.approx(astuple(b)[:4], rel=1e-9)


def ratio(axis_x: Any, axis_n: Any, axis: int = -1) -> Any:
    return axis_x.sum(axis) / axis_n.sum(axis)


# -- one estimate ---------------------------------------------------------------------------------


def test_mean_has_the_textbook_standard_error(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(3, 2, UNITS)
    estimate = bootstrap(make.metrics["mean"], make.sums(x))
    assert estimate.value == pytest.approx(x.mean())
    assert estimate.stderr == pytest.approx(x.std() / UNITS**0.5, rel=0.05)
    half = scipy.stats.t.ppf(0.975, UNITS - 1) * x.std(ddof=1) / UNITS**0.5
    assert estimate.ci_low == pytest.approx(x.mean() - half, abs=0.15 * half)
    assert estimate.ci_high == pytest.approx(x.mean() + half, abs=0.15 * half)
    assert estimate.n == UNITS


def test_ratio_has_the_linearised_standard_error(make: Any, rng: np.random.Generator) -> None:
    tokens = rng.integers(20, 300, UNITS).astype(float)
    x = tokens * rng.gamma(2, 0.5, UNITS)
    estimate = bootstrap(make.metrics["mean"], make.sums(x, tokens))
    residuals = x - estimate.value * tokens
    assert estimate.stderr == pytest.approx((residuals**2).sum() ** 0.5 / tokens.sum(), rel=0.06)


def test_agrees_with_scipy_on_a_skewed_ratio(make: Any, rng: np.random.Generator) -> None:
    n = 400  # so many units that the widening for few units is nothing
    x, tokens = rng.lognormal(0, 1, n), rng.integers(1, 50, n).astype(float)
    estimate = bootstrap(make.metrics["mean"], make.sums(x, tokens), replicates=10_000)
    oracle = scipy.stats.bootstrap((x, tokens), ratio, paired=True, n_resamples=10_000, method="BCa", rng=1)
    assert estimate.stderr == pytest.approx(oracle.standard_error, rel=0.03)
    low, high = oracle.confidence_interval
    assert [estimate.ci_low, estimate.ci_high] == pytest.approx([low, high], abs=0.08 * estimate.stderr)


def test_slices_are_the_scalar_metric_of_each(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3))
    m = make.metrics["mean"]
    together = bootstrap(m, make.sums(x), seed=5)
    for i in range(3):
        assert close(together.at(i), bootstrap(m, make.sums(x[:, i]), seed=5).at())
    assert together.value.shape == (3,)
    assert together.columns(1)["value"] == pytest.approx(x[:, 1].mean())


def test_wide_fields_keep_their_axes(rng: np.random.Generator, make: Any) -> None:
    """A value function may reduce over a field that is a vector for each unit."""
    m = make.metrics["mean"]
    wide = type("Wide", (), {"units": "documents", "bounds": (None, None), "name": "wide"})()
    wide.compute = lambda s: (s["v"] ** 2).sum(-1) / s["n"]
    v = rng.normal(size=(30, 4))
    estimate = bootstrap(wide, {"v": v, "n": np.ones(30)})
    assert estimate.value == pytest.approx((v.sum(0) ** 2).sum() / 30)
    assert estimate.stderr > 0 and isinstance(m, Metric)


def test_the_seed_alone_decides(make: Any, rng: np.random.Generator) -> None:
    sums = make.sums(rng.normal(size=50))
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    first = bootstrap(make.metrics["mean"], sums, seed=1)
    assert first == bootstrap(make.metrics["mean"], sums, seed=1)
    assert first != bootstrap(make.metrics["mean"], sums, seed=2)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


def test_weights_do_not_depend_on_the_chunk() -> None:
    whole = np.concatenate(list(_weights(37, 101, 3, "units", 101)))
    parts = np.concatenate(list(_weights(37, 101, 3, "units", 7)))
    assert (whole == parts).all() and (whole.sum(1) == 37).all()
    assert whole.mean() == pytest.approx(1) and whole.var() == pytest.approx(36 / 37, rel=0.1)


# -- where there is no interval -------------------------------------------------------------------


def test_undefined_is_none_with_a_reason(make: Any) -> None:
    estimate = bootstrap(make.metrics["mean"], make.sums(np.zeros(8), 0.0))
    columns = estimate.columns()
    assert columns["value"] is None and columns["stderr"] is None and columns["ci_low"] is None
    assert columns["reason"].startswith("undefined")


def test_one_undefined_slice_leaves_the_others(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 2))
    estimate = bootstrap(make.metrics["mean"], make.sums(x, np.array([1.0, 0.0])))
    assert estimate.columns(0)["stderr"] is not None and estimate.columns(0)["reason"] == ""
    assert estimate.columns(1)["value"] is None and estimate.columns(1)["reason"]


def test_a_value_that_vanishes_in_many_resamples_has_no_interval(make: Any) -> None:
    tokens = np.zeros((30, 2))
    tokens[:, 0], tokens[0, 1] = 1, 1  # the second slice lives in one unit of 30
    columns = bootstrap(make.metrics["mean"], make.sums(tokens * 2, tokens)).columns(1)
    assert columns["value"] == 2 and columns["stderr"] is None
    assert "undefined in" in columns["reason"]


@pytest.mark.parametrize("units", [0, 1])
def test_fewer_than_two_units_have_no_interval(make: Any, units: int) -> None:
    columns = bootstrap(make.metrics["mean"], make.sums(np.ones(units))).columns()
    assert columns["stderr"] is None and columns["ci_high"] is None and columns["reason"]
    assert columns["value"] == (1 if units else None)


def test_weights_metrics_have_a_value_alone(make: Any) -> None:
    columns = bootstrap(make.metrics["shape"], make.sums(np.arange(5.0))).columns()
    assert columns == {"value": 2.0, "stderr": None, "ci_low": None, "ci_high": None, "n": 5, "reason": ""}


def test_empty_blocks_change_nothing(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=20)
    padded = make.sums(np.concatenate([x, np.zeros(108)]), np.concatenate([np.ones(20), np.zeros(108)]))
    assert close(bootstrap(make.metrics["mean"], padded), bootstrap(make.metrics["mean"], make.sums(x)))


def test_a_constant_has_an_interval_of_no_width(make: Any) -> None:
    estimate = bootstrap(make.metrics["mean"], make.sums(np.full(16, 0.1)))
    assert estimate.stderr == pytest.approx(0, abs=1e-15)
    assert (estimate.ci_low, estimate.ci_high) == (estimate.value, estimate.value)


def test_intervals_stay_within_the_bounds(make: Any) -> None:
    x = np.zeros(30)
    x[0] = 1
    estimate = bootstrap(make.metrics["dead"], make.sums(x))
    assert 0 <= estimate.ci_low <= estimate.value <= estimate.ci_high <= 1


# -- two estimates --------------------------------------------------------------------------------


def test_paired_agrees_with_scipy(make: Any, rng: np.random.Generator) -> None:
    n = 400
    tokens = rng.integers(5, 50, n).astype(float)
    a = tokens * rng.gamma(2, 1, n)
    b = a * 1.02 + rng.normal(0, 1, n)
    found = paired(make.metrics["mean"], make.sums(a, tokens), make.sums(b, tokens), replicates=10_000)

    def difference(a: Any, b: Any, n: Any, axis: int = -1) -> Any:
        return ratio(b, n, axis) - ratio(a, n, axis)

    oracle = scipy.stats.bootstrap((a, b, tokens), difference, paired=True, n_resamples=10_000, rng=1)
    assert found.stderr == pytest.approx(oracle.standard_error, rel=0.03)
    low, high = oracle.confidence_interval
    assert [found.ci_low, found.ci_high] == pytest.approx([low, high], abs=0.08 * found.stderr)


def test_paired_sees_what_unpaired_cannot(make: Any, rng: np.random.Generator) -> None:
    a = rng.normal(10, 5, UNITS)
    b = a * 1.01
    m = make.metrics["mean"]
    found = paired(m, make.sums(a), make.sums(b))
    assert found.value == pytest.approx(0.01 * a.mean()) and found.p < 1e-6
    assert bootstrap(m, make.sums(a)).stderr > 50 * found.stderr


def test_p_is_that_of_the_t_test(make: Any, rng: np.random.Generator) -> None:
    for shift in (0.0, 0.1, 0.2, 0.3, 0.6):
        d = rng.normal(shift, 1, UNITS)
        found = paired(make.metrics["mean"], make.sums(np.zeros(UNITS)), make.sums(d), replicates=8000)
        t = scipy.stats.ttest_1samp(d, 0).pvalue
        assert two_sided(found.score()) == found.p
        assert np.log(found.p) == pytest.approx(np.log(t), rel=0.12, abs=0.1)


def test_p_and_interval_agree(make: Any, rng: np.random.Generator) -> None:
    for _ in range(60):
        d = rng.gamma(1, 1, 40) - 0.7
        found = paired(make.metrics["mean"], make.sums(np.zeros(40)), make.sums(d))
        outside = not found.ci_low <= 0 <= found.ci_high
        assert (found.p < 0.05) == outside or found.p == pytest.approx(0.05, abs=0.004)


def test_identical_sides_differ_by_nothing(make: Any, rng: np.random.Generator) -> None:
    sums = make.sums(rng.normal(size=30))
    found = paired(make.metrics["mean"], sums, sums)
    assert (found.value, found.stderr, found.ci_low, found.ci_high, found.p) == (0, 0, 0, 0, 1)


def test_a_shift_without_noise_is_certain(make: Any) -> None:
    x = np.arange(30.0)
    found = paired(make.metrics["mean"], make.sums(x), make.sums(x + 1))
    assert found.value == pytest.approx(1) and found.p == 0


def test_units_must_agree(make: Any) -> None:
    with pytest.raises(UserError, match="different units"):
        paired(make.metrics["mean"], make.sums(np.ones(3)), make.sums(np.ones(4)))
    with pytest.raises(UserError, match="different sums"):
        paired(make.metrics["mean"], {"x": np.ones(3)}, make.sums(np.ones(3)))


def test_latents_are_not_paired(make: Any, rng: np.random.Generator) -> None:
    a, b = (rng.random(n) < 0.3 for n in (400, 900))
    found = paired(make.metrics["dead"], make.sums(a), make.sums(b))
    variance = a.mean() * (1 - a.mean()) / 400 + b.mean() * (1 - b.mean()) / 900
    assert found.stderr == pytest.approx(variance**0.5, rel=0.06)
    same = paired(make.metrics["dead"], make.sums(a), make.sums(a))
    assert same.value == 0 and same.stderr > 0


def test_the_distance_to_one_is_compared(make: Any, rng: np.random.Generator) -> None:
    a, b = rng.normal(0.8, 0.1, UNITS), rng.normal(1.1, 0.1, UNITS)
    found = paired(make.metrics["bias"], make.sums(a), make.sums(b), transform=lambda x: np.abs(x - 1))
    assert found.value == pytest.approx(abs(b.mean() - 1) - abs(a.mean() - 1)) and found.p < 0.001


def test_difference_of_an_undefined_side_is_undefined(make: Any) -> None:
    found = paired(make.metrics["mean"], make.sums(np.ones(5)), make.sums(np.ones(5), 0.0))
    assert np.isnan(found.value) and np.isnan(found.p) and np.isnan(found.score())


# -- coverage -------------------------------------------------------------------------------------


def coverage(m: Metric, make: Any, sample: Any, truth: float, trials: int = 500) -> tuple[float, float]:
    """Share of trials whose interval holds the truth: ours, and the plain percentile interval's."""
    generator = np.random.default_rng(11)
    ours = plain = 0
    for trial in range(trials):
        number = resampled(draw(m, make.sums(*sample(generator)), replicates=1000, seed=trial), 0)
        assert isinstance(number, Resampled)
        low, high = number.interval()
        ours += low <= truth <= high
        low, high = np.quantile(number.replicates, [0.025, 0.975])
        plain += low <= truth <= high
    return ours / trials, plain / trials


def normal(g: np.random.Generator) -> tuple[np.ndarray, float]:
    return g.normal(size=UNITS), 1.0


def skewed_ratio(g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    tokens = g.integers(20, 300, UNITS).astype(float)
    return tokens * g.gamma(2, 0.5, UNITS), tokens


def few(g: np.random.Generator) -> tuple[np.ndarray, float]:
    return g.normal(size=8), 1.0


def rare(g: np.random.Generator) -> tuple[np.ndarray, float]:
    return (g.random(250) < 0.05).astype(float), 1.0


@pytest.mark.parametrize(("sample", "truth"), [(normal, 0.0), (skewed_ratio, 1.0), (rare, 0.05)])
def test_intervals_cover(make: Any, sample: Any, truth: float) -> None:
    ours, _ = coverage(make.metrics["mean"], make, sample, truth)
    assert 0.92 <= ours <= 0.98


def test_few_units_are_covered_better_than_by_percentiles(make: Any) -> None:
    ours, plain = coverage(make.metrics["mean"], make, few, 0.0)
    assert ours > plain + 0.03 and ours > 0.90


def test_paired_differences_cover(make: Any) -> None:
    generator = np.random.default_rng(3)
    m, hit, significant = make.metrics["mean"], 0, 0
    for trial in range(500):
        tokens = generator.integers(20, 300, UNITS).astype(float)
        a = tokens * generator.gamma(2, 0.5, UNITS)
        b = a + tokens * (0.05 + 0.1 * generator.standard_gamma(1, UNITS) - 0.1)
        found = paired(m, make.sums(a, tokens), make.sums(b, tokens), replicates=1000, seed=trial)
        hit += found.ci_low <= 0.05 <= found.ci_high
        significant += two_sided(found.draws[0].score(0.05)) < 0.05
    assert 0.92 <= hit / 500 <= 0.98
    assert 0.02 <= significant / 500 <= 0.08


# -- many tests, few units, many units ------------------------------------------------------------


def holm_by_hand(p: list[float]) -> list[float]:
    """Each p-value times the number of hypotheses still standing, never below an earlier one."""
    out = dict.fromkeys(range(len(p)), 1.0)
    worst = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, (len(p) - rank) * p[i])
        out[i] = min(1.0, worst)
    return [out[i] for i in range(len(p))]


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_is_the_step_down_rule(p: list[float]) -> None:
    assert holm(p) == pytest.approx(holm_by_hand(p))


def test_holm_on_a_published_example_and_with_gaps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_gap = holm([0.01, float("nan"), 0.04])
    assert with_gap[::2] == pytest.approx([0.02, 0.04]) and np.isnan(with_gap[1])
    assert holm([]) == []


@pytest.mark.parametrize("n", [3, 5, 10, 30, 128, 1000])
def test_widening_is_the_t_quantile(n: int) -> None:
    wanted = scipy.stats.t.ppf(0.975, n - 1) * (n / (n - 1)) ** 0.5
    assert _widen(1.959964, n) == pytest.approx(wanted, rel=0.06 if n == 3 else 0.02)
    assert _narrow(_widen(1.3, n), n) == pytest.approx(1.3) and _narrow(_widen(-2.6, n), n) == pytest.approx(-2.6)


def test_a_biased_bootstrap_falls_back_to_the_normal_interval() -> None:
    generator = np.random.default_rng(0)
    number = Resampled(1.0, generator.normal(0.5, 0.1, 2000), generator.normal(size=128), 128)
    low, high = number.interval()
    assert (low + high) / 2 == pytest.approx(1.0) and high - low == pytest.approx(0.4, rel=0.05)
    assert number.score(0.9) == pytest.approx(1.0, abs=0.05)


def test_many_units_are_folded(make: Any, rng: np.random.Generator) -> None:
    n = 20_000
    x = rng.gamma(1, 1, n)
    estimate = bootstrap(make.metrics["mean"], make.sums(x))
    assert estimate.n == n and estimate.value == pytest.approx(x.mean())
    assert estimate.stderr == pytest.approx(x.std() / n**0.5, rel=0.08)


def test_folding_keeps_totals_and_short_sums(make: Any, rng: np.random.Generator) -> None:
    sums = make.sums(rng.normal(size=(1000, 3)))
    folded = fold_sums(sums, 64)
    assert folded["x"].shape == (64, 3)
    assert folded["x"].sum(0) == pytest.approx(sums["x"].sum(0))
    assert set(folded["n"].ravel()) <= {15.0, 16.0}
    assert fold_sums(sums, 1000)["x"] is not None and len(fold_sums(sums, 1000)["x"]) == 1000


def test_shards_add_to_the_whole(make: Any, rng: np.random.Generator) -> None:
    x = np.round(rng.normal(size=(64, 2)), 3) * 1024
    mine = rng.random(64) < 0.5
    first, second = (make.sums(np.where(m[:, None], x, 0), np.where(m[:, None], 1.0, 0.0)) for m in (mine, ~mine))
    whole = add_sums(first, second)
    assert all((whole[k] == make.sums(x)[k]).all() for k in whole)
    m = make.metrics["mean"]
    for i in range(2):
        assert bootstrap(m, whole).at(i) == bootstrap(m, make.sums(x)).at(i)


def test_shards_of_different_shape_do_not_add(make: Any) -> None:
    with pytest.raises(UserError, match="shape"):
        add_sums(make.sums(np.ones(3)), make.sums(np.ones(4)))
    with pytest.raises(UserError, match="different fields"):
        add_sums({"x": np.ones(3)}, {"y": np.ones(3)})


def test_slices_part_and_join(make: Any, rng: np.random.Generator) -> None:
    sums = make.sums(rng.normal(size=(10, 3)))
    parts = [split_sums(sums, i, 3) for i in range(3)]
    assert parts[0]["x"].shape == (10,)
    assert all((join_sums(parts)[k] == sums[k]).all() for k in sums)
    with pytest.raises(ValueError, match="slice axis"):
        split_sums(sums, 0, 4)
