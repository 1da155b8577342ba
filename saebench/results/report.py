"""Comparisons and boards as plain text and HTML, and the words that all their forms share."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from saebench.results.comparison import Comparison, Line
from saebench.results.frame import BOARD_INDEX, board
from saebench.results.reruns import reruns
from saebench.results.row import Row

HEADERS = ("metric", "A", "B", "B - A", "95 % interval", "p (Holm)", "verdict")
OUTCOMES = ("better", "worse", "differs", "equal", "cannot tell", "not comparable", "missing")
_NAMED = 8
"""Most regressions that the headline names, and lines that a note does."""
_UNHELD = 12
"""Most lines that stand in a plain table though one side lacks them and no gate holds them."""
HELD = ("regression", "missing", "cannot tell", "pass")


def number(value: float | None) -> str:
    """Four significant digits, or a dash for what is missing."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"


def summary(comparison: Comparison) -> str:
    """One sentence: how many lines have which verdict."""
    counts = [f"{count} {name}" for name in OUTCOMES if (count := len(comparison.where(name)))]
    return ", ".join(counts) + "." if counts else "Nothing to compare."


def headline(comparison: Comparison) -> str:
    """One sentence: what the gate says."""
    held = {name: len(comparison.held(name)) for name in HELD}
    count = sum(held.values())
    told = f"{count} held metric{'s' * (count != 1)}"
    if held["regression"]:
        names = [_name(line) for line in comparison.held("regression")]
        return f"Regression in {held['regression']} of {told}: {_listed(names)}."
    if comparison.exit_code == 2:
        parts = [f"{held[name]} {name}" for name in ("missing", "cannot tell") if held[name]]
        parts += [f"SAEs missing in B: {', '.join(comparison.only_a)}"] if comparison.only_a else []
        return f"Not passed, of {told}: {'; '.join(parts)}."
    unsure = f"; {held['cannot tell']} too noisy to tell" if held["cannot tell"] else ""
    return f"No regression in {told}{unsure}."


def text(comparison: Comparison) -> str:
    """Plain table for a terminal, one for each pair of SAEs."""
    parts: list[str] = []
    for pair, lines in by_pair(comparison.lines):
        parts.append(f"A: {pair[0]}\nB: {pair[1]}\n")
        lacked = [line for line in lines if line.verdict == "missing" and not line.held]
        hidden = {id(line) for line in lacked} if len(lacked) > _UNHELD else set()
        rows = [HEADERS, *(cells(line) for line in lines if id(line) not in hidden)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADERS))]
        parts += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        parts += [f"  {len(hidden)} lines that one side lacks and no gate holds are left out"] if hidden else []
        parts += [f"  {note}" for note in notes(lines)]
        parts.append("")
    parts += [f"only in {side}: {', '.join(names)}" for side, names in lonely(comparison)]
    return "\n".join([*parts, summary(comparison), headline(comparison)])


def comparison_html(comparison: Comparison) -> str:
    """HTML tables for a notebook."""
    parts = [f"<p><b>{html.escape(headline(comparison))}</b> {html.escape(summary(comparison))}</p>"]
    for pair, lines in by_pair(comparison.lines):
        parts.append(f"<p>A: <code>{html.escape(pair[0])}</code>, B: <code>{html.escape(pair[1])}</code></p>")
        parts.append(_table_html(HEADERS, [cells(line) for line in lines], [line.reason for line in lines]))
    return "\n".join(parts)


def board_html(rows: Sequence[Row]) -> str:
    """The board with standard errors as an HTML table, for a notebook; slices are left out."""
    rows = [row for row, again in zip(rows, reruns(rows), strict=True) if not again]
    scalars = [row for row in rows if row.slice == ""]
    errors = {(row.sae, row.metric): row.stderr for row in scalars if row.stderr is not None}
    table = board(scalars)
    hidden = [name for name in BOARD_INDEX if name in table.columns and table[name].nunique(dropna=False) <= 1]
    table = table.drop(columns=hidden)
    lines = []
    for record in table.reset_index().to_dict("records"):
        sae = str(record["sae"])
        lines.append([_value(record[name], errors.get((sae, str(name)))) for name in record])
    failed = sum(row.status == "error" for row in rows)
    more = len(rows) - len(scalars)
    notes = [f"{failed} failed (see .errors())"] * bool(failed) + [f"{more} rows of slices (see .frame())"] * bool(more)
    body = _table_html(["sae", *map(str, table.columns)], lines, [""] * len(lines))
    return body + (f"<p>{html.escape('; '.join(notes))}</p>" if notes else "")


def _value(value: object, stderr: float | None) -> str:
    if not isinstance(value, float):
        return "-" if value is None or type(value).__name__ == "NAType" else str(value)
    return number(value) + (f" ± {stderr:.1g}" if stderr is not None else "")


def _table_html(headers: Iterable[str], rows: Iterable[Sequence[str]], titles: Iterable[str]) -> str:
    """A table that scrolls in itself where it is wide; names left, numbers right."""
    head = "".join(f"<th{_left(i)}>{html.escape(name)}</th>" for i, name in enumerate(headers))
    body = "".join(
        (f'<tr title="{html.escape(title, quote=True)}">' if title else "<tr>")
        + "".join(f"<td{_left(i)}>{html.escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row, title in zip(rows, titles, strict=True)
    )
    table = f'<table style="white-space: nowrap; text-align: right"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
    return f'<div style="overflow-x: auto">{table}</table></div>'


def _left(column: int) -> str:
    return "" if column else ' style="text-align: left"'


def cells(line: Line) -> tuple[str, ...]:
    """The line under `HEADERS`."""
    record = line.record()
    bounds = [number(record[name]) for name in ("ci_low", "ci_high")]
    interval = "exact" if line.method == "exact" else "-" if "-" in bounds else f"[{bounds[0]}, {bounds[1]}]"
    numbers = (number(line.a), number(line.b), number(record["difference"]))
    return (_name(line), *numbers, interval, number(line.p_holm), line.verdict)


def _name(line: Line) -> str:
    return line.metric + (f"[{line.slice}]" if line.slice else "")


def notes(lines: Iterable[Line]) -> list[str]:
    """The reasons of the lines, each once with the lines that it is about."""
    about: dict[str, list[str]] = {}
    for line in lines:
        if line.reason:
            about.setdefault(line.reason, []).append(_name(line))
    return [f"{_listed(names)}: {reason}" for reason, names in about.items()]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def by_pair(lines: Iterable[Line]) -> list[tuple[tuple[str, str], list[Line]]]:
    """The lines of each pair of SAEs."""
    pairs: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        pairs.setdefault((line.sae_a, line.sae_b), []).append(line)
    return list(pairs.items())


def lonely(comparison: Comparison) -> list[tuple[str, tuple[str, ...]]]:
    """The side and names of SAEs that the other side lacks."""
    return [(side, names) for side, names in (("A", comparison.only_a), ("B", comparison.only_b)) if names]


def escape(cell: str) -> str:
    """A cell that no name can break out of."""
    return html.escape(" ".join(cell.split()), quote=False).replace("|", "\\|").replace("`", "\\`")


def code(name: str) -> str:
    """A name that stands between backticks."""
    return " ".join(name.split()).replace("`", "'")
