"""Comparisons: which SAE and row against which, verdicts, reports."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from saebench.errors import UserError
from saebench.results import Comparison, Results, compare
from saebench.results.comment import MARKER
from saebench.results.comment import markdown as comment
from saebench.results.contrast import Normal
from saebench.results.over_seeds import OverSeeds

UNITS = 64


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {line.metric + (f"[{line.slice}]" if line.slice else ""): line.verdict for line in comparison.lines}


def run(make: Any, x: dict[str, Any], **facts: Any) -> Results:
    """Results of one SAE: x per unit by metric."""
    return Results(row for name, values in x.items() for row in make.rows(name, make.sums(values), **facts))


# -- verdicts -------------------------------------------------------------------------------------


def test_directions_decide_what_is_better(make: Any, rng: np.random.Generator) -> None:
    base = rng.normal(0.5, 0.3, UNITS)
    up = base + 0.2 + rng.normal(0, 0.01, UNITS)
    names = ("mean", "cost", "bias", "trait")
    comparison = compare(run(make, dict.fromkeys(names, base)), run(make, dict.fromkeys(names, up), sae="b"))
    assert verdicts(comparison) == {"mean": "better", "cost": "worse", "bias": "better", "trait": "differs"}
    assert all(line.method == "paired" for line in comparison.lines)
    line = comparison.lines[0].record()
    assert line["difference"] == pytest.approx(np.mean(up - base))
    assert line["ci_low"] < line["difference"] < line["ci_high"] and line["p_holm"] < 1e-6


def test_noise_cannot_be_told(make: Any, rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, UNITS))
    assert verdicts(compare(run(make, {"mean": a}), run(make, {"mean": b}))) == {"mean": "cannot tell"}


def test_a_run_equals_itself(make: Any, rng: np.random.Generator) -> None:
    results = run(make, {"mean": rng.normal(size=UNITS), "shape": np.ones(3)})
    comparison = compare(results, results)
    assert set(verdicts(comparison).values()) == {"equal"} and comparison.exit_code == 0


def test_rounding_is_no_difference(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(5, 1, UNITS)
    assert verdicts(compare(run(make, {"cost": x}), run(make, {"cost": x * (1 + 1e-8)}))) == {"cost": "equal"}


def test_equally_far_from_one_is_equal(make: Any) -> None:
    comparison = compare(run(make, {"bias": np.full(9, 0.9)}), run(make, {"bias": np.full(9, 1.1)}))
    assert verdicts(comparison) == {"bias": "equal"}


def test_weights_metrics_differ_exactly(make: Any) -> None:
    comparison = compare(run(make, {"shape": [0.5]}), run(make, {"shape": [0.4]}))
    line = comparison.lines[0]
    assert (line.verdict, line.method, line.record()["stderr"]) == ("better", "exact", None)


def test_latents_of_two_sizes_are_held_together(make: Any, rng: np.random.Generator) -> None:
    a, b = (rng.random(n) < p for n, p in ((500, 0.4), (900, 0.1)))
    comparison = compare(run(make, {"dead": a}), run(make, {"dead": b}, d_sae=900))
    assert verdicts(comparison) == {"dead": "better"} and comparison.lines[0].method == "independent"


def test_latents_of_one_sae_are_paired(make: Any, rng: np.random.Generator) -> None:
    """Measured again, by other code say, a latent is the same latent: what did not move is equal."""
    dead = rng.random(500) < 0.4
    moved = dead.copy()
    moved[:3] = ~moved[:3]
    same, again = run(make, {"dead": dead}, sae_hash="x"), run(make, {"dead": moved}, sae_hash="x")
    assert verdicts(compare(same, same)) == {"dead": "equal"}
    paired, apart = compare(same, again).lines[0], compare(same, run(make, {"dead": moved}, sae_hash="y")).lines[0]
    assert (paired.method, apart.method) == ("paired", "independent")
    assert paired.record()["stderr"] == pytest.approx(np.sqrt(3) / 500, rel=0.2)
    assert apart.record()["stderr"] > 8 * paired.record()["stderr"]


def test_rows_that_only_b_has_do_not_bury_the_others(make: Any, rng: np.random.Generator) -> None:
    slices = tuple(f"s{i}" for i in range(40))
    x = rng.normal(size=UNITS)
    more = make.rows("cost", make.sums(rng.normal(size=(UNITS, 40))), slices=slices)
    told = compare(run(make, {"mean": x}), Results([*run(make, {"mean": x}), *more])).text()
    assert "40 lines that one side lacks and no gate holds are left out" in told and "cost[s30]" not in told
    assert "cost[s7] and 32 more: no row in A" in told


def test_holm_guards_many_metrics(make: Any, rng: np.random.Generator) -> None:
    """Of many slices without a difference, hardly any run shows a single one that differs."""
    slices = tuple(f"s{i}" for i in range(40))
    false = 0
    for _ in range(15):
        sides = [make.rows("mean", make.sums(rng.normal(size=(UNITS, 40))), slices=slices, sae=s) for s in "ab"]
        comparison = compare(*map(Results, sides))
        false += len(comparison.where("cannot tell")) < 40
        assert len(comparison) == 40
    assert false <= 3


def test_identical_metrics_do_not_weaken_the_others(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=UNITS)
    d = rng.normal(0, 1, UNITS)
    shift = x + (d - d.mean()) + 0.36 * d.std()  # p is about 0.006
    one = compare(run(make, {"mean": x}), run(make, {"mean": shift}))
    two = compare(run(make, {"mean": x, "cost": x}), run(make, {"mean": shift, "cost": x}))
    assert one.lines[0].p_holm == two.lines[0].p_holm < 0.05


def test_slices_are_compared_one_by_one(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(UNITS, 2))
    y = x + np.array([0.5, 0.0])
    a = make.rows("mean", make.sums(x), slices=("k=1", "k=2"))
    b = make.rows("mean", make.sums(y), slices=("k=1", "k=2"))
    found = verdicts(compare(Results(a), Results(reversed(b))))
    assert found == {"mean[k=1]": "better", "mean[k=2]": "equal"}


# -- several scoring seeds ------------------------------------------------------------------------


def seeded(make: Any, by_seed: dict[int, np.ndarray], **facts: Any) -> Results:
    """Results of one SAE scored with several seeds."""
    return Results(row for seed, x in by_seed.items() for row in make.rows("mean", make.sums(x), seed=seed, **facts))


def test_seeds_are_one_line_of_means_still_paired(make: Any, rng: np.random.Generator) -> None:
    base = rng.normal(0, 5, UNITS)
    a = {seed: base + rng.normal(0, 0.01, UNITS) for seed in range(3)}
    b = {seed: base + 0.1 + 0.01 * seed + rng.normal(0, 0.01, UNITS) for seed in range(3)}
    (line,) = compare(seeded(make, a), seeded(make, b, sae="b")).lines
    record = line.record()
    assert record["a"] == pytest.approx(np.mean([x.mean() for x in a.values()]))
    assert record["difference"] == pytest.approx(np.mean([b[s].mean() - a[s].mean() for s in range(3)]))
    assert record["verdict"] == "better" and record["method"] == "paired"
    assert "means over 3 seeds (0, 1, 2)" in record["reason"]
    means = [b[s].mean() - a[s].mean() for s in range(3)]
    assert np.std(means, ddof=1) / 3**0.5 < record["stderr"] < 0.02, "not the error of single units, which is 0.6"


def test_a_difference_no_larger_than_the_spread_of_seeds_cannot_be_told(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=UNITS)
    a = dict.fromkeys(range(3), x)
    b = {0: x + 0.3, 1: x - 0.2, 2: x + 0.1}
    (line,) = compare(seeded(make, a), seeded(make, b, sae="b")).lines
    assert line.verdict == "cannot tell"
    assert compare(seeded(make, {0: a[0]}), seeded(make, {0: b[0]}, sae="b")).lines[0].verdict == "better"


def test_a_seed_that_one_side_lacks_is_named(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=UNITS)
    a, b = seeded(make, dict.fromkeys(range(3), x)), seeded(make, dict.fromkeys(range(2), x), sae="b")
    assert sorted(line.verdict for line in compare(a, b).lines) == ["equal", "missing"]
    lost = [
        dataclasses.replace(row, status="error", reason="lost", value=None) for row in seeded(make, {2: x}, sae="b")
    ]
    broken = [*b, *lost]
    (line,) = compare(a, Results(broken)).lines
    assert line.verdict == "missing" and line.reason == "seed 2: error in B: lost"


def test_metrics_without_randomness_stay_exact_over_seeds(make: Any) -> None:
    a, b = ([row for seed in (0, 1) for row in make.rows("shape", make.sums([x]), seed=seed)] for x in (0.5, 0.4))
    (line,) = compare(Results(a), Results(b)).lines
    assert (line.verdict, line.method, line.record()["stderr"]) == ("better", "exact", None)


@pytest.mark.parametrize("spread", [0.0, 0.5, 5.0])
def test_intervals_over_seeds_cover(spread: float, rng: np.random.Generator) -> None:
    """Units give all seeds one error, and each seed gives its own."""
    covered = 0
    for _ in range(2000):
        values = rng.normal() + spread * rng.normal(size=3)
        low, high = OverSeeds.of([Normal(float(v), 1.0) for v in values]).interval()
        covered += low < 0 < high
    assert 0.93 < covered / 2000 < 0.99


# -- rows that are not there, or not alike --------------------------------------------------------


def test_missing_rows_are_listed_with_the_side(make: Any) -> None:
    x = np.arange(9.0)
    a, b = run(make, {"mean": x, "cost": x}), run(make, {"mean": x, "bias": x})
    comparison = compare(a, b)
    reasons = {line.metric: line.reason for line in comparison.where("missing")}
    assert reasons == {"cost": "no row in B", "bias": "no row in A"}
    assert comparison.exit_code == 2


def test_only_rows_of_a_are_missed(make: Any) -> None:
    x = np.arange(9.0)
    assert compare(run(make, {"mean": x}), run(make, {"mean": x, "cost": x})).exit_code == 0


def test_an_error_names_its_reason_for_every_slice(make: Any) -> None:
    a = make.rows("mean", make.sums(np.ones((9, 2))), slices=("k=1", "k=2"))
    failed = dataclasses.replace(
        a[0], sae="b", slice="", slices_total=1, status="error", reason="out of memory", value=None, sums=None
    )
    comparison = compare(Results(a), Results([failed]))
    assert [(line.slice, line.reason) for line in comparison.lines] == [
        ("k=1", "error in B: out of memory"),
        ("k=2", "error in B: out of memory"),
    ]


def test_what_failed_is_not_called_measured_differently(make: Any) -> None:
    a = run(make, {"mean": np.arange(8.0)})
    failed = dataclasses.replace(
        a.rows[0], sae="b", corpus_hash="", status="error", reason="no network", value=None, sums=None
    )
    (line,) = compare(a, Results([failed])).lines
    assert (line.verdict, line.reason) == ("missing", "error in B: no network")


def test_an_undefined_value_is_missing(make: Any) -> None:
    a = Results(make.rows("mean", make.sums(np.ones(9))))
    b = Results(make.rows("mean", make.sums(np.ones(9), 0.0)))
    line = compare(a, b).lines[0]
    assert line.verdict == "missing" and line.reason.startswith("undefined in B")


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("corpus_hash", "c1", "corpus"), ("model_hash", "m1", "model"), ("version", 2, "version"),
        ("context", 32, "context"), ("tokens", 7, "tokens"), ("settings", {"k": 3}, "settings"),
        ("hook_out", "blocks.1.hook_resid_post", "hook_out"), ("dtype", "bfloat16", "dtype"), ("seed", 1, "seed"),
    ],
)  # fmt: skip
def test_what_was_measured_differently_is_not_comparable(make: Any, field: str, value: Any, word: str) -> None:
    a, b = run(make, {"mean": np.ones(9)}), run(make, {"mean": np.ones(9)}, **{field: value})
    line = compare(a, b).lines[0]
    assert line.verdict == "not comparable" and f"measured differently: {word} (" in line.reason
    assert line.record()["difference"] is None
    assert compare(a, b).exit_code == 2


def test_two_corpora_in_each_run_find_each_other(make: Any) -> None:
    def both(shift: float) -> Results:
        rows = make.rows("mean", make.sums(np.arange(9.0) + shift), corpus="wiki", corpus_hash="w")
        return Results(
            [*rows, *make.rows("mean", make.sums(np.arange(9.0) * 2 - shift), corpus="code", corpus_hash="c")]
        )

    assert sorted(line.verdict for line in compare(both(0), both(1)).lines) == ["better", "worse"]


def test_the_precision_of_the_sae_is_its_own_affair(make: Any) -> None:
    a, b = run(make, {"mean": np.ones(9)}), run(make, {"mean": np.ones(9)}, dtype="float32/bfloat16")
    assert verdicts(compare(a, b)) == {"mean": "equal"}


def test_other_units_are_refused_with_the_reason(make: Any) -> None:
    line = compare(run(make, {"mean": np.ones(9)}), run(make, {"mean": np.ones(8)})).lines[0]
    assert line.verdict == "not comparable" and line.held == "missing" and "different units" in line.reason


def test_rows_without_sums_are_compared_as_if_unpaired(make: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=UNITS)
    a, b = (Results(r.without_sums() for r in run(make, {"mean": v}).rows) for v in (x, x + 5))
    line = compare(a, b).lines[0]
    assert (line.verdict, line.method) == ("better", "unpaired") and "no sums" in line.reason
    wide = [r.stderr for r in (*a, *b)]
    assert line.record()["stderr"] == pytest.approx(np.hypot(*wide))


def test_a_metric_that_is_not_installed_is_compared_as_if_unpaired(make: Any, registry: dict[str, Any]) -> None:
    a, b = run(make, {"mean": np.arange(9.0)}), run(make, {"mean": np.arange(9.0) + 20})
    del registry["mean"]
    line = compare(a, b).lines[0]
    assert line.method == "unpaired" and "not installed" in line.reason


def test_rows_of_an_older_version_do_not_use_the_newer_formula(make: Any) -> None:
    a, b = (run(make, {"mean": np.arange(9.0)}, version=7) for _ in "ab")
    assert "version 1 is installed" in compare(a, b).lines[0].reason


# -- which SAE ------------------------------------------------------------------------------------


def several(make: Any, names: str, shift: float = 0.0) -> Results:
    return Results(r for name in names for r in make.rows("mean", make.sums(np.arange(9.0) + shift), sae=name))


def test_same_names_pair(make: Any) -> None:
    comparison = compare(several(make, "xyz"), several(make, "yxw", 1.0))
    assert [(line.sae_a, line.sae_b) for line in comparison.lines] == [("x", "x"), ("y", "y")]
    assert (comparison.only_a, comparison.only_b) == (("z",), ("w",))
    assert comparison.exit_code == 2 and "SAEs missing in B: z" in comparison.text()


def test_names_choose(make: Any) -> None:
    both = several(make, "xy")
    comparison = compare(both, both, sae_a="x", sae_b="y")
    assert [(line.sae_a, line.sae_b) for line in comparison.lines] == [("x", "y")]
    assert comparison.exit_code == 0


def test_names_that_do_not_pair_are_listed(make: Any) -> None:
    with pytest.raises(UserError, match=r"'x', 'y'.*'p', 'q'.*sae_a and sae_b"):
        compare(several(make, "xy"), several(make, "pq"))
    with pytest.raises(UserError, match=r"several SAEs: 'p', 'q'"):
        compare(several(make, "xy"), several(make, "pq"), sae_a="x")
    with pytest.raises(UserError, match="Unknown SAE in the first results"):
        compare(several(make, "xy"), several(make, "xy"), sae_a="xx")


def test_references_take_part_only_by_name(make: Any) -> None:
    extra = make.rows("mean", make.sums(np.arange(9.0)), sae="null:random", role="null")
    a, b = (Results([*several(make, "x").rows, *extra]) for _ in "ab")
    assert len(compare(a, b)) == 1
    assert compare(a, b, sae_a="x", sae_b="null:random").lines[0].sae_b == "null:random"


def test_paths_and_folders_are_read(make: Any, tmp_path: Path) -> None:
    first, second = several(make, "x"), several(make, "x", 1.0)
    first.save(tmp_path / "a")
    second.save(tmp_path / "b.jsonl")
    assert verdicts(compare(tmp_path / "a", str(tmp_path / "b.jsonl"))) == verdicts(compare(first, second))


def test_empty_results_are_refused(make: Any) -> None:
    with pytest.raises(UserError, match="second results hold no rows"):
        compare(several(make, "x"), Results())


# -- reports --------------------------------------------------------------------------------------


@pytest.fixture
def mixed(make: Any, rng: np.random.Generator) -> Comparison:
    x = rng.normal(size=UNITS)
    noise = rng.normal(0, 0.01, UNITS)
    a = run(make, {"mean": x, "cost": x, "trait": x, "shape": [1.0], "bias": x}, sae="a|<b>`")
    b = run(make, {"mean": x + 1 + noise, "cost": x + 1 + noise, "trait": x, "shape": [1.0]}, sae="b\x00")
    return compare(a, b)


def test_text_is_a_table_with_the_verdict_below(mixed: Comparison) -> None:
    text = str(mixed)
    assert text.splitlines()[-2:] == [
        "1 better, 1 worse, 2 equal, 1 missing.",
        "Regression in 1 of 4 held metrics: cost.",
    ]
    assert "exact" in text and "bias: no row in B" in text and "nan" not in text


def test_a_reason_is_said_once(make: Any) -> None:
    a = make.rows("mean", make.sums(np.ones((9, 2))), slices=("k=1", "k=2"))
    text = compare(Results(a), run(make, {"cost": np.ones(9)}, sae="b")).text()
    assert "mean[k=1], mean[k=2]: no row in B" in text


def test_markdown_has_the_verdict_on_top_and_only_what_occurs(mixed: Comparison) -> None:
    lines = mixed.markdown().splitlines()
    assert lines[0] == "### ❌ Regression in 1 of 4 held metrics: cost."
    assert "**Regressions (1)**" in lines and "**Cannot tell" not in mixed.markdown()
    assert lines.index("**Regressions (1)**") < lines.index("**Improvements (1)**")
    tables = [line for line in lines if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {9}
    folded = lines[lines.index(next(line for line in lines if line.startswith("<details>"))) :]
    assert sum(line.startswith("| ") for line in folded) == 2 + len(mixed)
    assert lines[-1] == MARKER


def test_a_comment_says_how_old_the_baseline_is(make: Any) -> None:
    facts = {
        "created": "2026-03-01T12:00:00+00:00",
        "versions": {"saebench": "0.1.0"},
        "git_commit": "0123456789abcdef",
    }
    a = Results(make.rows("mean", make.sums(np.ones(9)), **facts))
    found = compare(a, a)
    said = comment(found, now=datetime(2026, 3, 9, 13, tzinfo=timezone.utc))
    assert "Baseline: measured 8 days ago (2026-03-01) by saebench 0.1.0 at 0123456789." in said
    assert "Baseline" not in comment(dataclasses.replace(found, baseline=None))


def test_a_comment_is_never_longer_than_github_takes(make: Any, rng: np.random.Generator) -> None:
    names = tuple(f"slice={number}" + "x" * 90 for number in range(400))
    x = rng.normal(size=(9, 400))
    a, b = (Results(make.rows("mean", make.sums(x + shift), slices=names)) for shift in (0, -1))
    said = compare(a, b).markdown()
    assert len(said) < 65_000
    assert said.count("<details>") == said.count("</details>") == 1
    assert "too long for a comment" in said
    assert said.startswith("### ❌ Regression in 400 of 400 held metrics: mean[slice=0") and "and 392 more." in said
    assert said.endswith(f"{MARKER}\n")


def test_junit_is_valid_and_counts(mixed: Comparison) -> None:
    suite = ElementTree.fromstring(mixed.junit()).find("testsuite")
    assert suite is not None
    counts = {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "0"}
    assert [c.get("name") for c in suite.findall("testcase") if c.find("failure") is not None] == ["cost"]


def test_html_escapes_names(mixed: Comparison) -> None:
    page = mixed._repr_html_()
    assert "<b>`" not in page and "a|&lt;b&gt;`" in page


def test_frame_has_a_row_a_line(mixed: Comparison) -> None:
    table = mixed.frame()
    assert len(table) == len(mixed) == 5
    assert table.set_index("metric").loc["mean", "verdict"] == "better"
    assert table["difference"].dtype == np.float64
    assert list(Comparison(()).frame().columns) == list(table.columns)
