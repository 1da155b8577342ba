"""Names beside points: each in the free place nearest to its point, or left out where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

ANGLES = (45, 0, 90, 135, -45, 180, -90, -135, 22, 68, 112, 158, -22, -68, -112, -158)
DISTANCES = (4.5, 9.0, 15.0, 22.0, 30.0)
"""Distances from the point in points (1/72 in), tried from near to far."""

Box = tuple[float, float, float, float]


def shorten(name: str, most: int = 28) -> str:
    """The name with its middle left out where it is long.

    >>> shorten("matryoshka_batchtopk-l0_32-seed_0", 20)
    'matryoshka…32-seed_0'
    """
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return name[: most - 1 - half] + "…" + name[len(name) - half :]


def place_labels(
    axes: Axes,
    renderer: RendererBase,
    names: Sequence[tuple[str, tuple[float, float], str]],
    obstacles: Sequence[tuple[float, float]],
    paths: Sequence[Sequence[tuple[float, float]]],
    size: float,
) -> int:
    """Write names next to points without covering points or other names.

    Args:
        axes: Laid-out axes.
        renderer: What measures the text.
        names: Text, point in data coordinates, and colour, the most important first.
        obstacles: All points of the plot in data coordinates.
        paths: Corners of the lines to keep clear of, where that is possible.
        size: Text size in points.

    Returns:
        How many names were written.
    """
    scale = axes.get_figure(root=True).dpi / 72  # pyright: ignore[reportOptionalMemberAccess]
    to_pixels = axes.transData.transform
    points = [tuple(to_pixels(point)) for point in obstacles]
    taken: list[Box] = [(x - 3 * scale, y - 3 * scale, x + 3 * scale, y + 3 * scale) for x, y in points]
    lines = [spot for path in paths for spot in _samples([tuple(to_pixels(corner)) for corner in path], 3 * scale)]
    frame = axes.get_window_extent(renderer)
    room: Box = (frame.x0, frame.y0, frame.x1 + 2 * scale, frame.y1 + 4 * scale)
    written = 0
    for text, point, colour in names:
        x, y = to_pixels(point)
        width, height = _measure(axes, renderer, text, size)
        chosen = _free_place((x, y), (width, height), taken, lines, room, scale)
        if chosen is None:
            continue
        box, distance = chosen
        taken.append(box)
        _write(axes, text, point, (x, y), box, scale, colour, size, distance)
        written += 1
    return written


def _free_place(
    point: tuple[float, float], extent: tuple[float, float], taken: Sequence[Box],
    lines: Sequence[tuple[float, float]], room: Box, scale: float,
) -> tuple[Box, float] | None:  # fmt: skip
    """The best free box: near the point first, and off the lines if one of the near places is."""
    best: tuple[float, Box, float] | None = None
    for rank, distance in enumerate(DISTANCES):
        for turn, angle in enumerate(ANGLES):
            box = _box(point, extent, angle, distance * scale)
            inside = box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]
            if not inside or any(_overlap(box, other) for other in taken):
                continue
            crossed = sum(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in lines)
            price = rank * 2.0 + turn * 0.05 + min(crossed, 4) * 0.9
            if best is None or price < best[0]:
                best = (price, box, distance)
    return None if best is None else (best[1], best[2])


def _box(point: tuple[float, float], extent: tuple[float, float], angle: float, distance: float) -> Box:
    """The text's box when its nearest edge or corner is seen from the point at an angle."""
    across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    left = point[0] + distance * across - extent[0] * (1 - across) / 2
    bottom = point[1] + distance * up - extent[1] * (1 - up) / 2
    return left, bottom, left + extent[0], bottom + extent[1]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _samples(corners: Sequence[tuple[float, float]], step: float) -> list[tuple[float, float]]:
    """Points along a broken line, about `step` apart."""
    found: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:], strict=False):
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            continue
        count = max(int(math.hypot(x1 - x0, y1 - y0) / step), 1)
        found += [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count + 1)]
    return found


def _measure(axes: Axes, renderer: Any, text: str, size: float) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=size, parse_math=False)
    extent = probe.get_window_extent(renderer)
    probe.remove()
    return extent.width, extent.height


def _write(
    axes: Axes, text: str, point: tuple[float, float], pixel: tuple[float, float], box: Box, scale: float,
    colour: str, size: float, distance: float,
) -> None:  # fmt: skip
    """Put the text into its box, held at the side that faces the point: widths differ between formats."""
    leader = {"arrowstyle": "-", "color": "#B0B0B0", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    side = "left" if box[0] >= pixel[0] else "right" if box[2] <= pixel[0] else "center"
    anchor = {"left": box[0], "right": box[2], "center": (box[0] + box[2]) / 2}[side]
    offset = ((anchor - pixel[0]) / scale, (box[1] - pixel[1]) / scale)
    note = axes.annotate(
        text, point, xytext=offset, textcoords="offset points", fontsize=size, color=colour, ha=side, va="bottom",
        arrowprops=leader if distance > DISTANCES[1] else None, zorder=6, annotation_clip=False,
    )  # fmt: skip
    note.set_parse_math(False)
    note.set_in_layout(False)
