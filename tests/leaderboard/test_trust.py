"""How far to trust each column: cells, marks and notes, on made-up rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from saebench.cli import cli
from saebench.errors import UserError
from saebench.leaderboard import build, latex, load_board, markdown
from saebench.leaderboard.build import trust_page
from saebench.leaderboard.rows import Score, scores_of, tidy
from saebench.leaderboard.sections import Section, sections
from saebench.leaderboard.tables import make_table
from saebench.leaderboard.trust import Trust, trust_frame, trust_of
from saebench.results import Results, Row

NO_FIGURES = {"pareto": []}


def rows_of(metric: str, values: dict[str, list[float]], null: float | None = None, **facts: Any) -> list[Row]:
    """A row for each SAE and seed, and a null; SAEs stand in their known order, the best first."""
    base: dict[str, Any] = {
        "metric": metric, "model": "tiny", "hook_out": "h", "corpus": "text", "better": "higher",
        "architecture": "topk", "d_sae": 8,
    }  # fmt: skip
    base |= facts
    rows = [
        Row(sae=sae, value=value, stderr=0.01, seed=seed, signature=f"{metric}|{sae}|{seed}",
            order={"damage": place}, **base)
        for place, (sae, found) in enumerate(values.items()) for seed, value in enumerate(found)
    ]  # fmt: skip
    if null is not None:
        rows.append(Row(sae="random-32", role="null", value=null, seed=0, signature=f"{metric}|null", **base))
    return rows


STEADY = rows_of("loss_recovered", {"a": [0.9, 0.9], "b": [0.7, 0.7], "c": [0.6, 0.6], "d": [0.2, 0.2]}, 0.1)
NOISY = rows_of("tpp", {"a": [0.30, 0.50], "b": [0.35, 0.20], "c": [0.32, 0.52], "d": [0.31, 0.30]}, 0.0)
BLIND = rows_of("scr", {"a": [0.4, 0.4], "b": [0.3, 0.3], "c": [0.22, 0.22], "d": [0.1, 0.1]}, 0.6)
ALL = Results([*STEADY, *NOISY, *BLIND])


def section_of(results: Results) -> Section:
    definition = load_board(NO_FIGURES)
    (section,) = sections(scores_of(tidy(results.frame(), definition)), definition)
    return section


def trusts(results: Results) -> dict[str, Trust]:
    return {head.key: head.trust for head in section_of(results).heads}


def test_the_numbers_of_a_column() -> None:
    steady = trusts(ALL)["loss_recovered"]
    assert steady.null == 0.1 and steady.noise == 0 and steady.mdd == 0 and steady.reseeds == 2
    assert steady.mdd_stderr == pytest.approx(1.96 * 2**0.5 * 0.01)
    assert steady.gaps == pytest.approx((0.1 / 0.9, 0.5 / 0.9, 0.6 / 0.9, 0.8 / 0.9))  # its best value is one
    assert steady.spread == pytest.approx(pd.Series([0.9, 0.7, 0.6, 0.2]).std())
    assert (steady.validity, steady.n, steady.p) == (1, 4, pytest.approx(2 / 24))
    assert steady.doubts == ()


def test_a_column_that_the_seed_moves_further_than_the_saes_differ_is_marked_and_ranks_nobody() -> None:
    board, section = load_board(NO_FIGURES), section_of(ALL)
    table = make_table(section, board, None, markdown.PAD)
    text = markdown.table_markdown(table)
    header = text.splitlines()[0]
    assert "TPP ↑ †" in header and "loss recovered ↑ |" in header
    (note,) = [line for line in text.splitlines() if line.startswith("- † TPP")]
    assert "cannot tell these SAEs apart" in note and "2 seeds" in note
    places = {head.key: i for i, head in enumerate(table.heads)}
    best = {key: [row[i].best for row in table.cells] for key, i in places.items()}
    assert not any(best["tpp"]) and any(best["loss_recovered"])
    assert {row[places["tpp"]].group for row in table.cells} == {""}


def test_noise_below_the_spread_is_not_marked() -> None:
    quieter = rows_of("tpp", {"a": [0.90, 0.91], "b": [0.35, 0.34], "c": [0.32, 0.31]}, 0.0)
    trust = trusts(Results(quieter))["tpp"]
    assert 0 < trust.noise < trust.spread and not trust.doubts and not trust.drowned
    one = trusts(Results(rows_of("tpp", {"a": [0.90, 0.91]})))["tpp"]
    assert one.noise > 0 and math.isnan(one.spread) and not one.drowned  # one SAE differs from nobody


@pytest.mark.parametrize("metric", ["scr", "a_metric_of_ones_own"])
def test_a_null_that_nothing_beats_is_marked(metric: str) -> None:
    """With a best value the gap is negative; without one the best SAE is the reference, and it is undefined."""
    values = {"a": [0.4], "b": [0.3], "c": [0.1]}
    trust = trusts(Results(rows_of(metric, values, 0.6)))[metric]
    assert trust.gaps == (pytest.approx((-1.25, -0.75, -0.5)) if metric == "scr" else ())
    assert trust.doubts == ("cannot tell these SAEs from the null, which scores 0.6: none is better",)
    assert not trust.drowned
    assert trusts(Results(rows_of(metric, values, 0.3)))[metric].doubts == ()


def test_what_it_says() -> None:
    assert Trust("none", noise=1.0, spread=0.1).says == "describes: it has no better and worse"
    assert Trust("higher").says == "" and not Trust("higher").known
    assert Trust("higher", mdd=0.3, mdd_stderr=0.1).says == "tells differences above 0.3"
    assert Trust("higher", mdd=0.0, mdd_stderr=0.0, noise=0.0).says == "tells any difference; the seed decides nothing"
    for tau, p, words in ((0.9, 0.01, "sees the"), (-0.9, 0.01, "reverses the"), (0.9, 0.2, "cannot be told")):
        assert words in Trust("higher", validity=tau, p=p, n=6).says


def test_unknown_numbers_stay_unknown() -> None:
    trust = trust_of("higher", [Score(sae="a", metric="m", value=1.0), Score(sae="b", metric="m", status="error")])
    assert not trust.known and math.isnan(trust.spread) and math.isnan(trust.mdd_stderr) and trust.says == ""


def test_rows_without_any_of_it_make_no_table(frame: pd.DataFrame) -> None:
    definition = load_board()
    (section,) = sections(scores_of(tidy(frame, definition)), definition)
    assert markdown.trust_markdown(section) == "" and latex.trust_latex(section, "x") == ""


def test_markdown_has_a_row_a_column() -> None:
    lines = markdown.trust_markdown(section_of(ALL)).splitlines()
    grid = [line for line in lines if line.startswith("|")]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in grid[2:]}
    assert set(cells) == {"loss recovered", "TPP †", "SCR †"}
    assert cells["loss recovered"][:4] == ["0.1", "0.61 (0.11 to 0.89)", "0.29", "0"]
    assert (
        cells["loss recovered"][6] == "+1.00 (p 0.083, n 4)"
        and "the seed decides nothing" in cells["loss recovered"][7]
    )
    assert cells["SCR †"][1] == "-0.85 (-1.25 to -0.50)"


def test_the_folder_holds_it_in_three_forms(tmp_path: Path) -> None:
    written = build(ALL, tmp_path, NO_FIGURES)
    for name in ("README.md", "board.md"):
        assert "### How far to trust each column" in written[name].read_text(encoding="utf-8")
    tex = written["board.tex"].read_text(encoding="utf-8")
    assert tex.count(r"\begin{table*}") == tex.count(r"\end{table*}") == 2
    assert r"TPP $\uparrow$ $\dagger$" in tex and "How far to trust each column" in tex and "√" not in tex
    table = pd.read_csv(written["trust.csv"]).set_index("column")
    assert table.loc["tpp", "noise"] > table.loc["tpp", "spread"] and table.loc[
        "scr", "null_gap_high"
    ] == pytest.approx(-0.5)
    assert len(pd.read_csv(written["rows.csv"])) == 3 * 5  # four SAEs and a null; re-runs show in the noise alone


def test_reruns_are_no_second_value() -> None:
    section = section_of(ALL)
    assert section.notes == () and len(section.of_role("sae")) == 4
    assert next(line for line in section.lines if line.sae == "a").scores["tpp"].value == 0.30
    assert list(ALL.board()["tpp"].dropna()) == [0.30, 0.35, 0.32, 0.31, 0.0]


def test_the_frame_has_a_row_a_column() -> None:
    table = trust_frame([section_of(ALL)])
    assert list(table["column"]) == [head.key for head in section_of(ALL).heads]
    assert table["reseeds"].tolist() == [2, 2, 2] and table["validity_n"].tolist() == [4, 4, 4]


def test_the_page_holds_every_metric_of_a_run(tmp_path: Path) -> None:
    odd = rows_of("a_metric_of_ones_own", {"a": [1.0, 2.0], "b": [0.5, 0.7]})
    Results([*ALL, *odd]).save(tmp_path / "run")
    out = tmp_path / "docs" / "trust.md"
    result = CliRunner().invoke(cli, ["leaderboard", "trust", str(tmp_path / "run"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# What each metric can and cannot tell") and "SAEs: a, b, c, d." in text
    assert all(name in text for name in ("a metric of ones own", "TPP †", "SCR †", "loss recovered"))


def test_a_run_that_says_nothing_of_trust_makes_no_page() -> None:
    silent = [Row(sae="a", metric="l0", value=1.0, model="m", hook_out="h", signature="s", better="lower")]
    with pytest.raises(UserError, match="saebench run trust"):
        trust_page(Results(silent))
