"""One number of a page as a line of its table: made here and not in the template, as there are many."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from saebench.leaderboard.numbers import decimals_for
from saebench.leaderboard.site.content import Record
from saebench.leaderboard.site.drawings import Span, strip
from saebench.leaderboard.site.standing import Standing


@dataclass(frozen=True)
class ScoreLine:
    """A number with its cells from the value to the null gap, as HTML; what comes from rows is escaped in it."""

    name: str
    page: str
    cells: Markup
    places: str
    letters: str
    count: str


def score_line(name: str, page: str, record: Record, span: Span | None, place: Standing | None) -> ScoreLine:
    """The line of a row of the frame.

    Args:
        name: What the line is called.
        page: File name of the page it leads to.
        record: The row.
        span: The range that its picture is drawn on.
        place: Where the SAE stands in the column, if it does.
    """
    if place is None:
        return ScoreLine(name, page, _cells(record, span, False), "", "", _count(record))
    places = f"{place.first}–{place.last}" if place.first < place.last else str(place.first)
    return ScoreLine(name, page, _cells(record, span, place.best), places, short(place.letters), _count(record))


def _cells(record: Record, span: Span | None, best: bool) -> Markup:
    value, low, high, error = record["value"], record["ci_low"], record["ci_high"], record["stderr"]
    null, base = record["null"], record["baseline"]
    known = record["status"] == "ok" and math.isfinite(value)
    digits = decimals_for(error) if known and math.isfinite(error) and error > 0 else None
    if known:
        interval = f"[{number(low, digits)}, {number(high, digits)}]" if math.isfinite(low) else ""
        kind = "n best" if best else "n"
        first = f'<td class="{kind}">{number(value, digits)}</td><td class="n ci">{interval}</td>'
    else:
        reason = escape(record["reason"] or record["status"].replace("_", " "))
        first = f'<td class="gone" colspan="2">– {reason}</td>'
    picture = strip(value, low, high, span, null, base) if known else ""
    rest = f'<td class="n ref">{number(null, digits)}</td><td class="n ref">{number(base, digits)}</td>'
    gap = record["null_gap"]
    return Markup(
        f'{first}<td class="strip">{picture}</td>{rest}<td class="n">{number(gap, 2 if abs(gap) < 10 else None)}</td>'
    )


def _count(record: Record) -> str:
    n, units = record.get("n"), record.get("units") or ""
    return "" if n is None or not math.isfinite(n) or units == "none" else f"{int(n)} {units}".strip()


def number(value: float, digits: int | None) -> str:
    """A number with some decimals, or four significant digits; "" where it is missing."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{value:.4g}" if digits is None or digits > 7 else f"{value:.{digits}f}"
    if not text.startswith("-"):
        return text
    return text[1:] if float(text) == 0 else f"−{text[1:]}"


def short(group: str) -> str:
    """Letters of groups with runs drawn together.

    >>> short("defgh"), short("adf"), short("ab")
    ('d–h', 'adf', 'ab')
    """
    run = re.fullmatch("[a-z]{3,}", group) and ord(group[-1]) - ord(group[0]) == len(group) - 1
    return f"{group[0]}–{group[-1]}" if run else group
