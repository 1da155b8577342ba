"""On the world the metrics of structure tell a trained SAE from its damaged twins, by more than the interval."""

from __future__ import annotations

import math

import pytest

import saebench as sb
from saebench.engine import references
from saebench.results import Row

NAMES = ("topk-mid", "topk-mid-untrained", "topk-mid-shuffled")
METRICS = [
    "concept_coverage",
    "description_length",
    "description_length_fvu",
    {"amortisation_gap": {"tokens": 200}},
    "lexicality",
    "random_explained_variance",
]


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str, str], Row]:
    """A trained SAE and two of its twins on little text."""
    patch = pytest.MonkeyPatch()
    patch.setattr(references, "FIT_TOKENS", 6000)
    suite = {
        "metric": METRICS,
        "data": {"text": {"source": "world", "tokens": 3000}, "random_tokens": {"tokens": 1000}},
        "references": {"null": None, "baseline": None},
    }
    results = sb.evaluate([f"world:{name}" for name in NAMES], suite, model="world")
    patch.undo()
    assert not results.errors()
    return {(row.sae, row.metric, row.slice): row for row in results.rows}


@pytest.mark.parametrize(
    ("metric", "part", "twin"),
    [
        ("concept_coverage", "f1", "topk-mid-untrained"),
        ("description_length_fvu", "bins=256", "topk-mid-untrained"),
        ("description_length_fvu", "bins=256", "topk-mid-shuffled"),
        ("amortisation_gap", "gap", "topk-mid-untrained"),
        ("amortisation_gap", "gap", "topk-mid-shuffled"),
        ("random_explained_variance", "", "topk-mid-untrained"),
        ("random_explained_variance", "", "topk-mid-shuffled"),
    ],
)
def test_a_damaged_twin_is_worse_by_more_than_the_noise(rows: dict, metric: str, part: str, twin: str) -> None:
    whole, damaged = rows["topk-mid", metric, part], rows[twin, metric, part]
    sign = 1 if whole.better == "higher" else -1
    assert sign * (whole.value - damaged.value) > 1.96 * math.hypot(whole.stderr, damaged.stderr)


def test_a_shuffled_decoder_leaves_codes_and_what_is_said_of_them(rows: dict) -> None:
    for metric, part in (("concept_coverage", "f1"), ("description_length", "bins=16"), ("lexicality", "mean")):
        assert rows["topk-mid", metric, part].value == pytest.approx(
            rows["topk-mid-shuffled", metric, part].value, rel=1e-3
        )


def test_the_labels_are_the_worlds_and_what_was_left_out_is_named(rows: dict) -> None:
    row = rows["topk-mid", "concept_coverage", "f1"]
    assert any("the labels of the data" in note for note in row.warnings)
    assert any("fewer than 10 tokens" in note for note in row.warnings)
    assert "labels:of the data" in row.signature and "fit:" in row.signature
    assert ("topk-mid", "concept_coverage", "f1/pos") in rows
