"""Suites as YAML: inheritance, settings, and sentences for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import saebench as sb
from saebench.engine.prepare import prepare
from saebench.suite import suite_files


def test_every_shipped_suite_loads_and_names_real_metrics() -> None:
    for name in suite_files():
        suite = sb.load_suite(name)
        assert suite.summary and suite.metrics(), name


SMALL = {
    "text": {"tokens": 3000},
    "probing": {"source": "world:profession,gender,dialect", "train": 20, "test": 12},
    "last_token": {"source": "world:gender,dialect", "train": 20, "test": 12},
    "words": {"source": "world:first_letter,field", "words": 120},
    "entities": {"types": ["city", "person"], "templates": 1},
    "questions": {"questions": 6, "orders": 1},
    "forget": {"tokens": 1000},
    "retain": {"tokens": 1000},
}
"""Little of the world for every data name."""


@pytest.mark.parametrize(("name", "passes"), [("ci", 3), ("causal", 2), ("probing", 1), ("saebench", 6)])
def test_a_suite_reads_all_it_needs_from_the_world(name: str, passes: int) -> None:
    """Nothing is missing offline, every metric takes its settings, and shared texts are one pass."""
    suite = sb.load_suite(name)
    data = {key: value for key, value in SMALL.items() if key in suite.data}
    plan = prepare(["world:topk-mid"], suite, model="world", data=data, offline=True)
    assert not plan.unreadable and not plan.failures
    assert {cell.metric.name for cell in plan.cells} == {metric.name for metric in suite.metrics()}
    found = plan.passes()
    assert len(found) == passes, list(found)
    assert not {"probing", "last_token"} <= set(found)


def test_a_suite_extends_another(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: quick\nmetric: [{dense_fraction: {above: [0.05]}}]\nseed: 7\n")
    suite = sb.load_suite(file)
    assert suite.name == "mine" and suite.seed == 7
    assert [m.signature for m in suite.metrics()][-1] == "dense_fraction@1(above=(0.05,))"
    assert suite.metric[:-1] == sb.load_suite("quick").metric
    assert suite.data == sb.load_suite("quick").data


def test_a_mapping_extends_a_suite_too() -> None:
    suite = sb.load_suite({"extends": "quick", "metric": ["mse"]})
    assert suite.name == "custom" and suite.metric == [*sb.load_suite("quick").metric, "mse"]


def test_a_bare_null_is_the_null(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("metric: [l0]\nreferences: {null: 'null:random-8', baseline: null}\n")
    references = sb.load_suite(file).references
    assert (references.null, references.baseline) == ("null:random-8", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metric: [l0\n", ["not YAML"]),
        ("- l0\n", ["keys"]),
        ("metric: [l0]\nextends: 3\n", ["extends"]),
        ("metric: [l0]\nextends: croe\n", ["core"]),
        ("metric: [l0]\ndata: {text: {source: world, tokens: -5}}\n", ["tokens", "-5"]),
        ("metric: [l0]\nsed: 1\n", ["sed", "seed"]),
        ("metrics: [l0]\n", ["'metrics'", "Did you mean 'metric'?"]),
        ("seed: 1\n", ["'metric' is missing"]),
        ("extends: mine.yaml\n", ["mine.yaml -> mine.yaml"]),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(sb.UserError) as error:
        sb.load_suite(file)
    for word in words:
        assert word in str(error.value), str(error.value)
