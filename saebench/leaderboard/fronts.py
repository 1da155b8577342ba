"""The data of a Pareto figure: points, a front for each width, hypervolumes and matched scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saebench.leaderboard.board import Column, Pareto
from saebench.leaderboard.pareto import cost, front, hypervolume, score_at, shared_middle
from saebench.leaderboard.scales import spans_a_decade
from saebench.leaderboard.sections import Head, Section

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Point:
    """A SAE, null or baseline on the plane of two metrics; the errors may be NaN."""

    sae: str
    architecture: str
    d_sae: int | None
    role: str
    x: float
    y: float
    x_error: float
    y_error: float


@dataclass(frozen=True)
class Matched:
    """The score of one architecture at a given x, NaN where its SAEs do not reach that far."""

    architecture: str
    at: float
    value: float
    stderr: float


@dataclass(frozen=True)
class Front:
    """The SAEs of one width that no other of that width beats on both axes.

    Attributes:
        d_sae: The width.
        members: Indices into the plane's points, from the best x to the worst; empty where a metric
            has no direction.
        hypervolume: Area dominated, NaN where there is no front.
        reference: Corner that the hypervolume is measured from.
        matched: Scores of each architecture at the same x.
    """

    d_sae: int | None
    members: tuple[int, ...]
    hypervolume: float
    reference: tuple[float, float]
    matched: tuple[Matched, ...]


@dataclass(frozen=True)
class Plane:
    """One Pareto figure of a section."""

    section: Section
    x: Head
    y: Head
    log_x: bool
    points: tuple[Point, ...]
    fronts: tuple[Front, ...]


def planes(section: Section, figures: Sequence[Pareto]) -> list[Plane]:
    """The figures of a section whose two metrics have at least one SAE in common."""
    found = [_plane(section, figure) for figure in figures]
    return [plane for plane in found if plane is not None]


def _plane(section: Section, figure: Pareto) -> Plane | None:
    x, y = _head(section, figure.x), _head(section, figure.y)
    if x is None or y is None:
        return None
    points: list[Point] = []
    for line in section.lines:
        a, b = line.scores.get(x.key), line.scores.get(y.key)
        if a is not None and b is not None and a.known and b.known:
            who = (line.sae, line.architecture, line.d_sae, line.role)
            points.append(Point(*who, a.value, b.value, a.stderr, b.stderr))
    mine = [point for point in points if point.role == "sae"]
    if not mine:
        return None
    log_x = spans_a_decade([point.x for point in points]) and x.better != "one"
    corner = figure.reference or _corner(mine, x, y)
    sizes = sorted({point.d_sae for point in mine}, key=lambda size: math.inf if size is None else size)
    fronts = tuple(_front(points, size, x, y, log_x, corner, figure.matched) for size in sizes)
    return Plane(section, x, y, log_x, tuple(points), fronts)


def front_frame(all_planes: Sequence[Plane]) -> pd.DataFrame:
    """Every front's members and scalars as tidy rows, the settings they depend on beside them."""
    import pandas as pd

    names = ["model", "hook_out", "corpus", "d_sae", "x", "y", "quantity", "name", "at", "value", "stderr",
             "reference_x", "reference_y", "log_x"]  # fmt: skip
    rows: list[dict[str, object]] = []
    for plane in all_planes:
        for found in plane.fronts:
            shared = {
                "model": plane.section.model, "hook_out": plane.section.hook_out,
                "corpus": "; ".join(plane.section.corpora), "d_sae": found.d_sae, "x": plane.x.key, "y": plane.y.key,
                "log_x": plane.log_x,
            }  # fmt: skip
            corner = {"reference_x": found.reference[0], "reference_y": found.reference[1]}
            if found.members:
                rows.append({**shared, **corner, "quantity": "hypervolume", "name": "", "value": found.hypervolume})
            for i in found.members:
                point = plane.points[i]
                rows.append({**shared, "quantity": "front", "name": point.sae, "at": point.x, "value": point.y,
                             "stderr": point.y_error})  # fmt: skip
            rows += [
                {
                    **shared,
                    "quantity": "matched",
                    "name": m.architecture,
                    "at": m.at,
                    "value": m.value,
                    "stderr": m.stderr,
                }
                for m in found.matched
            ]
    return pd.DataFrame(rows, columns=names).astype({"d_sae": "Int64"})


def _head(section: Section, column: Column) -> Head | None:
    """The section's column for an axis, the first slice where none is named."""
    wanted = [h for h in section.heads if h.column.metric == column.metric]
    return next((head for head in wanted if column.slice in (None, head.column.slice)), None)


def _corner(points: list[Point], x: Head, y: Head) -> tuple[float, float]:
    """The worst SAE's value on each axis."""

    def worst(values: list[float], head: Head) -> float:
        return max(values, key=lambda v: float(cost(v, head.better))) if head.better != "none" else math.nan

    return worst([p.x for p in points], x), worst([p.y for p in points], y)


def _front(
    points: list[Point], size: int | None, x: Head, y: Head, log_x: bool, corner: tuple[float, float],
    at: tuple[float, ...] | None,
) -> Front:  # fmt: skip
    mine = [i for i, point in enumerate(points) if point.role == "sae" and point.d_sae == size]
    xs, ys = np.array([points[i].x for i in mine]), np.array([points[i].y for i in mine])
    members: tuple[int, ...] = ()
    area = math.nan
    if "none" not in (x.better, y.better):
        members = tuple(mine[i] for i in front(xs, ys, x.better, y.better))
        area = hypervolume(xs, ys, corner, x.better, y.better, log_x=log_x)
    return Front(size, members, area, corner, tuple(_matched([points[i] for i in mine], at, log_x, x, y)))


def _matched(points: list[Point], at: tuple[float, ...] | None, log_x: bool, x: Head, y: Head) -> list[Matched]:
    """Scores of each architecture at the asked values of x, or in the middle of the shared range.

    They are read off the architecture's own front, so that a poorly trained twin does not count.
    """
    curves: dict[str, list[Point]] = {}
    for name in sorted({point.architecture for point in points}):
        group = [point for point in points if point.architecture == name]
        if "none" not in (x.better, y.better):
            group = [group[i] for i in front([p.x for p in group], [p.y for p in group], x.better, y.better)]
        curves[name] = group
    ranges = [(min(p.x for p in group), max(p.x for p in group)) for group in curves.values()]
    middle = shared_middle([pair for pair in ranges if pair[0] < pair[1]])
    places = at if at is not None else () if middle is None else (middle,)
    found: list[Matched] = []
    for place in places:
        for name, group in curves.items():
            errors = [p.y_error for p in group]
            value, stderr = score_at([p.x for p in group], [p.y for p in group], place, errors, log_x=log_x)
            found.append(Matched(name, place, value, stderr))
    return found
