"""Dot plots: a panel for each metric, a line for each SAE, with its interval, at the width of a column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from saebench.leaderboard.figures import Z95, house_style
from saebench.leaderboard.labels import shorten
from saebench.leaderboard.markdown import printable
from saebench.leaderboard.sections import Head, Section
from saebench.leaderboard.style import GREY, REFERENCE_MARKERS, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from saebench.leaderboard.rows import Score

COLUMN = 3.4
"""Width of a paper's column, inches."""
PAGE = 7.0
"""Most height of a figure, inches: a caption fits below it on a page of LaTeX's own article."""
ACROSS = 2
_LINE, _PANEL = 0.1, 0.55


def page_panels(section: Section) -> int:
    """Panels that fit on a page."""
    return ACROSS * max(1, int(PAGE / _height(section)))


def _height(section: Section) -> float:
    return _PANEL + _LINE * max(4, len(section.lines))


def draw_dots(section: Section, heads: Sequence[Head], look: Mapping[str, tuple[str, str]] | None = None) -> Figure:
    """A dot plot of a section; not registered with pyplot.

    Args:
        section: The scores.
        heads: What is drawn.
        look: Colour and marker by architecture, to keep them equal over figures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look = look or looks(line.architecture for line in section.of_role("sae"))
    rows = math.ceil(len(heads) / ACROSS)
    with house_style():
        figure = Figure(figsize=(COLUMN, rows * _height(section)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, min(ACROSS, len(heads)), sharey=True, squeeze=False).ravel()
        for panel, head in zip(panels, heads, strict=False):
            _draw(panel, head, section, look)
        for panel in panels[len(heads) :]:
            panel.set_axis_off()
    return figure


def _draw(axes: Axes, head: Head, section: Section, look: Mapping[str, tuple[str, str]]) -> None:
    lines = section.lines
    for place, line in enumerate(lines):
        score = line.scores.get(head.key)
        if score is None or not score.known:
            continue
        colour, marker = look[line.architecture] if line.role == "sae" else (GREY, REFERENCE_MARKERS[line.role])
        low, high = _interval(score)
        if high > low:
            axes.plot([low, high], [place, place], color=colour, linewidth=0.9, alpha=0.8)
        axes.plot([score.value], [place], marker=marker, color=colour, markersize=3.2, linestyle="none")
    axes.set_yticks(
        range(len(lines)),
        [shorten(printable(section.name_of(line.sae, line.role)), 22) for line in lines],
        fontsize=5.0,
    )
    axes.set_ylim(len(lines) - 0.4, -0.6)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    arrow = {"higher": " →", "lower": " ←", "one": " (1)", "none": ""}[head.better]
    axes.set_title(shorten(printable(head.label), 30) + arrow, fontsize=6.5, loc="left").set_parse_math(False)
    axes.tick_params(axis="x", labelsize=5.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", color="#E8E8E8", linewidth=0.5)
    axes.set_axisbelow(True)


def _interval(score: Score) -> tuple[float, float]:
    """The 95 % interval, from the standard error where the row has no other."""
    if math.isfinite(score.low) and math.isfinite(score.high):
        return score.low, score.high
    reach = Z95 * score.stderr if math.isfinite(score.stderr) else 0.0
    return score.value - reach, score.value + reach
