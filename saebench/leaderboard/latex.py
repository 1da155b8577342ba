r"""Boards as LaTeX: booktabs tables that need only \usepackage{booktabs}."""

from __future__ import annotations

import re

from saebench.leaderboard.board import Board
from saebench.leaderboard.markdown import printable
from saebench.leaderboard.numbers import Text
from saebench.leaderboard.sections import Head, Section
from saebench.leaderboard.tables import Cell, Table
from saebench.leaderboard.trust import HEADER, MARK, READING, trust_rows

PAD = ("~", "!")
"""Stand-ins for the blanks, turned into phantoms of a digit and of a point."""

ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "one": r"$\rightarrow\!1$", "none": ""}

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "[": "{[}", "]": "{]}", "*": "{*}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "·": r"$\cdot$", "²": r"$^2$", "\ufffd": "?", "→": r"$\rightarrow$",
    "±": r"$\pm$", "√": r"$\surd$", "†": r"$\dagger$", "×": r"$\times$", "–": "--", "—": "---",
}  # fmt: skip


def escape(text: str) -> str:
    r"""Text that LaTeX shows as it is.

    >>> escape("50% of a_b")
    '50\\% of a\\_b'
    """
    return "".join(SPECIAL.get(char, char) for char in printable(text))


def table_latex(table: Table, board: Board, label: str) -> str:
    """A section's table; its caption names model, hook, corpora and the metrics' versions.

    Args:
        table: Made with this module's `PAD`.
        board: The board's definition.
        label: What follows `tab:` in the LaTeX label.
    """
    with_width = len(table.widths) > 1
    fixed = ["SAE", "architecture", *([r"$d_\mathrm{sae}$"] if with_width else [])]
    heads = [_header(head) for head in table.heads]
    lines: list[str] = []
    apart = False
    for line, cells in zip(table.section.lines, table.cells, strict=True):
        if line.role != "sae" and not apart:
            apart = True
            lines += [r"\midrule"] if lines else []
        width = ["--" if line.d_sae is None else str(line.d_sae)] if with_width else []
        row = [escape(line.sae), escape(line.architecture), *width, *map(_cell, cells)]
        lines.append("  " + " & ".join(row) + r" \\")
    body = "\n".join(lines)
    remarks = [rf"  \textsuperscript{{{i}}} {escape(reason)}\\" for i, reason in enumerate(table.footnotes, 1)]
    doubts = [(head.label, doubt) for head in table.heads for doubt in head.trust.doubts]
    remarks += [rf"  {escape(MARK)} {escape(label)} {escape(doubt)}\\" for label, doubt in doubts]
    notes = "\n".join(remarks)
    notes = f"\n\n  \\smallskip\n  {{\\footnotesize\\raggedright\n{notes}\n  }}" if notes else ""
    layout = "ll" + "r" * (with_width + len(heads))
    return "\n".join([
        r"\begin{table}[t]", r"  \centering\small", rf"  \caption{{{_caption(table, board)}}}",
        rf"  \label{{tab:{_slug(label)}}}",
        rf"  \begin{{tabular}}{{{layout}}}", r"\toprule", "  " + " & ".join(fixed + heads) + r" \\", r"\midrule",
        body, r"\bottomrule", r"  \end{tabular}" + notes, r"\end{table}", "",
    ])  # fmt: skip


def trust_latex(section: Section, label: str) -> str:
    """How far to trust each column of a section; "" where the rows say nothing of it."""
    rows = ["  " + " & ".join(escape(cell) or "--" for cell in row) + r" \\" for row in trust_rows(section)]
    if not rows:
        return ""
    return "\n".join([
        r"\begin{table}[t]", r"  \centering\small",
        rf"  \caption{{How far to trust each column: {escape(section.title)}. {escape(READING)}}}",
        rf"  \label{{tab:{_slug(label)}-trust}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(HEADER) - 2)}p{{0.3\textwidth}}}}", r"\toprule",
        "  " + " & ".join(map(escape, HEADER)) + r" \\", r"\midrule",
        *rows, r"\bottomrule", r"  \end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _header(head: Head) -> str:
    """Label, direction, and a mark where the column cannot be trusted here."""
    parts = (escape(head.label), ARROWS[head.better], escape(MARK) if head.trust.doubts else "")
    return " ".join(part for part in parts if part)


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def _caption(table: Table, board: Board) -> str:
    beside = {"stderr": r"Values $\pm$ standard error. ", "interval": r"Values with 95\,\% intervals. ", "none": ""}
    versions = ", ".join(head.key + ("" if head.version is None else f"@{head.version}") for head in table.heads)
    below = "Below the rule: nulls and baselines. " if table.section.of_role("null", "baseline") else ""
    return (
        f"{escape(board.title)}: {escape(table.section.title)}. {beside[board.error]}"
        rf"Bold: not significantly worse than the best (Holm, {board.level:g}). {below}"
        rf"Metrics: {escape(versions)}."
    )


def _cell(cell: Cell) -> str:
    if cell.text is None:
        return "--" + (rf"\textsuperscript{{{cell.note}}}" if cell.note else "")
    return _number(cell.text, cell.best)


def _number(text: Text, best: bool) -> str:
    core = text.value.strip("".join(PAD))
    value = text.value.replace(core, rf"\mathbf{{{_times(core)}}}" if best else _times(core))
    if not text.error.strip("".join(PAD)):
        blank = rf"\phantom{{{{}}\pm {_width(text.error)}}}" if text.error else ""
        return f"${_phantoms(value)}{blank}$"
    if text.error.startswith("["):
        return f"${_phantoms(value)}$ ${text.error}$"
    return rf"${_phantoms(value)} \pm {_phantoms(text.error)}$"


def _times(number: str) -> str:
    mantissa, e, exponent = number.partition("e")
    return rf"{mantissa}\times 10^{{{int(exponent)}}}" if e else number


def _phantoms(text: str) -> str:
    return re.sub(r"[~!]+", lambda blanks: rf"\phantom{{{_width(blanks[0])}}}", text)


def _width(blanks: str) -> str:
    return blanks.replace("~", "0").replace("!", ".")
