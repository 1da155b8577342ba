r"""Boards as LaTeX: booktabs tables that need only \usepackage{booktabs}."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


PAGE = 397.0
"""Points across which a table may spread: the text of a page of 5.5 inches, as NeurIPS has it."""

CHARACTER, GAP = 4.0, 8.0
"""Points of a character in 8-point type, about, and of the blank beside a column."""


def table_latex(table: Table, board: Board, label: str, signed: str = "") -> str:
    """A section's table, as several where its columns do not fit on a page side by side.

    The caption names model, hook, corpora and the metrics' versions.

    Args:
        table: Made with this module's `PAD`.
        board: The board's definition.
        label: What follows `tab:` in the LaTeX label.
        signed: What stands at the end of the caption, as plain text.
    """
    parts = _parts(table)
    found: list[str] = []
    for number, columns in enumerate(parts):
        whole = _caption(table, board, columns)
        caption = f"{whole} {escape(signed)}".strip() if number == 0 else _continued(table, board, columns)
        caption += f" Part {number + 1} of {len(parts)}." if len(parts) > 1 else ""
        found.append(_part(table, columns, caption, _slug(label) + (f"-{number + 1}" if number else ""), number == 0))
    return "\n".join(found)


def _part(table: Table, columns: Sequence[int], caption: str, label: str, first: bool) -> str:
    """Some columns of a table; the first part tells architecture and width as well."""
    with_width = first and len(table.widths) > 1
    fixed = ["SAE", *(["architecture"] if first else []), *([r"$d_\mathrm{sae}$"] if with_width else [])]
    heads = [table.heads[i] for i in columns]
    lines: list[str] = []
    apart = False
    for line, cells in zip(table.section.lines, table.cells, strict=True):
        if line.role != "sae" and not apart:
            apart = True
            lines += [r"\midrule"] if lines else []
        width = ["--" if line.d_sae is None else str(line.d_sae)] if with_width else []
        row = [
            escape(table.section.name_of(line.sae, line.role)),
            *([escape(line.architecture)] if first else []),
            *width,
        ]
        lines.append("  " + " & ".join([*row, *(_cell(cells[i]) for i in columns)]) + r" \\")
    body = "\n".join(lines)
    cited = {cells[i].note for cells in table.cells for i in columns}
    remarks = [
        rf"  \textsuperscript{{{i}}} {escape(text)}\\" for i, text in enumerate(table.footnotes, 1) if i in cited
    ]
    doubts = [(head.label, doubt) for head in heads for doubt in head.trust.doubts]
    remarks += [rf"  {escape(MARK)} {escape(name)} {escape(doubt)}\\" for name, doubt in doubts]
    notes = "\n".join(remarks)
    notes = f"\n\n  \\smallskip\n  {{\\raggedright\n{notes}\n  }}" if notes else ""
    layout = "l" * (1 + first) + "r" * (with_width + len(heads))
    return "\n".join([
        r"\begin{table*}[t]", r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}", rf"  \caption{{{caption}}}",
        rf"  \label{{tab:{label}}}",
        rf"  \begin{{tabular}}{{{layout}}}", r"\toprule", "  " + " & ".join(fixed + [*map(_header, heads)]) + r" \\",
        r"\midrule", body, r"\bottomrule", r"  \end{tabular}" + notes, r"\end{table*}", "",
    ])  # fmt: skip


def _parts(table: Table) -> list[list[int]]:
    """Indices of the columns of each part, as many as a page has room for."""
    names = max((len(table.section.name_of(line.sae, line.role)) for line in table.section.lines), default=0)
    kinds = max((len(line.architecture) for line in table.section.lines), default=0)
    room = PAGE - CHARACTER * (names + max(kinds, len("architecture")) + 6 * (len(table.widths) > 1)) - 3 * GAP
    parts: list[list[int]] = [[]]
    for i, head in enumerate(table.heads):
        texts = [cells[i].text for cells in table.cells]
        widest = max((len(text.value) + len(text.error) + 3 for text in texts if text), default=0)
        width = CHARACTER * max(widest, *map(len, _two_lines(head.label))) + GAP
        if parts[-1] and width > room:
            parts.append([])
            room = PAGE - CHARACTER * names - GAP
        parts[-1].append(i)
        room -= width
    return parts


def trust_latex(section: Section, label: str) -> str:
    """How far to trust each column of a section; "" where the rows say nothing of it."""
    rows = [_trust_row(row) for row in trust_rows(section)]
    if not rows:
        return ""
    return "\n".join([
        r"\begin{table*}[t]", r"  \centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"  \caption{{How far to trust each column: {escape(section.title)}. {escape(READING)}}}",
        rf"  \label{{tab:{_slug(label)}-trust}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(HEADER) - 2)}}}", r"\toprule",
        "  " + " & ".join(map(escape, HEADER[:-1])) + r" \\", r"\midrule",
        *rows, r"\bottomrule", r"  \end{tabular}", r"\end{table*}", "",
    ])  # fmt: skip


def _trust_row(cells: Sequence[str]) -> str:
    """The numbers of a column, and below them what it can tell."""
    *numbers, says = (escape(cell) or "--" for cell in cells)
    below = rf"  \multicolumn{{{len(numbers)}}}{{l}}{{\quad\emph{{{says}}}}} \\"
    return "  " + " & ".join(numbers) + " \\\\\n" + below


def _header(head: Head) -> str:
    """Label on two lines, direction, and a mark where the column cannot be trusted here."""
    above, below = (escape(text) for text in _two_lines(head.label))
    end = " ".join(part for part in (below, ARROWS[head.better], escape(MARK) if head.trust.doubts else "") if part)
    return rf"\shortstack[r]{{{above}\\{end}}}" if above else end


def _two_lines(label: str) -> tuple[str, str]:
    """A label broken where its longer half is shortest; all in the second line where it is one word.

    >>> _two_lines("mean absorption fraction")
    ('mean absorption', 'fraction')
    """
    words = label.split()
    breaks = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(len(words))]
    return min(breaks, key=lambda two: max(map(len, two)), default=("", label))


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def _caption(table: Table, board: Board, columns: Sequence[int]) -> str:
    beside = {"stderr": r"Values $\pm$ standard error. ", "interval": r"Values with 95\,\% intervals. ", "none": ""}
    below = "Below the rule: nulls and baselines. " if table.section.of_role("null", "baseline") else ""
    return (
        f"{escape(board.title)}: {escape(table.section.title)}. {beside[board.error]}"
        rf"Bold: not significantly worse than the best (Holm, {board.level:g}). {below}{_versions(table, columns)}"
    )


def _continued(table: Table, board: Board, columns: Sequence[int]) -> str:
    return f"{escape(board.title)}: {escape(table.section.title)}, continued. {_versions(table, columns)}"


def _versions(table: Table, columns: Sequence[int]) -> str:
    heads = (table.heads[i] for i in columns)
    named = ", ".join(head.key + ("" if head.version is None else f"@{head.version}") for head in heads)
    return f"Metrics: {escape(named)}."


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
