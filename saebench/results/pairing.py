"""Which SAE is held against which, and which row against which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from saebench.errors import UserError, unknown
from saebench.results.collection import Results
from saebench.results.measurement import differing, measurement
from saebench.results.row import Row

Cell = tuple[Row, ...]
"""All slices of one metric of one SAE, measured in one way."""


class Pairs(NamedTuple):
    """SAEs to compare, and those that only one side holds."""

    pairs: tuple[tuple[str, str], ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def pair_saes(a: Results, b: Results, sae_a: str | None = None, sae_b: str | None = None) -> Pairs:
    """Which SAE of `a` is compared with which of `b`.

    Names that are given decide. Else, if each side holds one SAE, those two; else SAEs of the same
    name. Nulls and baselines take part only where they are named.

    Raises:
        UserError: An unknown name, or sides that share no name; the names are listed.
    """
    if sae_a is not None or sae_b is not None:
        return Pairs(((_chosen(a, sae_a, sae_b, "first"), _chosen(b, sae_b, sae_a, "second")),), (), ())
    if len(a.saes) == len(b.saes) == 1:
        return Pairs(((a.saes[0], b.saes[0]),), (), ())
    shared = tuple(name for name in a.saes if name in b.saes)
    if not shared:
        raise UserError(
            f"The two results share no SAE name: the first holds {_listed(a)}, the second {_listed(b)}. "
            "Choose one of each with sae_a and sae_b."
        )
    only_a, only_b = (tuple(n for n in side.saes if n not in shared) for side in (a, b))
    return Pairs(tuple((name, name) for name in shared), only_a, only_b)


def _chosen(side: Results, name: str | None, other: str | None, which: str) -> str:
    names = {row.sae for row in side}
    if name is not None:
        if name not in names:
            raise unknown(f"SAE in the {which} results:", name, names)
        return name
    if len(side.saes) == 1:
        return side.saes[0]
    if other in names:
        assert other is not None
        return other
    option = "sae_a" if which == "first" else "sae_b"
    raise UserError(f"The {which} results hold several SAEs: {_listed(side)}. Choose one with {option}.")


def _listed(side: Results) -> str:
    return ", ".join(map(repr, side.saes)) or "none"


def cells(rows: Sequence[Row]) -> list[Cell]:
    """Rows grouped by how they were measured: the slices of a cell stand together, in their order."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = row.key[0], *(str(part) for part in measurement(row).values())
        groups.setdefault(key, []).append(row)
    return [tuple(group) for group in groups.values()]


class Match(NamedTuple):
    """The cells of one metric on the two sides, and why they cannot be compared, if so."""

    a: Cell
    b: Cell
    reason: str


def match_cells(a: Sequence[Row], b: Sequence[Row]) -> list[Match]:
    """The cells of `a` beside those of `b`, in the order of `a`; an empty cell where one side has none.

    Cells measured in the same way belong together. What is left of a metric is held together, with
    the reason that forbids to compare it, if there is one such cell on either side.
    """
    rest = cells(b)
    matches: list[Match] = []
    for cell in cells(a):
        same = [other for other in rest if other[0].metric == cell[0].metric and not differing(cell[0], other[0])]
        if same:
            rest.remove(same[0])
        matches.append(Match(cell, same[0] if same else (), ""))
    for index, match in enumerate(matches):
        lonely = [m for m in matches if not m.b and m.a[0].metric == match.a[0].metric]
        others = [other for other in rest if other[0].metric == match.a[0].metric]
        if not match.b and len(lonely) == len(others) == 1:
            rest.remove(others[0])
            matches[index] = Match(match.a, others[0], differing(match.a[0], others[0][0]))
    return matches + [Match((), cell, "") for cell in rest]
