"""The gate: its file, tolerances, outcomes and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saebench.errors import UserError
from saebench.results import Comparison, GateEntry, Results, compare, load_gate

UNITS = 64


def shifted(make: Any, name: str, shift: float, noise: float = 0.01, **facts: Any) -> tuple[Results, Results]:
    """A run and one whose metric moved by `shift`, with a standard error of about noise / 8."""
    generator = np.random.default_rng(2)
    x = generator.normal(0.5, 0.3, UNITS)
    e = generator.normal(0, 1, UNITS)
    y = x + shift + noise * (e - e.mean()) / e.std()
    return tuple(Results(make.rows(name, make.sums(v), **facts)) for v in (x, y))  # type: ignore[return-value]


def outcome(comparison: Comparison) -> tuple[str, int]:
    assert len(comparison.lines) == 1
    return comparison.lines[0].held, comparison.exit_code


@pytest.mark.parametrize(
    ("shift", "held", "code"),
    [(-0.05, "pass", 0), (0.0, "pass", 0), (0.015, "pass", 0), (0.02, "cannot tell", 0), (0.03, "regression", 1)],
)
def test_the_interval_against_the_tolerance(make: Any, shift: float, held: str, code: int) -> None:
    a, b = shifted(make, "cost", shift)  # standard error 0.00125
    assert outcome(compare(a, b, gate=[{"metric": "cost", "tolerance": 0.02}])) == (held, code)
    a, b = shifted(make, "mean", -shift)
    assert outcome(compare(a, b, gate=[{"metric": "mean", "tolerance": 0.02}])) == (held, code)


def test_too_noisy_fails_where_told_to(make: Any) -> None:
    a, b = shifted(make, "cost", 0.0, noise=1.0)
    gate = [{"metric": "cost", "tolerance": 0.02}]
    assert outcome(compare(a, b, gate=gate)) == ("cannot tell", 0)
    strict = compare(a, b, gate=gate, cannot_tell="fail")
    assert outcome(strict) == ("cannot tell", 2)
    assert 'failures="1"' in strict.junit() and 'skipped="1"' in compare(a, b, gate=gate).junit()
    assert strict.markdown().startswith("### ⚠️")


def test_both_directions_are_held_for_a_trait(make: Any) -> None:
    gate = [{"metric": "trait", "tolerance": 0.02}]
    for shift in (-0.05, 0.05):
        assert outcome(compare(*shifted(make, "trait", shift), gate=gate)) == ("regression", 1)
    assert outcome(compare(*shifted(make, "trait", 0.01), gate=gate)) == ("pass", 0)
    assert outcome(compare(*shifted(make, "trait", -0.02), gate=gate)) == ("cannot tell", 0)


def test_a_gate_may_give_the_direction(make: Any) -> None:
    a, b = shifted(make, "trait", 0.1)
    higher = compare(a, b, gate=[{"metric": "trait", "direction": "higher"}])
    assert outcome(higher) == ("pass", 0) and higher.lines[0].verdict == "better"
    assert outcome(compare(a, b, gate=[{"metric": "trait", "direction": "lower"}])) == ("regression", 1)


def test_distance_to_one_is_held(make: Any) -> None:
    gate = [{"metric": "bias", "tolerance": 0.05}]
    assert outcome(compare(*shifted(make, "bias", 0.3), gate=gate)) == ("pass", 0)
    assert outcome(compare(*shifted(make, "bias", -0.3), gate=gate)) == ("regression", 1)


def test_exact_metrics_are_held_exactly(make: Any) -> None:
    a, b = (Results(make.rows("shape", make.sums([x]))) for x in (1.0, 1.5))
    assert outcome(compare(a, b, gate=[{"metric": "shape", "tolerance": 0.5}])) == ("pass", 0)
    assert outcome(compare(a, b, gate=[{"metric": "shape", "tolerance": 0.49}])) == ("regression", 1)
    assert outcome(compare(a, b)) == ("regression", 1)


def test_without_a_gate_every_scored_metric_is_held_at_zero(make: Any) -> None:
    assert outcome(compare(*shifted(make, "cost", 0.1))) == ("regression", 1)
    assert outcome(compare(*shifted(make, "cost", -0.1))) == ("pass", 0)
    assert outcome(compare(*shifted(make, "trait", 0.1))) == ("", 0)


def test_what_the_gate_does_not_name_is_not_held(make: Any) -> None:
    a1, b1 = shifted(make, "cost", 0.1)
    a2, b2 = shifted(make, "mean", 0.1)
    comparison = compare(a1 + a2, b1 + b2, gate=[GateEntry("mean")])
    assert {line.metric: line.held for line in comparison.lines} == {"cost": "", "mean": "pass"}
    assert comparison.exit_code == 0


def test_missing_rows_are_exit_2_and_a_regression_outweighs_them(make: Any) -> None:
    a, b = shifted(make, "cost", 0.1)
    missing = compare(a, b, gate=[{"metric": "mean"}])
    assert missing.exit_code == 2 and missing.held("missing")[0].reason == "no row in A and none in B"
    assert compare(a, b, gate=[{"metric": "mean"}, {"metric": "cost"}]).exit_code == 1
    one_side = compare(a, b + shifted(make, "mean", 0.0)[1], gate=[{"metric": "mean"}])
    assert one_side.exit_code == 2 and one_side.held("missing")[0].reason == "no row in A"


def test_a_slice_may_have_its_own_tolerance(make: Any) -> None:
    x = np.random.default_rng(0).normal(size=(UNITS, 2))
    a, b = (Results(make.rows("cost", make.sums(v), slices=("k=1", "k=2"))) for v in (x, x + 0.1))
    gate = [{"metric": "cost"}, {"metric": "cost", "slice": "k=1", "tolerance": 0.2}]
    assert [line.held for line in compare(a, b, gate=gate).lines] == ["pass", "regression"]
    only = compare(a, b, gate=[{"metric": "cost", "slice": "k=3"}])
    assert only.held("missing")[0].slice == "k=3" and only.exit_code == 2


def test_many_held_metrics_raise_few_false_alarms(make: Any) -> None:
    generator = np.random.default_rng(5)
    slices = tuple(f"s{i}" for i in range(30))
    alarms = 0
    for _ in range(15):
        sides = [Results(make.rows("cost", make.sums(generator.normal(size=(UNITS, 30))), slices=slices)) for _ in "ab"]
        alarms += compare(*sides).exit_code == 1
    assert alarms <= 3


# -- the file -------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("- {metric: ce_delta, tolerance: 0.01}\n- metric: l0\n  direction: none\n  slice: 5\n")
    assert load_gate(file) == (GateEntry("ce_delta", tolerance=0.01), GateEntry("l0", slice="5", direction="none"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {metric: l0, tolerence: 1}", "Did you mean 'tolerance'"),
        ("- {metric: l0, direction: lowest}", "Did you mean 'lower'"),
        ("- {metric: l0, tolerance: -1}", "number of 0 or more"),
        ("- {metric: l0, tolerance: .nan}", "number of 0 or more"),
        ("- {metric: l0, tolerance: 2%}", "number of 0 or more"),
        ("- {tolerance: 1}", "entry 1 names no metric"),
        ("- l0", "not a mapping"),
        ("metric: l0", "not a list"),
        ("", "not a list"),
        ("[]", "is empty"),
        ("- {metric: [", "not YAML"),
        ("- !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_gate(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_gate(tmp_path / "none.yaml")


def test_a_misspelt_metric_is_not_a_missing_row(make: Any) -> None:
    a, b = shifted(make, "cost", 0.1)
    with pytest.raises(UserError, match="Did you mean 'cost'"):
        compare(a, b, gate=[{"metric": "costs"}])
    with pytest.raises(UserError, match="Did you mean 'fail'"):
        compare(a, b, cannot_tell="fall")  # type: ignore[arg-type]
