"""Tables as Markdown, LaTeX and frames, against goldens written by hand; escaping."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from saebench.leaderboard import latex, load_board, markdown
from saebench.leaderboard.rows import scores_of, tidy
from saebench.leaderboard.sections import sections
from saebench.leaderboard.tables import Table, make_table, wide


def table_of(frame: pd.DataFrame, pad: tuple[str, str], **board: Any) -> Table:
    definition = load_board(board)
    (section,) = sections(scores_of(tidy(frame, definition)), definition)
    return make_table(section, definition, None, pad)


def test_markdown(small: pd.DataFrame) -> None:
    text = markdown.table_markdown(table_of(small, markdown.PAD))
    grid, notes, columns = text.split("\n\n")
    lines = grid.replace("\\|", "¦").splitlines()
    cells = [[" ".join(cell.split()) for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["SAE", "architecture", "L0 ↓", "loss recovered ↑"]
    assert [cell.strip("-") for cell in cells[1]] == ["", "", ":", ":"]
    assert cells[2:] == [
        ["&lt;script&gt;", "gated", "120.2 ± 1.3", "**0.961 ± 0.012**"],
        ["plain_one", "jumprelu", "30.00", "–¹"],
        ["a¦b", "topk", "**8.00 ± 0.04**", "0.9012 ± 0.0004"],
        ["*nulls and baselines*", "", "", ""],
        ["random-32", "random", "–", "-0.25 ± 0.02"],
    ]
    assert notes == r"¹ 50% \_luck\_"
    assert columns.splitlines() == [
        "- L0: `l0@1`, latents a token; lower is better",
        "- loss recovered: `loss_recovered@1`, share of loss; higher is better",
    ]


def test_markdown_source_lines_up(frame: pd.DataFrame) -> None:
    """Every line is as wide as the first, and a column's numbers have their points and signs in one place."""
    grid = markdown.table_markdown(table_of(frame, markdown.PAD)).split("\n\n")[0].splitlines()
    assert len({len(line) for line in grid}) == 1
    plain = [line for line in grid[2:] if "–" not in line and not any(w in line for w in ("**", "nulls", "identity"))]
    assert len({tuple(i for i, char in enumerate(line) if char in "±") for line in plain}) == 1


LATEX = r"""\begin{table*}[t]
  \centering\footnotesize\setlength{\tabcolsep}{4pt}
  \caption{Ours \& theirs: world $\cdot$ blocks.2.hook\_resid\_post $\cdot$ text. Values $\pm$ standard error. Bold: not significantly worse than the best (Holm, 0.05). Below the rule: nulls and baselines. Metrics: l0@1, loss\_recovered@1.}
  \label{tab:x-1}
  \begin{tabular}{llrr}
\toprule
  SAE & architecture & L0 $\downarrow$ & \shortstack[r]{loss\\recovered $\uparrow$} \\
\midrule
  \textless{}script\textgreater{} & gated & $120.2\phantom{0} \pm 1.3\phantom{0}$ & $\phantom{0}\mathbf{0.961}\phantom{0} \pm 0.012\phantom{0}$ \\
  plain\_one & jumprelu & $\phantom{0}30.00\phantom{{}\pm 0.00}$ & --\textsuperscript{1} \\
  a\textbar{}b & topk & $\phantom{00}\mathbf{8.00} \pm 0.04$ & $\phantom{0}0.9012 \pm 0.0004$ \\
\midrule
  random-32 & random & -- & $-0.25\phantom{00} \pm 0.02\phantom{00}$ \\
\bottomrule
  \end{tabular}

  \smallskip
  {\raggedright
  \textsuperscript{1} 50\% \_luck\_\\
  }
\end{table*}
"""  # noqa: E501


def test_latex(small: pd.DataFrame) -> None:
    board = load_board({"title": "Ours & theirs"})
    assert latex.table_latex(table_of(small, latex.PAD), board, "X 1") == LATEX


def test_a_wide_table_is_set_in_parts_that_fit_a_page(frame: pd.DataFrame) -> None:
    board = load_board({"columns": ["l0", "loss_recovered", "ce_delta", "explained_variance", "cosine_similarity"]})
    table = table_of(frame, latex.PAD, columns=board.columns, pareto=())
    parts = latex.table_latex(table, board, "x")
    captions = re.findall(r"Metrics: (.*?)\. (.*?)Part (\d) of (\d)\.", parts)
    shown = [name for names, *_ in captions for name in re.findall(r"(\w+)@", names.replace("\\_", "_"))]
    assert shown == [column.metric for column in board.columns or ()] and len(captions) == int(captions[0][3]) > 1
    assert re.findall(r"label\{(.*?)\}", parts) == ["tab:x", *(f"tab:x-{i + 2}" for i in range(len(captions) - 1))]
    assert parts.count("jumprelu-l0_8 ".replace("_", r"\_")) == len(captions)


def test_intervals(small: pd.DataFrame) -> None:
    table = table_of(small, markdown.PAD, error="interval")
    assert "0.9012 [0.9004, 0.9020]" in markdown.table_markdown(table)
    text = latex.table_latex(table_of(small, latex.PAD, error="interval"), load_board({"error": "interval"}), "x")
    assert r"0.9012$ $[0.9004, 0.9020]$" in text and r"95\,\% intervals" in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("*bold* `code` [x](y) $m$ ~s~", r"\*bold\* \`code\` \[x\](y) \$m\$ \~s\~"),
        ("topk_l0_32", "topk_l0_32"),
        ("_x_", r"\_x\_"),
        ("a\nb\tc", "a b c"),
        ("back\\slash|", r"back\\slash\|"),
        ("hf:o/r@main", "hf:o/r&#64;main"),
        ("https://x.org & www.y.org", "https&#58;//x.org &amp; www&#46;y.org"),
        ("right\u202eleft\x00", "right\ufffdleft\ufffd"),
    ],
)
def test_markdown_escapes(name: str, shown: str) -> None:
    assert markdown.escape(name) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"a\b", r"a\textbackslash{}b"),
        ("50% & $x_1^2$ #~{}", r"50\% \& \$x\_1\textasciicircum{}2\$ \#\textasciitilde{}\{\}"),
        ("[x] *", "{[}x{]} {*}"),  # else \\ of the row before would take it as its argument
        ("R² → <1>", r"R$^2$ $\rightarrow$ \textless{}1\textgreater{}"),
    ],
)
def test_latex_escapes(name: str, shown: str) -> None:
    assert latex.escape(name) == shown


def test_wide_frame(small: pd.DataFrame) -> None:
    board = load_board()
    found = wide(sections(scores_of(tidy(small)), board), board).set_index("sae")
    assert list(found.columns) == [
        "model", "hook_out", "corpus", "role", "architecture", "d_sae",
        "l0", "l0_stderr", "l0_group", "loss_recovered", "loss_recovered_stderr", "loss_recovered_group",
    ]  # fmt: skip
    assert found.loc["a|b", "loss_recovered"] == 0.9012
    assert found["l0_group"].to_dict() == {"<script>": "c", "plain_one": "b", "a|b": "a", "random-32": ""}
    assert pd.isna(found.loc["plain_one", "loss_recovered"]) and pd.isna(found.loc["random-32", "l0"])


def test_single_sae_is_not_bold(make_row: Any) -> None:
    table = table_of(pd.DataFrame([make_row("one", "l0", 8.0, 0.1)]), ("", ""))
    assert "**" not in markdown.table_markdown(table)


def test_a_metric_without_direction_has_no_best(make_row: Any) -> None:
    rows = [make_row(sae, "uniformity", v, 0.001) for sae, v in (("a", 0.1), ("b", 0.9))]
    text = markdown.table_markdown(table_of(pd.DataFrame(rows), ("", ""), columns=["uniformity"]))
    assert "**" not in text and "uniformity |" in text.splitlines()[0]


def test_all_rows_failed(make_row: Any) -> None:
    rows = [make_row(sae, "l0", None, status="error", reason=f"why {sae}") for sae in "ab"]
    table = table_of(pd.DataFrame(rows), latex.PAD)
    text = markdown.table_markdown(table)
    assert "–¹" in text and "–²" in text and "² why b" in text
    assert r"--\textsuperscript{2}" in latex.table_latex(table, load_board(), "x")


def test_widths_are_a_column_where_they_differ(make_row: Any) -> None:
    rows = [make_row("a", "l0", 8.0, 0.1), make_row("b", "l0", 9.0, 0.1, d_sae=1536)]
    assert "| d_sae |" in markdown.table_markdown(table_of(pd.DataFrame(rows), ("", "")))
