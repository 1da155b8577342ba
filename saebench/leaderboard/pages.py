"""Parts of the pages besides the tables: what a front comes to, in Markdown."""

from __future__ import annotations

import math

from saebench.leaderboard.fronts import Front, Matched, Plane
from saebench.leaderboard.markdown import DASH, escape, grid
from saebench.leaderboard.numbers import decimals_for
from saebench.leaderboard.tables import ARROWS


def front_markdown(plane: Plane) -> str:
    """The front of each width, its hypervolume, and each architecture's score at the same x."""
    parts: list[str] = []
    for found in plane.fronts:
        parts.append(_front_line(plane, found))
    matched = [m for found in plane.fronts for m in found.matched]
    if matched:
        parts.append(_matched_table(plane))
    return "\n\n".join(parts)


def _front_line(plane: Plane, found: Front) -> str:
    width = f" at d_sae {found.d_sae}" if found.d_sae is not None else ""
    if not found.members:
        return f"No front{width}: one of the two metrics has no better and worse."
    names = ", ".join(escape(plane.points[i].sae) for i in found.members)
    unit = f"decades of {plane.x.label}" if plane.log_x else plane.x.label
    corner = f"({found.reference[0]:.4g}, {found.reference[1]:.4g})"
    return (
        f"Front{width}: {names}. Hypervolume {found.hypervolume:.4g} ({escape(unit)} × {escape(plane.y.label)}, "
        f"from {corner})."
    )


def _matched_table(plane: Plane) -> str:
    """Architectures down, values of x (and widths) across."""
    several = len(plane.fronts) > 1
    columns = [(found, at) for found in plane.fronts for at in dict.fromkeys(m.at for m in found.matched)]
    names = sorted({m.architecture for found in plane.fronts for m in found.matched})
    header = ["architecture"]
    for found, at in columns:
        width = f", d_sae {found.d_sae}" if several else ""
        place = f"{escape(plane.x.label)} = {at:g}{width}"
        header.append(f"{escape(plane.y.label)} at {place} {ARROWS[plane.y.better]}".strip())
    rows: list[list[str]] = []
    for name in names:
        cells = [[m for m in found.matched if m.architecture == name and m.at == at] for found, at in columns]
        rows.append([escape(name) or DASH, *(_score(cell[0]) if cell else DASH for cell in cells)])
    return grid(header, rows, [False] + [True] * len(columns))


def _score(matched: Matched) -> str:
    if not math.isfinite(matched.value):
        return DASH
    if not matched.stderr > 0:
        return f"{matched.value:.4g}"
    decimals = decimals_for(matched.stderr)
    return f"{matched.value:.{decimals}f} ± {matched.stderr:.{decimals}f}"
