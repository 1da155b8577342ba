"""On the world the order of the SAEs is known: every metric that claims to see damage must see it."""

from __future__ import annotations

import json
import math

import pytest

import saebench as sb
from saebench.results import Results, Row

DAMAGED = ("untrained", "shuffled", "undertrained", "half-dead", "frozen-decoder")
SEES_DAMAGE = ("loss_recovered", "ce_delta", "explained_variance", "kl", "nmse")


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], Row]:
    """The topk family, its damaged twins and the references on 8,000 tokens."""
    names = ["topk-low", "topk-mid", "topk-high", *(f"topk-mid-{d}" for d in DAMAGED)]
    metrics = [*SEES_DAMAGE, "l0", "dead_fraction"]
    suite = {"name": "order", "metric": metrics, "data": {"text": {"source": "world", "tokens": 8000}}}
    results = sb.evaluate([f"world:{name}" for name in names], suite, model="world")
    assert not results.errors()
    return {(row.sae, row.metric): row for row in results.rows if not row.slice}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("metric", SEES_DAMAGE)
def test_a_damaged_twin_is_worse_by_more_than_the_noise(rows: dict, metric: str, damage: str) -> None:
    whole, twin = rows["topk-mid", metric], rows[f"topk-mid-{damage}", metric]
    sign = 1 if whole.better == "higher" else -1
    noise = 1.96 * math.hypot(whole.stderr, twin.stderr)
    assert sign * (whole.value - twin.value) > noise, (whole.value, twin.value, noise)


@pytest.mark.parametrize("metric", SEES_DAMAGE)
def test_more_latents_a_token_lose_less(rows: dict, metric: str) -> None:
    low, mid, high = (rows[f"topk-{level}", metric].value for level in ("low", "mid", "high"))
    assert low < mid < high if rows["topk-mid", metric].better == "higher" else low > mid > high


@pytest.mark.parametrize("metric", ["loss_recovered", "explained_variance"])
def test_a_trained_sae_beats_the_random_dictionary(rows: dict, metric: str) -> None:
    null = next(row for (_, name), row in rows.items() if name == metric and row.role == "null")
    assert rows["topk-mid", metric].ci_low > null.ci_high


def test_half_of_the_latents_are_found_dead(rows: dict) -> None:
    dead = rows["topk-mid-half-dead", "dead_fraction"].value
    assert 0.4 <= dead - rows["topk-mid", "dead_fraction"].value * 0.5 <= 0.6


def test_top_k_keeps_its_promise(rows: dict) -> None:
    """L0 is at most k, and nearly k."""
    for level in ("low", "mid", "high"):
        row = rows[f"topk-{level}", "l0"]
        k = sb.load_sae(f"world:topk-{level}").k
        assert 0.9 * k <= row.value <= k


@pytest.mark.parametrize("metric", SEES_DAMAGE)
def test_a_metric_that_sees_damage_is_valid(rows: dict, metric: str) -> None:
    """The frame says so itself, of the damaged twins and of the levels together."""
    table = Results(rows.values()).frame()
    line = table[(table["metric"] == metric) & (table["sae"] == "topk-mid")].iloc[0]
    assert line["validity"] > 0.8 and line["validity_p"] <= 0.05 and line["validity_n"] == 8


def test_the_number_of_latents_is_not_held_to_the_order_of_fidelity(rows: dict) -> None:
    """Fewer latents a token are better by L0, and lose more: that order is for what is reconstructed alone."""
    table = Results(rows.values()).frame().set_index("metric")
    orders = {metric: json.loads(table.loc[[metric], "validity_by_order"].iloc[0] or "{}") for metric in table.index}
    assert "fidelity" not in orders["l0"]
    assert orders["explained_variance"]["fidelity"] == 1
