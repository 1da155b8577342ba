"""Small drawings as SVG in the page: where a value stands, intervals side by side, a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from saebench.leaderboard.scales import Scale, scale_of


@dataclass(frozen=True)
class Span:
    """A stretch of an axis from 0 to 1, on the scale that the figures give the same values."""

    low: float
    high: float
    scale: Scale

    def place(self, value: float) -> float:
        """Where the value lies, from 0 to 1, held inside."""
        if not self.scale.holds(value):
            return 0.0 if self.scale.kind == "log" else 1.0
        a, b = self._ends
        return min(max((self.scale.place(value) - a) / (b - a), 0.0), 1.0)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return self.scale.place(self.low), self.scale.place(self.high)


def span_of(values: Sequence[float], better: str, best: float | None) -> Span | None:
    """The stretch that holds all the finite values, None where they do not differ.

    Args:
        values: Values of a column.
        better: The metric's direction.
        best: The perfect value, if the metric has one.
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    scale = scale_of(known, better, best)
    inside = [value for value in known if scale.holds(value)]
    return Span(min(inside), max(inside), scale) if min(inside) < max(inside) else None


def strip(
    value: float, low: float, high: float, span: Span | None, null: float = math.nan, base: float = math.nan
) -> Markup:
    """A value with its interval on the range of its column, with null (×) and baseline (+)."""
    if span is None or not math.isfinite(value):
        return Markup("")
    x = {name: _pixel(span.place(v)) for name, v in (("v", value), ("l", low), ("h", high)) if math.isfinite(v)}
    parts = [f'<line class="rail" x1="4" x2="116" y1="{Y}" y2="{Y}"/>']
    if math.isfinite(null):
        p = _pixel(span.place(null))
        parts.append(f'<path class="nul" d="M{_n(p - 3)} {Y - 3}l6 6m0-6l-6 6"/>')
    if math.isfinite(base):
        p = _pixel(span.place(base))
        parts.append(f'<path class="bas" d="M{_n(p)} {Y - 4}v8m-4-4h8"/>')
    if "l" in x and "h" in x:
        parts.append(f'<line class="ci" x1="{_n(x["l"])}" x2="{_n(x["h"])}" y1="{Y}" y2="{Y}"/>')
    parts.append(f'<circle class="dot" cx="{_n(x["v"])}" cy="{Y}" r="3"/>')
    return Markup(f'<svg class="strip" viewBox="0 0 120 {2 * Y}" aria-hidden="true">{"".join(parts)}</svg>')


Y = 7


def histogram(names: Sequence[str], shares: Sequence[float]) -> Markup:
    """Bars of shares with their names below and their heights above, as an image with a text for readers."""
    top = max((share for share in shares if math.isfinite(share)), default=0.0)
    if top <= 0:
        return Markup("")
    bars: list[str] = []
    for i, (name, share) in enumerate(zip(names, shares, strict=True)):
        height = 96 * max(share, 0.0) / top if math.isfinite(share) else 0.0
        middle = 30 + 56 * i
        bars.append(f'<rect x="{middle - 24}" y="{_n(116 - height)}" width="48" height="{_n(height)}"/>')
        bars.append(f'<text x="{middle}" y="{_n(110 - height)}">{share:.3f}</text>')
        bars.append(str(Markup('<text class="name" x="{}" y="132">{}</text>').format(middle, name)))
    told = "; ".join(f"{name}: {share:.3f}" for name, share in zip(names, shares, strict=True))
    width = 56 * len(shares) + 8
    opening = Markup(
        '<svg class="histogram" viewBox="0 0 {w} 140" style="max-width:{w}px" role="img" aria-label="{t}">'
    )
    return opening.format(w=width, t=told) + Markup("".join(bars) + "</svg>")


def _pixel(place: float) -> float:
    return 4 + 112 * place


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
