"""What stands beside a number so that it can be trusted: null gap, reseed noise, validity."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from saebench.results.measurement import reference_key
from saebench.results.reruns import column_key, means, noises, reruns
from saebench.results.row import ROLES, Row
from saebench.results.validity import Validity, validity

TRUST_FLOATS = ("null_gap", "noise", "mdd", "validity", "validity_p")
TRUST_INTEGERS = ("reseeds", "validity_n")
TRUST_COLUMNS = ("null_gap", "noise", "reseeds", "mdd", "validity", "validity_p", "validity_n", "validity_by_order",
                 "rerun")  # fmt: skip

GOODNESS: dict[str, Callable[[float], float]] = {
    "higher": lambda value: value,
    "lower": lambda value: -value,
    "one": lambda value: -abs(value - 1),
}
"""The value turned so that a larger one is better, by direction; a metric without direction has none."""


def trust_columns(rows: Sequence[Row], nulls: Mapping[tuple[Any, ...], Row]) -> list[dict[str, Any]]:
    """For each row its null gap, and for its column reseed noise, minimum detectable difference and validity.

    Args:
        rows: All rows of the results, re-runs with other seeds among them.
        nulls: The strongest null by `reference_key`.
    """
    tops, noise, valid = _references(rows), noises(rows), _validities(rows)
    records: list[dict[str, Any]] = []
    for row, rerun in zip(rows, reruns(rows), strict=True):
        key = column_key(row)
        scatter, agreement = noise.get(key), valid.get(key)
        null = nulls.get(reference_key(row))
        records.append({
            "null_gap": null_gap(row, null.value if null else None, tops.get(reference_key(row))),
            "noise": scatter.sigma if scatter else None,
            "reseeds": scatter.seeds if scatter else None,
            "mdd": scatter.mdd if scatter else None,
            "validity": agreement.tau if agreement else None,
            "validity_p": agreement.p if agreement else None,
            "validity_n": agreement.n if agreement else None,
            "validity_by_order": json.dumps(agreement.by_order, sort_keys=True) if agreement else "",
            "rerun": rerun,
        })  # fmt: skip
    return records


def null_gap(row: Row, null: float | None, reference: float | None) -> float | None:
    """M* = (M - M_null) / (M_ref - M_null): 0 is the null's score, 1 the reference's.

    For "one" M is the distance to one. Undefined (None) for a metric without direction, without a null, and where
    the reference is no better than the null: such a metric cannot tell an SAE from none.
    """
    good = GOODNESS.get(row.better)
    if good is None or row.value is None or null is None or reference is None:
        return None
    whole = good(reference) - good(null)
    return (good(row.value) - good(null)) / whole if whole > 0 else None


def _references(rows: Sequence[Row]) -> dict[tuple[Any, ...], float]:
    """M_ref of each column: the metric's best value where it has one, else that of the best SAE scored."""
    from saebench.registry import metrics

    installed = metrics()
    found: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key, good = reference_key(row), GOODNESS.get(row.better)
        if good is None or row.role != ROLES[0] or row.value is None or row.status != "ok":
            continue
        known = installed.get(row.metric)
        if row.better == "one":
            found[key] = 1.0
        elif known is not None and known.best is not None and known.version == row.version:
            found[key] = known.best
        elif key not in found or good(row.value) > good(found[key]):
            found[key] = row.value
    return found


def _validities(rows: Sequence[Row]) -> dict[tuple[Any, ...], Validity]:
    """The agreement of each column that has a direction with the orders that its rows know."""
    ways: dict[tuple[Any, ...], str] = {}
    places: dict[tuple[Any, ...], dict[str, dict[str, int]]] = {}
    for row in rows:
        key = column_key(row)
        ways[key] = row.better
        if row.role == ROLES[0] and row.order:
            places.setdefault(key, {})[row.sae] = row.order
    found: dict[tuple[Any, ...], Validity] = {}
    for key, values in means(rows).items():
        good = GOODNESS.get(ways[key])
        if good is None or key not in places:
            continue
        agreement = validity({sae: good(value) for sae, value in values.items()}, places[key])
        if agreement is not None:
            found[key] = agreement
    return found
