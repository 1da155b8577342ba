"""Null gap, reseed noise and validity, from rows alone."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from saebench.metric import Metric
from saebench.results import Results, Row
from saebench.results.validity import validity


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def line(value: float, sae: str = "a", metric: str = "mean", **facts: Any) -> Row:
    """A row of that value."""
    ways = {"mean": "higher", "cost": "lower", "bias": "one", "trait": "none"}
    base = {"better": ways.get(metric, "higher"), "model": "tiny", "hook_out": "h", "corpus": "text", "seed": 0,
            "corpus_hash": "c", "units": "documents", "sae_hash": f"#{sae}"} | facts  # fmt: skip
    return Row(sae=sae, metric=metric, value=value, signature=f"{metric}|{sae}|{sorted(base.items())}", **base)


def column(rows: list[Row], name: str) -> dict[str, float]:
    """One column of the frame by SAE."""
    table = Results(rows).frame()
    return dict(zip(table["sae"], table[name], strict=True))


NULL = {"sae": "null:random-32", "role": "null"}


# -- null gap -------------------------------------------------------------------------------------


def test_the_gap_is_nought_at_the_null_and_one_at_the_best_sae() -> None:
    gaps = column([line(0.9), line(0.6, "b"), line(0.1, "c"), line(0.2, **NULL)], "null_gap")
    assert gaps["a"] == 1 and gaps["null:random-32"] == 0
    assert gaps["b"] == pytest.approx((0.6 - 0.2) / (0.9 - 0.2)) and gaps["c"] < 0


def test_the_reference_is_the_best_value_where_the_metric_has_one(
    monkeypatch: pytest.MonkeyPatch, make: Any, registry: dict[str, Metric]
) -> None:
    monkeypatch.setattr(registry["mean"], "best", 1.0)
    assert column([line(0.9), line(0.2, **NULL)], "null_gap")["a"] == pytest.approx(0.7 / 0.8)
    older = [line(0.9, version=7), line(0.2, version=7, **NULL)]
    assert column(older, "null_gap")["a"] == 1  # a version that is not installed may have had another best value


def test_where_less_is_better_and_where_one_is() -> None:
    lower = [line(3.0, metric="cost"), line(5.0, "b", "cost"), line(7.0, metric="cost", **NULL)]
    assert column(lower, "null_gap") == {"a": 1, "b": 0.5, "null:random-32": 0}
    one = [line(0.9, metric="bias"), line(1.1, "b", "bias"), line(0.5, metric="bias", **NULL)]
    assert list(column(one, "null_gap").values()) == pytest.approx([0.8, 0.8, 0])


def test_a_null_as_good_as_the_reference_leaves_the_gap_undefined() -> None:
    for null in (0.9, 1.5):
        gaps = column([line(0.9), line(0.6, "b"), line(null, **NULL)], "null_gap")
        assert all(math.isnan(gap) for gap in gaps.values())


def test_no_gap_without_direction_null_or_value() -> None:
    rows = [line(0.9, metric="trait"), line(0.1, metric="trait", **NULL), line(0.9), line(0.9, corpus_hash="other")]
    assert Results(rows).frame()["null_gap"].isna().all()
    failed = replace(line(0.5), value=None, status="error", reason="broken")
    assert math.isnan(column([failed, line(0.2, **NULL)], "null_gap")["a"])


# -- reseed noise ---------------------------------------------------------------------------------


def reseeded(values: list[float], sae: str = "a", **facts: Any) -> list[Row]:
    """The same SAE with a seed for each value."""
    return [line(value, sae, seed=seed, **facts) for seed, value in enumerate(values)]


def test_noise_is_the_scatter_over_seeds_pooled_over_saes() -> None:
    values = {"a": [1.0, 1.2, 1.4], "b": [5.0, 5.3], "c": [9.0]}
    table = Results([row for sae, v in values.items() for row in reseeded(v, sae)]).frame()
    squares = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in values.values())
    assert table["noise"].to_numpy() == pytest.approx((squares / 3) ** 0.5)
    assert table["mdd"].to_numpy() == pytest.approx(1.96 * 2**0.5 * (squares / 3) ** 0.5)
    assert set(table["reseeds"]) == {3}
    assert table["rerun"].tolist() == [False, True, True, False, True, False]


def test_what_the_seed_does_not_decide_has_no_noise_at_all() -> None:
    same = Results(reseeded([0.7, 0.7 * (1 + 1e-8), 0.7])).frame()
    assert set(same["noise"]) == {0.0} and set(same["mdd"]) == {0.0}
    assert (Results(reseeded([0.7, 0.7 * (1 + 1e-4)])).frame()["noise"] > 0).all()


def test_a_notebook_shows_the_value_and_the_error_of_the_lowest_seed() -> None:
    rows = [line(1.5, stderr=0.25), line(2.5, seed=1, stderr=0.75)]
    shown = Results(rows)._repr_html_()
    assert "1.5 ± 0.2" in shown and "2.5" not in shown and "0.8" not in shown
    assert Results(rows).board()["mean"].tolist() == [1.5]


def test_one_seed_says_nothing_of_noise() -> None:
    table = Results([line(1.0), line(2.0, "b")]).frame()
    assert table["noise"].isna().all() and table["reseeds"].isna().all() and not table["rerun"].any()


def test_another_text_is_no_rerun_but_another_draw_of_items_is() -> None:
    texts = [line(1.0), line(2.0, seed=1, corpus_hash="another")]
    assert Results(texts).frame()["noise"].isna().all()
    drawn = [line(1.0, corpus="probing"), line(2.0, corpus="probing", seed=1, corpus_hash="another")]
    assert (Results(drawn).frame()["noise"] > 0).all()


@pytest.mark.parametrize("other", [{"sae_hash": "retrained"}, {"settings": {"k": 2}}, {"version": 2}, {"context": 64}])
def test_anything_else_that_differs_is_no_rerun(other: dict[str, Any]) -> None:
    table = Results([line(1.0), line(2.0, seed=1, **other)]).frame()
    assert table["noise"].isna().all() and not table["rerun"].any()


def test_nulls_are_not_noise() -> None:
    table = Results([line(1.0), line(2.0, **NULL), line(3.0, **NULL | {"seed": 1, "sae_hash": "drawn anew"})]).frame()
    assert table["noise"].isna().all() and table["rerun"].tolist() == [False, False, True]


# -- validity -------------------------------------------------------------------------------------


def in_order(places: list[int], values: list[float]) -> Any:
    names = [f"s{i}" for i in range(len(places))]
    return validity(
        dict(zip(names, values, strict=True)), {n: {"damage": p} for n, p in zip(names, places, strict=True)}
    )


def test_it_is_kendalls_tau_with_its_exact_p(rng: np.random.Generator) -> None:
    for _ in range(20):
        values = rng.normal(size=6).tolist()
        found = in_order([0, 1, 2, 3, 4, 5], values)
        oracle = scipy.stats.kendalltau([5, 4, 3, 2, 1, 0], values, method="exact")
        assert (found.tau, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))
        assert found.n == 6


def test_ties_of_the_known_order_are_left_out() -> None:
    places = [0, 1, 1, 1, 2, 2]
    assert in_order(places, [9, 3, 5, 4, 1, 2]).tau == 1
    assert in_order(places, [9, 3, 5, 4, 1, 2]).p == pytest.approx(2 / 60)  # of 6!/(1! 3! 2!) orders, and its reverse
    assert in_order(places, [-9, -3, -5, -4, -1, -2]).tau == -1
    assert in_order(places, [1, 1, 1, 1, 1, 1]).tau == 0 and in_order(places, [1] * 6).p == 1
    assert in_order([1, 1], [3, 4]) is None


def test_orders_hold_within_their_part_only() -> None:
    places = {
        "a": {"fidelity/x": 0},
        "b": {"fidelity/x": 1},
        "c": {"fidelity/y": 0},
        "d": {"fidelity/y": 1, "damage": 0},
    }
    found = validity({"a": 10, "b": 9, "c": 2, "d": 1, "unknown": 50}, places)
    assert found is not None and (found.tau, found.n, found.by_order) == (1, 4, {"fidelity": 1.0})
    assert found.p == pytest.approx(0.5)  # two coins, both or neither
    mixed = validity({"a": 10, "b": 9, "c": 1, "d": 2}, places)
    assert mixed is not None and mixed.tau == 0


def test_many_saes_are_permuted_by_draws(rng: np.random.Generator) -> None:
    values = (rng.normal(size=12) - 0.1 * np.arange(12)).tolist()
    found = in_order(list(range(12)), values)
    oracle = scipy.stats.kendalltau(-np.arange(12), values, method="exact")
    assert found.tau == pytest.approx(oracle.statistic) and found.p == pytest.approx(oracle.pvalue, abs=0.015)


def test_p_is_honest_by_chance(rng: np.random.Generator) -> None:
    """A metric that knows nothing passes at 5 % at most one time in twenty."""
    places = {f"s{i}": {"damage": p} for i, p in enumerate([0, 1, 1, 1, 2, 2])}
    places |= {f"t{i}": {"fidelity/x": i} for i in range(3)}
    names = list(places)
    found = [validity(dict(zip(names, rng.normal(size=9), strict=True)), places) for _ in range(1000)]
    assert 0.01 <= np.mean([f is not None and f.p <= 0.05 for f in found]) <= 0.065


def test_the_frame_orients_by_direction_and_averages_seeds() -> None:
    rows = [
        line(value + shift, sae, name, seed=seed, order={"damage": place})
        for name, turn in (("mean", 1), ("cost", -1), ("trait", 1))
        for place, (sae, value) in enumerate((("a", 3.0 * turn), ("b", 2.0 * turn), ("c", 1.0 * turn)))
        for seed, shift in ((0, 0.0), (1, 0.1))
    ]
    table = Results(rows).frame().groupby("metric", sort=False)
    assert table["validity"].first().tolist()[:2] == [1, 1] and table["validity"].first().isna()["trait"]
    assert table["validity_n"].first()["mean"] == 3 and table["validity_p"].first()["mean"] == pytest.approx(1 / 3)
    assert json.loads(table["validity_by_order"].first()["mean"]) == {"damage": 1.0}
    assert table["validity_by_order"].first()["trait"] == ""


def test_the_order_survives_the_file(tmp_path: Any) -> None:
    row = line(1.0, order={"damage": 2, "fidelity/topk": 0})
    assert Row.from_json(row.to_json()).order == row.order
    without = {k: v for k, v in json.loads(row.to_json()).items() if k != "order"}
    assert Row.from_json(json.dumps(without)).order == {}


def test_every_order_of_values_has_its_own_score() -> None:
    """Over all orders of four values the scores have mean zero and the p-values their own frequencies."""
    found = [in_order([0, 1, 2, 3], list(v)) for v in itertools.permutations([1.0, 2.0, 3.0, 4.0])]
    assert np.mean([f.tau for f in found]) == pytest.approx(0)
    for f in found:
        assert f.p == pytest.approx(np.mean([abs(g.tau) >= abs(f.tau) - 1e-12 for g in found]))
