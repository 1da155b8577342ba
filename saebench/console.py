"""What the command shows: a run's progress, tables, and errors as one sentence."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from saebench.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from saebench.engine.plan import Plan
    from saebench.results import Row

_SHOWN = 4
"""Metrics of a SAE that its line shows."""


def console() -> Console:
    """The terminal, or plain text where there is none."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print an aligned table: rich on a terminal, plain columns elsewhere."""
    rows = [list(map(str, row)) for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in [header, *rows]:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write(line.rstrip() + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console().print(drawn)


def markdown(text: str) -> None:
    """Print Markdown: drawn on a terminal; elsewhere as it is, without the escapes that only a forge needs."""
    if not sys.stdout.isatty():
        sys.stdout.write(readable(text) + "\n")
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))


def readable(text: str) -> str:
    r"""Markdown without the escapes that keep a forge from making links and mentions; columns stay lined up.

    >>> readable(r"| topk&#64;v2\[:16\] |")
    '| topk@v2[:16]       |'
    """

    def plain(cell: re.Match[str]) -> str:
        said = re.sub(r"&#\d+;", lambda entity: html.unescape(entity[0]), re.sub(r"\\([\[\]_])", r"\1", cell[0]))
        return said + " " * (len(cell[0]) - len(said)) if cell.end() < len(text) and text[cell.end()] == "|" else said

    return re.sub(r"(?:[^|\n\\]|\\.)+", plain, text)


def number(row: Row) -> str:
    """A row's value with its standard error, to two digits of the error."""
    if row.status != "ok" or row.value is None:
        return row.status if row.status != "ok" else "undefined"
    if not row.stderr:
        return f"{row.value:.4g}"
    from math import floor, log10

    digits = max(0, 1 - floor(log10(row.stderr)))
    return f"{row.value:.{digits}f} +- {row.stderr:.{digits}f}"


class PlainProgress(Progress):
    """One line an event, for logs."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._failures: set[tuple[str, str]] = set()

    def planned(self, plan: Plan) -> None:
        """Say what will run."""
        cached = len({row.signature for row in plan.cached})
        _line(f"plan    suite {plan.suite.name} on {plan.model.name}: {len(plan.cells)} to run, {cached} cached")
        for failure in plan.failures:
            self._failures.add((failure.name, failure.reason))
            _line(f"failed  {failure.name}: {failure.reason}")

    def advanced(self, data: str, share: float) -> None:
        """Say each tenth of a pass."""
        tenth = int(share * 10)
        if tenth > self._told.get(data, 0):
            self._told[data] = tenth
            _line(f"running {data}: {tenth * 10} %")

    def finished(self, rows: Sequence[Row]) -> None:
        """Say a SAE's numbers, and each reason why any is missing, once."""
        if any(row.status != "error" for row in rows):
            _line(f"done    {rows[0].sae}: {_headline(rows)}")
        failed: dict[str, dict[str, None]] = {}
        for row in rows:
            if row.status == "error" and (row.sae, row.reason) not in self._failures:
                failed.setdefault(row.reason or "", {})[row.metric] = None
        for reason, metrics in failed.items():
            more = f" (+{len(metrics) - _SHOWN} more)" if len(metrics) > _SHOWN else ""
            _line(f"failed  {rows[0].sae} {', '.join([*metrics][:_SHOWN])}{more}: {reason}")
        for warning in _of_the_sae(rows):
            _line(f"warning {rows[0].sae}: {warning}")

    def judged(self, name: str, account: str) -> None:
        """Say what the judge cost."""
        _line(f"judge   {name}: {account}")


class LiveProgress(Progress):
    """The whole plan on a terminal: one line a SAE, redrawn while it runs."""

    def __init__(self) -> None:
        from rich.live import Live

        self._states: dict[str, tuple[str, str]] = {}
        self._share: dict[str, float] = {}
        self._live = Live(console=console(), refresh_per_second=8)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def planned(self, plan: Plan) -> None:
        """Show every SAE as cached or waiting."""
        for failure in plan.failures:
            self._states[failure.name] = ("failed", failure.reason)
        for row in plan.cached:
            self._states.setdefault(row.sae, ("cached", ""))
        for cell in plan.cells:
            self._states[cell.sae.name] = ("waiting", "")
        self._draw()

    def advanced(self, data: str, share: float) -> None:
        """Show how far a pass has come; all its SAEs run at once."""
        self._share[data] = share
        for name, (state, text) in self._states.items():
            if state == "waiting":
                self._states[name] = ("running", text)
        self._draw()

    def finished(self, rows: Sequence[Row]) -> None:
        """Show a SAE's numbers, or why it has none."""
        if rows:
            failed = [row for row in rows if row.status == "error"]
            text = f"{failed[0].metric}: {failed[0].reason}" if failed else _headline(rows)
            self._states[rows[0].sae] = ("failed" if failed else "done", text)
            for warning in _of_the_sae(rows):
                self._live.console.print(f"warning {rows[0].sae}: {warning}", markup=False)
            self._draw()

    def judged(self, name: str, account: str) -> None:
        """Show what the judge cost, beneath the SAEs."""
        self._live.console.print(f"judge {name}: {account}", markup=False)

    def _draw(self) -> None:
        self._live.update(self._table())

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        colours = {"done": "green", "cached": "cyan", "failed": "red", "running": "yellow", "waiting": "dim"}
        drawn = Table(box=None, pad_edge=False, show_header=False)
        for name, (state, text) in self._states.items():
            drawn.add_row(Text(state, style=colours[state]), Text(name), Text(text))
        for data, share in self._share.items():
            drawn.add_row(
                Text(f"{share:4.0%}"), Text(f"pass over {data}"), ProgressBar(completed=share * 100, width=40)
            )
        return drawn


def _headline(rows: Sequence[Row]) -> str:
    first = {row.metric: row for row in reversed(rows)}  # of a sliced metric its first slice, the overall value
    shown = [row for row in rows if first[row.metric] is row][:_SHOWN]
    more = f"  (+{len(rows) - len(shown)} more)" if len(rows) > len(shown) else ""
    named = (row.metric + (f"[{row.slice}]" if row.slice else "") for row in shown)
    return "  ".join(f"{name} {number(row)}" for name, row in zip(named, shown, strict=True)) + more


def _of_the_sae(rows: Sequence[Row]) -> list[str]:
    """Warnings that all rows of a SAE have: they are about itself, not about one metric."""
    return [one for one in rows[0].warnings if all(one in row.warnings for row in rows)] if rows else []


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
