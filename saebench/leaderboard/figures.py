"""Pareto figures in matplotlib: PNG, SVG and PDF that are the same bytes at every build."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.errors import UserError
from saebench.leaderboard.fronts import Front, Plane, Point
from saebench.leaderboard.labels import place_labels, shorten
from saebench.leaderboard.markdown import printable
from saebench.leaderboard.scales import Scale, scale_of
from saebench.leaderboard.sections import Head
from saebench.leaderboard.style import (
    FORMATS,
    FRONT_LINES,
    GREY,
    METADATA,
    REFERENCE_MARKERS,
    SETTINGS,
    Format,
    darker,
    looks,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Z95 = 1.959964


def draw(
    plane: Plane, form: Format = FORMATS[0], look: Mapping[str, tuple[str, str]] | None = None, *, labels: bool = True
) -> Figure:
    """A Pareto figure: a point for each SAE, a stepped line for each front.

    Args:
        plane: The data, from `fronts.planes`.
        form: Size and place of the legend.
        look: Colour and marker by architecture, to keep them equal over figures.
        labels: Name the SAEs on the fronts, and nulls and baselines.

    Returns:
        A figure that is not registered with pyplot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look = look or looks(point.architecture for point in plane.points if point.role == "sae")
    with house_style():
        figure = Figure(figsize=(form.width, form.height), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        places = _draw_axes(axes, plane, look, form)
        _legend(figure, plane, look, form)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        if labels:
            named = _names(plane, places, look)
            lines = [_staircase(plane, found) for found in plane.fronts] + _bars(plane, places)
            place_labels(axes, canvas.get_renderer(), named, list(places.values()), lines, form.label_size)
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, and give the paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    paths = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in METADATA}
    dpi = figure.dpi
    # The canvases' own printers, since savefig draws everything twice.
    with house_style():
        FigureCanvasAgg(figure).print_png(paths["png"], metadata=METADATA["png"])
        FigureCanvasSVG(figure).print_svg(paths["svg"], metadata=METADATA["svg"])
        FigureCanvasPdf(figure).print_pdf(paths["pdf"], metadata=METADATA["pdf"])
    figure.dpi = dpi
    return list(paths.values())


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's defaults with the house's settings, whatever the user's own are; restored afterwards."""
    import matplotlib as mpl

    defaults = {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith(("backend", "date."))}
    settings: Any = {**defaults, **SETTINGS}
    with mpl.rc_context(settings):
        yield


def axis_label(head: Head, most: int = 999) -> str:
    """Label of an axis: the metric, its unit, and which way is better; on two lines beyond `most` letters.

    The arrow points along the axis on both, since the label of y is turned by a quarter.
    """
    way = {"higher": "higher is better →", "lower": "← lower is better", "one": "best at 1", "none": ""}[head.better]
    label, unit = printable(head.label), printable(head.unit)
    inside = ", ".join(part for part in (unit, way) if part)
    line = f"{label} ({inside})" if inside else label
    if len(line) <= most or not way:
        return line
    return (f"{label} ({unit})" if unit else label) + f"\n{way}"


def _draw_axes(
    axes: Axes, plane: Plane, look: Mapping[str, tuple[str, str]], form: Format
) -> dict[int, tuple[float, float]]:
    """Everything but legend and names; returns where each point was drawn."""
    scales = (Scale("log") if plane.log_x else Scale(), _scale_of_y(plane))
    x_span = _span(plane, [p.x for p in plane.points], scales[0], [p.x_error for p in plane.points])
    y_span = _span(plane, [p.y for p in plane.points], scales[1], [p.y_error for p in plane.points])
    scales[0].apply(axes.xaxis, x_span)
    scales[1].apply(axes.yaxis, y_span)
    axes.grid(True, color="#E8E8E8", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(axis_label(plane.x, form.letters + 10)).set_parse_math(False)
    axes.set_ylabel(axis_label(plane.y, form.letters)).set_parse_math(False)
    title = axes.set_title(printable(plane.section.title), loc="left", fontsize=6.5, color="#555555", pad=7)
    title.set_parse_math(False)
    for rank, found in enumerate(plane.fronts):
        corners = _staircase(plane, found)
        if corners:
            line = FRONT_LINES[rank % len(FRONT_LINES)]
            axes.plot(*zip(*corners, strict=True), color="#444444", linewidth=0.9, linestyle=line, zorder=2)
    places = {
        i: (min(max(point.x, x_span[0]), x_span[1]), min(max(point.y, y_span[0]), y_span[1]))
        for i, point in enumerate(plane.points)
    }
    _draw_points(axes, plane, places, look)
    return places


def _draw_points(
    axes: Axes, plane: Plane, places: Mapping[int, tuple[float, float]], look: Mapping[str, tuple[str, str]]
) -> None:
    """Markers with their 95 % bars, all points of one look at once; a larger marker is a wider SAE."""
    sizes = [found.d_sae for found in plane.fronts]
    groups: dict[tuple[str, str, bool, float, str], list[int]] = {}
    for i, point in enumerate(plane.points):
        colour, marker = look[point.architecture] if point.role == "sae" else (GREY, REFERENCE_MARKERS[point.role])
        beyond = places[i] != (point.x, point.y)
        size = 4.2 + 1.2 * (sizes.index(point.d_sae) if point.d_sae in sizes else 0)
        marker = _arrow_head(point, places[i]) if beyond else marker
        groups.setdefault((colour, marker, beyond, size, point.role), []).append(i)
    for (colour, marker, beyond, size, role), members in groups.items():
        xs, ys = ([places[i][axis] for i in members] for axis in (0, 1))
        edge: dict[str, Any] = {"markeredgecolor": colour, "markeredgewidth": 1.1}
        if beyond:
            edge |= {"markeredgewidth": 0.8, "markerfacecolor": "white"}
        elif role == "sae":
            edge |= {"markeredgecolor": "white", "markeredgewidth": 0.4}
        if not beyond:
            bars = [[_bar(getattr(plane.points[i], name)) for i in members] for name in ("x_error", "y_error")]
            axes.errorbar(xs, ys, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.5,
                          capthick=0.6, alpha=0.8, zorder=3)  # fmt: skip
        axes.plot(xs, ys, marker=marker, color=colour, markersize=size, linestyle="none", clip_on=False,
                  zorder=4 if role == "sae" else 3.5, **edge)  # fmt: skip


def _arrow_head(point: Point, place: tuple[float, float]) -> str:
    """The marker at the edge that points to where a point beyond the axes lies."""
    if point.y != place[1]:
        return "^" if point.y > place[1] else "v"
    return ">" if point.x > place[0] else "<"


def _bar(error: float) -> float:
    """Half the 95 % interval, NaN (no bar) where there is none."""
    return Z95 * error if error > 0 else math.nan


def _bars(plane: Plane, places: Mapping[int, tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The upright error bars of the points within the axes, as lines."""
    bars: list[list[tuple[float, float]]] = []
    for i, point in enumerate(plane.points):
        if places[i] == (point.x, point.y) and point.y_error > 0:
            bars.append([(point.x, point.y + sign * Z95 * point.y_error) for sign in (-1, 1)])
    return bars


def _scale_of_y(plane: Plane) -> Scale:
    """A log scale for a loss such as a CE delta, the gap to one for a score that nears it, where that helps."""
    from saebench.registry import get

    try:
        best = get(plane.y.column.metric).best
    except UserError:
        best = None
    return scale_of([point.y for point in plane.points if point.role == "sae"], plane.y.better, best)


def _span(plane: Plane, values: list[float], scale: Scale, errors: list[float]) -> tuple[float, float]:
    """Ends of an axis: all SAEs but far outliers, every front, and what else lies close by."""
    members = {i for found in plane.fronts for i in found.members}
    mine = np.array([scale.place(v) for v, p in zip(values, plane.points, strict=True) if p.role == "sae"])
    low, high = np.percentile(mine, [25, 75])
    reach = 3 * (high - low) if len(mine) > 4 else math.inf
    kept = [v for v in mine if low - reach <= v <= high + reach] + [scale.place(values[i]) for i in members]
    start, end = float(min(kept)), float(max(kept))
    slack = 0.4 * (end - start)
    bars = [values[i] + sign * Z95 * errors[i] for i in members for sign in (-1, 1) if math.isfinite(errors[i])]
    near = [scale.place(v) for v in (*values, *bars) if scale.holds(v)]
    near = [v for v in near if start - slack <= v <= end + slack]
    start, end = min([start, *near]), max([end, *near])
    margin = 0.07 * (end - start) or 0.05 * abs(start) or 0.5
    return scale.value(start - margin), scale.value(end + margin)


def _staircase(plane: Plane, found: Front) -> list[tuple[float, float]]:
    """Corners of the front: y holds from one SAE until x is bad enough for the next."""
    members = sorted((plane.points[i] for i in found.members), key=lambda p: (p.x, p.y))
    if "one" in (plane.x.better, plane.y.better):
        return [(p.x, p.y) for p in members]
    corners: list[tuple[float, float]] = []
    for here, there in zip(members, members[1:], strict=False):
        corner = (there.x, here.y) if plane.x.better == "lower" else (here.x, there.y)
        corners += [(here.x, here.y), corner]
    return [*corners, (members[-1].x, members[-1].y)] if members else []


def _names(
    plane: Plane, places: Mapping[int, tuple[float, float]], look: Mapping[str, tuple[str, str]]
) -> list[tuple[str, tuple[float, float], str]]:
    """Names to write: the fronts' ends, the rest of the fronts, nulls and baselines, SAEs beyond the axes."""
    order: list[int] = []
    for found in plane.fronts:
        order += [i for i in (*found.members[:1], *found.members[-1:]) if i not in order]
    order += [i for found in plane.fronts for i in found.members if i not in order]
    order += [i for i, point in enumerate(plane.points) if point.role != "sae"]
    order += [i for i, p in enumerate(plane.points) if i not in order and places[i] != (p.x, p.y)]
    named: list[tuple[str, tuple[float, float], str]] = []
    for i in order:
        point = plane.points[i]
        text = shorten(printable(plane.section.name_of(point.sae, point.role)))
        beyond = [f"{v:.3g}" for v, shown in zip((point.x, point.y), places[i], strict=True) if v != shown]
        text += f" ({', '.join(beyond)})" if beyond else ""
        named.append((text, places[i], darker(look[point.architecture][0] if point.role == "sae" else GREY)))
    return named


def _legend(figure: Figure, plane: Plane, look: Mapping[str, tuple[str, str]], form: Format) -> None:
    from matplotlib.lines import Line2D

    present = {point.architecture for point in plane.points if point.role == "sae"}
    entries: list[tuple[str, Any]] = []
    for name, (colour, marker) in look.items():
        if name in present:
            dot = Line2D([], [], color=colour, marker=marker, markersize=5, linestyle="none", markeredgecolor="white",
                         markeredgewidth=0.4)  # fmt: skip
            entries.append((printable(name).lstrip("_") or "SAE", dot))
    for role, marker in REFERENCE_MARKERS.items():
        if any(point.role == role for point in plane.points):
            dot = Line2D([], [], color=GREY, marker=marker, markersize=5, linestyle="none", markeredgewidth=1.1)
            entries.append((role, dot))
    for rank, found in enumerate(plane.fronts):
        if found.members:
            line = Line2D([], [], color="#444444", linewidth=0.9, linestyle=FRONT_LINES[rank % len(FRONT_LINES)])
            wide = "" if len(plane.fronts) == 1 or found.d_sae is None else f", d_sae {found.d_sae}"
            entries.append((f"front{wide}", line))
    if any(point.y_error > 0 or point.x_error > 0 for point in plane.points):
        entries.append(("95 % interval", Line2D([], [], color=GREY, marker="|", markersize=5, linestyle="-",
                                                linewidth=0.8)))  # fmt: skip
    place: Any = form.legend
    legend = figure.legend([handle for _, handle in entries], [name for name, _ in entries], loc=place,
                           ncol=form.columns, handletextpad=0.4, columnspacing=1.2, borderaxespad=0.3)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
