"""The folder that a board is written into, and the report of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saebench.errors import UserError
from saebench.leaderboard import build, report
from saebench.leaderboard.build import slug
from saebench.results import Results, Row

FILES = {"README.md", "board.md", "board.csv", "trust.csv", "rows.csv", "fronts.csv", "board.tex"}
ONE_FIGURE = {"pareto": [{"y": "loss_recovered"}]}


def test_the_whole_folder(frame: pd.DataFrame, tmp_path: Path) -> None:
    written = build(frame, tmp_path, {"title": "My <board>", "summary": "For *all*.", **ONE_FIGURE})
    stems = ("loss_recovered-by-l0", "loss_recovered-by-l0-column")
    assert set(written) == FILES | {f"figures/{stem}.{kind}" for stem in stems for kind in ("png", "svg", "pdf")}
    assert all(path == tmp_path / name and path.stat().st_size > 100 for name, path in written.items())
    page = written["README.md"].read_text(encoding="utf-8")
    assert page.startswith("# My &lt;board&gt;\n\nFor \\*all\\*.\n")
    assert "![loss recovered by L0](figures/loss_recovered-by-l0.png)" in page
    assert "Hypervolume" in page and "loss recovered at L0 =" in page
    assert "figures/" not in written["board.md"].read_text(encoding="utf-8")
    rows = pd.read_csv(written["rows.csv"])
    assert len(rows) == len(frame) and rows["d_sae"].dtype.kind == "i"
    assert len(pd.read_csv(written["board.csv"])) == frame["sae"].nunique()


def test_a_rebuild_changes_no_byte(small: pd.DataFrame, tmp_path: Path) -> None:
    """In another process, with another hash seed, and from rows in another order."""
    first = build(small, tmp_path / "a", ONE_FIGURE)
    small.iloc[::-1].to_pickle(tmp_path / "rows.pickle")
    script = (
        "import sys, pandas as pd; from saebench.leaderboard import build;"
        "build(pd.read_pickle(sys.argv[1]), sys.argv[2], {'pareto': [{'y': 'loss_recovered'}]})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "SOURCE_DATE_EPOCH": "86400", "TZ": "Asia/Tokyo",
                   "PYTHONPATH": str(Path(__file__).parents[2])}  # fmt: skip
    command = [sys.executable, "-c", script, str(tmp_path / "rows.pickle"), str(tmp_path / "b")]
    subprocess.run(command, check=True, env=environment)
    for name, path in first.items():
        assert path.read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_two_models_have_a_section_and_figures_each(make_row: Any, tmp_path: Path) -> None:
    rows = [
        make_row(sae, m, v, 0.01, model=model)
        for model in ("gpt2", "google/gemma") for sae, l0 in (("a", 5.0), ("b", 60.0))
        for m, v in (("l0", l0), ("loss_recovered", 0.9))
    ]  # fmt: skip
    written = build(pd.DataFrame(rows), tmp_path, ONE_FIGURE)
    assert "figures/gpt2-blocks-2-hook_resid_post-loss_recovered-by-l0.png" in written
    assert "figures/google-gemma-blocks-2-hook_resid_post-loss_recovered-by-l0.svg" in written
    assert written["README.md"].read_text(encoding="utf-8").count("\n## ") == 3


def test_a_lone_sae_is_drawn_only_where_no_section_has_several(make_row: Any, tmp_path: Path) -> None:
    def rows(model: str, *saes: str) -> list[Any]:
        values = (("l0", 5.0), ("loss_recovered", 0.9))
        return [make_row(sae, metric, value, 0.01, model=model) for sae in saes for metric, value in values]

    lone = build(pd.DataFrame(rows("gpt2", "a")), tmp_path / "lone", ONE_FIGURE)
    both = build(pd.DataFrame([*rows("gpt2", "a"), *rows("gemma", "a", "b")]), tmp_path / "both", ONE_FIGURE)
    assert any("figures/" in name for name in lone)
    assert {name.split("-")[0] for name in both if "figures/" in name} == {"figures/gemma"}


def test_nothing_to_draw(make_row: Any, tmp_path: Path) -> None:
    rows = [make_row("a", m, None, status="error", reason="broken") for m in ("l0", "loss_recovered")]
    written = build(pd.DataFrame(rows), tmp_path)
    assert set(written) == FILES
    assert "broken" in written["README.md"].read_text(encoding="utf-8")


def test_names_never_become_paths() -> None:
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("a b\x00c/d") == "a-b-c-d" and slug("///") == "x"


def test_folder_that_cannot_be_written(small: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        build(small, tmp_path / "file", {"pareto": []})
    with pytest.raises(UserError, match="cannot be written"):
        report(small, tmp_path / "file")


def stored(**more: Any) -> Row:
    return Row(**{"model": "m", "hook_out": "h", "corpus": "text", "better": "lower", "seconds": 2.0, "stderr": 0.1,
                  "sae": "a", "metric": "l0", "value": 5.0, "architecture": "topk", "d_sae": 64, **more})  # fmt: skip


def test_from_a_run_folder(tmp_path: Path) -> None:
    warned = stored(sae="b", value=7.0, warnings=["the decoder has 3 zero rows"])
    rows = [stored(), warned, stored(sae="n", role="null")]
    failed = stored(sae="b", metric="mse", value=None, stderr=None, status="error", reason="ran out")
    run = Results([*rows, failed]).save(tmp_path / "run").parent
    written = build(run, tmp_path / "out", {"pareto": []})
    assert pd.read_csv(written["board.csv"])["l0"].tolist() == [5.0, 7.0, 5.0]
    text = report(run)
    for words in ("4 rows: 3 ok, 1 failed, 0 not applicable", "SAEs (2): a, b", "nulls (1): n", "`l0@1`",
                  "the decoder has 3 zero rows (b)", "Together 8.0 s"):  # fmt: skip
        assert words in text, words
    assert "| b   | mse    | error  | ran out |" in text
    assert not (tmp_path / "run" / "figures").exists()


def test_report_with_figures(frame: pd.DataFrame, tmp_path: Path) -> None:
    text = report(frame, tmp_path, {**ONE_FIGURE, "labels": False})
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text
    assert "(figures/loss_recovered-by-l0.png)" in text and (tmp_path / "figures/loss_recovered-by-l0.png").exists()
    assert "out of memory \\| batch 3" in text


def test_report_of_slices_counts_their_seconds_once(make_row: Any) -> None:
    rows = [make_row("a", "probe", 0.5, slice=f"k={k}", seconds=3.0) for k in (1, 2, 5)]
    assert "Together 3.0 s" in report(pd.DataFrame(rows))
