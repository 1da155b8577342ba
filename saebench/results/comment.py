"""A comparison as a comment on a pull request: the verdict first, then what changed, then everything, folded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from saebench.results.comparison import Baseline, Comparison, Line
from saebench.results.report import HEADERS, by_pair, cells, code, escape, headline, lonely, notes, number, summary

MARKER = "<!-- saebench comparison -->"
"""Last line of every comment, by which a later run finds the comment that it replaces."""
MOST = 60_000
"""Most characters of a comment; GitHub takes 65,536."""
UNFOLDED = 12
"""Most lines of a section that stand open."""
_NOTES = 20


def markdown(comparison: Comparison, *, now: datetime | None = None) -> str:
    """Markdown with the verdict on top: regressions, what is missing, improvements, what cannot be told, and all.

    Names cannot break out of their cells. A comment that would be too long for GitHub goes without the full table.
    """
    head = _head(comparison, now or datetime.now(timezone.utc))
    parts = [_pair(pair, lines) for pair, lines in by_pair(comparison.lines)]
    whole = [_folded(f"All metrics of {code(pair[1])}", lines) for pair, lines in by_pair(comparison.lines)]
    text = "\n".join([*head, *(line for part in parts for line in part), *(line for part in whole for line in part)])
    if len(text) > MOST:
        text = "\n".join([*head, *(line for part in parts for line in part)])
        text = _cut(text) + "\n\nThe table of all metrics is too long for a comment: see the files of the run."
    return f"{text.rstrip()}\n\n{MARKER}\n"


def _head(comparison: Comparison, now: datetime) -> list[str]:
    mark = {0: "✅", 1: "❌", 2: "⚠️"}[comparison.exit_code]
    lines = [f"### {mark} {escape(headline(comparison))}", "", summary(comparison), ""]
    if comparison.baseline is not None and (age := _age(comparison.baseline, now)):
        lines += [age, ""]
    return lines + [f"- only in {side}: {escape(', '.join(names))}" for side, names in lonely(comparison)]


def _age(baseline: Baseline, now: datetime) -> str:
    """When the rows of A were made, and by what; "" where they do not say."""
    try:
        made = datetime.fromisoformat(baseline.created)
    except ValueError:
        return ""
    made = made if made.tzinfo else made.replace(tzinfo=timezone.utc)
    days = (now - made).days
    ago = "today" if days < 1 else f"{days} day{'s' * (days > 1)} ago"
    source = " at ".join(part for part in (f"saebench {baseline.version}".strip(), baseline.commit[:10]) if part)
    return f"Baseline: measured {ago} ({made:%Y-%m-%d}) by {escape(source)}."


def _pair(pair: tuple[str, str], lines: Sequence[Line]) -> list[str]:
    parts = [f"A, the baseline: `{code(pair[0])}`. B, the change: `{code(pair[1])}`.", ""]
    chosen = {
        "Regressions": [line for line in lines if line.held == "regression"],
        "Missing": [line for line in lines if line.held == "missing"],
        "Improvements": [line for line in lines if line.verdict == "better" and line.held != "regression"],
        "Cannot tell": [line for line in lines if line.held == "cannot tell"],
    }
    for title, found in chosen.items():
        if len(found) > UNFOLDED:
            parts += _folded(title, found)
        elif found:
            parts += [f"**{title} ({len(found)})**", "", *_table(found), ""]
    told = notes([line for found in chosen.values() for line in found])
    more = [f"- and {len(told) - _NOTES} more notes"] if len(told) > _NOTES else []
    return [*parts, *(f"- {escape(note[:400])}" for note in told[:_NOTES]), *more, ""]


def _folded(title: str, lines: Sequence[Line]) -> list[str]:
    return [f"<details><summary>{escape(title)} ({len(lines)})</summary>", "", *_table(lines), "", "</details>", ""]


def _table(lines: Sequence[Line]) -> list[str]:
    headers = [*HEADERS, "tolerance"]
    rows = [[escape(cell) for cell in (*cells(line), number(line.tolerance))] for line in lines]
    return ["| " + " | ".join(row) + " |" for row in (headers, ["---"] * len(headers), *rows)]


def _cut(text: str) -> str:
    """As many whole lines as fit, with no section left open."""
    if len(text) <= MOST:
        return text
    kept = text[:MOST].rsplit("\n", 1)[0]
    return kept + "\n\n</details>" * (kept.count("<details>") - kept.count("</details>"))
