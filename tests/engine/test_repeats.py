"""Scoring with several seeds: what the seed decides shows as noise, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import saebench as sb
from saebench.errors import UserError
from saebench.suite import load_suite
from tests.helpers.toys import ToySAE, token_rows

SUITE = {
    "name": "again",
    "metric": ["l0", "explained_variance", "random_explained_variance"],
    "data": {"random_tokens": {"tokens": 400, "context": 16}},
    "references": {"null": None, "baseline": None},
}


def test_only_what_the_seed_draws_has_noise(llama: nn.Module, tmp_path: Path) -> None:
    saes = [sb.load_sae(ToySAE(seed=seed), name=f"toy{seed}") for seed in (0, 1)]
    given = {"model": llama, "data": {"text": token_rows(24, 9)}, "out": tmp_path}
    results = sb.evaluate(saes, SUITE, repeats=3, seed=7, **given)
    assert not results.errors() and {row.seed for row in results} == {7, 8, 9}
    table = results.frame()
    table = table[~table["rerun"]].set_index(["metric", "sae"])
    assert set(table["seed"]) == {7} and set(table["reseeds"]) == {3} and len(table) == 6
    assert set(table.loc["l0", "noise"]) == set(table.loc["explained_variance", "noise"]) == {0.0}
    drawn = [row.value for row in results if row.metric == "random_explained_variance" and row.sae == "toy0"]
    assert len(set(drawn)) == 3 and (table.loc["random_explained_variance", "noise"] > 0).all()
    again = sb.evaluate(saes, {**SUITE, "repeats": 3}, seed=7, only_cached=True, **given)
    assert {row.key for row in again} == {row.key for row in results}


def test_a_number_of_seeds_that_makes_no_sense(llama: nn.Module) -> None:
    with pytest.raises(UserError, match="repeats is 0"):
        sb.evaluate(ToySAE(seed=0), SUITE, model=llama, data={"text": token_rows(4)}, repeats=0)
    with pytest.raises(UserError, match="repeats"):
        load_suite({"metric": ["l0"], "repeats": 0})


def test_the_trust_suite_repeats_on_saes_of_known_order() -> None:
    suite = load_suite("trust")
    assert suite.repeats >= 5 and {metric.name for metric in suite.metrics()} >= {"l0", "sparse_probing", "tpp"}


def test_more_active_latents_are_an_order_for_metrics_of_fidelity_alone() -> None:
    suite = {"metric": ["l0", "explained_variance", "dead_fraction"], "references": {"null": None, "baseline": None}}
    results = sb.evaluate("world:topk-mid", suite, model="world", data={"text": {"source": "world", "tokens": 500}})
    orders = {row.metric: row.order for row in results.rows}
    assert orders["explained_variance"] == {"damage": 0, "fidelity/topk": 1}
    assert orders["l0"] == orders["dead_fraction"] == {"damage": 0}
