"""Results as a collection, and as frames, boards, Parquet and HTML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saebench.errors import UserError
from saebench.results import Results

CONTRACT = [
    "sae", "metric", "slice", "value", "stderr", "ci_low", "ci_high", "n", "null", "baseline", "status",
    "signature", "seconds",
]  # fmt: skip


@pytest.fixture
def results(make: Any) -> Results:
    x = np.arange(8.0)
    rows = [
        *make.rows("mean", make.sums(x), sae="one"),
        *make.rows(
            "mean", make.sums(np.stack([x, x + 1], 1)), slices=("k=1", "k=2"), sae="one", settings={"k": [1, 2]}
        ),
        *make.rows("cost", make.sums(x + 2), sae="one"),
        *make.rows("cost", make.sums(x + 3), sae="two", architecture="relu"),
        *make.rows("cost", make.sums(x + 30), sae="null:random-32", role="null", seed=4),
        *make.rows("cost", make.sums(x + 20), sae="null:shuffled", role="null"),
        *make.rows("cost", make.sums(x + 5), sae="baseline:pca-32", role="baseline", sae_ref="baseline:pca-32"),
        *make.rows("cost", make.sums(x * 0), sae="baseline:identity", role="baseline", sae_ref="baseline:identity"),
    ]
    failed = dataclasses.replace(
        rows[0], metric="trait", signature="t", status="error", reason="no such thing", value=None
    )
    return Results([*rows, failed])


def test_frame_has_the_contract_columns(results: Results) -> None:
    table = results.frame()
    assert len(table) == len(results) == 10
    assert set(CONTRACT) <= set(table.columns)
    assert table["value"].dtype == np.float64 and table["n"].dtype == pd.Int64Dtype()


def test_frame_sets_the_strongest_null_and_baseline_beside_each_value(results: Results) -> None:
    table = results.frame().set_index(["sae", "metric"]).sort_index()
    line = table.loc[("one", "cost")]
    assert (line["null"], line["null_sae"]) == (23.5, "null:shuffled")
    assert (line["baseline"], line["baseline_sae"]) == (8.5, "baseline:pca-32")
    assert table.loc[("one", "mean")]["null"].isna().all()


def test_identity_is_the_baseline_where_there_is_no_other(make: Any) -> None:
    x = np.arange(8.0)
    rows = make.rows("cost", make.sums(x)) + make.rows(
        "cost", make.sums(x * 0), sae="baseline:identity", role="baseline", sae_ref="baseline:identity"
    )
    assert Results(rows).frame()["baseline"].iloc[0] == 0


def test_references_of_another_corpus_stay_apart(make: Any) -> None:
    x = np.arange(8.0)
    rows = make.rows("cost", make.sums(x)) + make.rows("cost", make.sums(x), sae="n", role="null", corpus_hash="other")
    assert np.isnan(Results(rows).frame()["null"].iloc[0])


def test_board_is_one_row_an_sae(results: Results) -> None:
    table = results.board()
    assert list(table.index) == [
        "one",
        "two",
        "baseline:pca-32",
        "baseline:identity",
        "null:random-32",
        "null:shuffled",
    ]
    assert table.loc["one", "mean[k=2]"] == 4.5 and table.loc["two", "cost"] == 6.5
    assert np.isnan(table.loc["two", "mean"])
    assert "mean[k=1]" not in results.board(slices=False).columns


def test_board_tells_settings_apart_where_they_collide(make: Any) -> None:
    x = np.arange(4.0)
    rows = [r for k in (1, 2) for r in make.rows("mean", make.sums(x * k), settings={"k": k})]
    columns = [c for c in Results(rows).board().columns if c.startswith("mean")]
    assert len(columns) == 2 and all('"k"' in c for c in columns)


def test_saved_and_loaded(results: Results, tmp_path: Path) -> None:
    file = results.save(tmp_path / "run")
    again = Results.load(tmp_path / "run")
    assert again.rows == results.rows and Results.load(file).rows == results.rows
    assert all((a.sums is None) == (b.sums is None) for a, b in zip(again, results, strict=True))
    size = file.stat().st_size
    results.save(tmp_path / "run")
    assert file.stat().st_size == size


def test_filter_and_errors(results: Results) -> None:
    assert len(results.filter(metric="cost", role=["sae", "null"])) == 4
    assert [row.reason for row in results.errors()] == ["no such thing"]
    assert results.saes == ("one", "two")
    with pytest.raises(UserError, match="Did you mean 'metric'"):
        results.filter(metrics="cost")


def test_parquet_holds_the_rows(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    results.to_parquet(file)
    table = pd.read_parquet(file)
    assert len(table) == len(results) and "sums" not in table.columns
    assert table["value"].isna().sum() == 1
    with pytest.raises(UserError, match="Cannot write"):
        results.to_parquet(tmp_path / "nowhere" / "rows.parquet")


def test_html_shows_values_with_errors_and_escapes(results: Results, make: Any) -> None:
    page = (results + Results(make.rows("cost", make.sums([1.0, 2.0]), sae="<script>")))._repr_html_()
    assert "5.5 ± 0.8" in page and "1 failed" in page
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_nothing_can_be_shown_too(tmp_path: Path) -> None:
    empty = Results()
    assert len(empty.frame()) == len(empty.board()) == 0
    assert "<table" in empty._repr_html_() and repr(empty).startswith("<Results: 0 rows")
    empty.to_parquet(tmp_path / "e.parquet")
    empty.save(tmp_path)
    assert not (tmp_path / "rows.jsonl").exists()
