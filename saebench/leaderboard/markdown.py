"""Boards as Markdown: tables that read well raw and on a code host, with every name escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from saebench.leaderboard.board import Board
from saebench.leaderboard.numbers import Text
from saebench.leaderboard.sections import Head, Section
from saebench.leaderboard.tables import ARROWS, Cell, Table
from saebench.leaderboard.trust import HEADER, MARK, READING, trust_rows

FIGURE_SPACE, PUNCTUATION_SPACE = "\u2007", "\u2008"
PAD = (FIGURE_SPACE, PUNCTUATION_SPACE)
"""Blanks as wide as a digit and as a point, which a renderer does not collapse."""

DASH = "–"


def printable(text: str) -> str:
    """Text on one line, control and direction characters replaced."""
    line = " ".join(str(text).split())
    return "".join("\ufffd" if unicodedata.category(char)[0] == "C" else char for char in line)


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, in a table too.

    >>> escape("<script> a|b *c* d_e")
    '&lt;script&gt; a\\|b \\*c\\* d_e'
    """
    text = re.sub(r"([\\`*\[\]~|$])", r"\\\1", printable(text))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return text.replace("://", "&#58;//").replace("www.", "www&#46;")


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A pipe table with its source lined up; `right` says which columns are numbers."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    widths = [max(width, 3) for width in widths]

    def line(cells: Sequence[str]) -> str:
        filled = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return "| " + " | ".join(filled) + " |"

    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])


def table_markdown(table: Table) -> str:
    """A section's table with its footnotes and what its columns are.

    Nulls and baselines stand below a line of their own, the best group is bold.
    """
    with_width = len(table.widths) > 1
    header = ["SAE", "architecture", *(["d_sae"] if with_width else [])]
    fixed = len(header)
    header += [_header(head) for head in table.heads]
    rows: list[list[str]] = []
    apart = False
    for line, cells in zip(table.section.lines, table.cells, strict=True):
        if line.role != "sae" and not apart:
            apart = True
            rows.append(["*nulls and baselines*"] + [""] * (len(header) - 1))
        width = ["" if line.d_sae is None else str(line.d_sae)] if with_width else []
        rows.append([escape(line.sae), escape(line.architecture), *width, *map(_cell, cells)])
    right = [name == "d_sae" for name in header[:fixed]] + [True] * len(table.heads)
    parts = [grid(header, rows, right)]
    parts += ["\n".join(f"{_raised(i)} {escape(reason)}  " for i, reason in enumerate(table.footnotes, 1)).rstrip()]
    parts += ["\n".join(f"- {note}" for note in column_notes(table))]
    parts += ["\n".join(f"- {escape(note)}" for note in table.section.notes)]
    return "\n\n".join(part for part in parts if part)


def trust_markdown(section: Section) -> str:
    """How far to trust each column of a section; "" where the rows say nothing of it."""
    rows = [[escape(cell) or DASH for cell in row] for row in trust_rows(section)]
    if not rows:
        return ""
    right = [False, *[True] * (len(HEADER) - 2), False]
    return f"### How far to trust each column\n\n{grid(HEADER, rows, right)}\n\n{READING}"


def column_notes(table: Table) -> list[str]:
    """A sentence for each column: metric and version, unit, which way is better, and what to beware of."""
    ways = {"higher": "higher is better", "lower": "lower is better", "one": "best at one", "none": ""}
    notes: list[str] = []
    for head in table.heads:
        signature = head.key + ("" if head.version is None else f"@{head.version}")
        said = "; ".join(part for part in (escape(head.unit), ways[head.better], escape(head.caution)) if part)
        notes.append(f"{escape(head.label)}: `{signature}`" + (f", {said}" if said else ""))
        notes += [f"{MARK} {escape(head.label)} {escape(doubt)}" for doubt in head.trust.doubts]
    return notes


def reading(board: Board) -> str:
    """How to read the tables, in a few sentences."""
    beside = {"stderr": "Values stand with their standard error. ",
              "interval": "Values stand with their 95 % interval. ", "none": ""}  # fmt: skip
    return (
        f"{beside[board.error]}Bold: the best SAE and those that cannot be told apart from it "
        f"(pairwise tests with Holm's correction at {board.level:g}). {DASH} is missing; a raised number gives the "
        "reason. SAEs of different L0 trade sparsity for fidelity: compare them on the fronts, not down a column."
    )


def _header(head: Head) -> str:
    """Label, direction, and a mark where the column cannot be trusted here."""
    parts = (escape(head.label), ARROWS[head.better], MARK if head.trust.doubts else "")
    return " ".join(part for part in parts if part)


def _cell(cell: Cell) -> str:
    if cell.text is None:
        return DASH + (_raised(cell.note) if cell.note else "")
    return _number(cell.text, cell.best)


def _number(text: Text, best: bool) -> str:
    if not text.error.strip():
        joined = text.value + FIGURE_SPACE * 3 * bool(text.error) + text.error
    else:
        joined = text.value + (" " if text.error.startswith("[") else " ± ") + text.error
    # Emphasis must not begin or end with a blank, so the blanks stay outside the stars.
    core = joined.strip("".join(PAD))
    return joined.replace(core, f"**{core}**") if best else joined


def _raised(number: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(number))
