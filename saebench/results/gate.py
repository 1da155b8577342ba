"""The gate of a comparison: how much worse a metric may become."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebench.errors import UserError, unknown
from saebench.metric import Direction
from saebench.yamlfile import read_yaml

KEYS = ("metric", "slice", "direction", "tolerance")
EXAMPLE = "- {metric: ce_delta, tolerance: 0.01}"


@dataclass(frozen=True)
class GateEntry:
    """One metric that is held.

    Attributes:
        metric: Its name.
        slice: One slice of it; None holds all slices.
        direction: Overrides the metric's own direction; "none" holds changes in either direction.
        tolerance: How much worse it may become, in the metric's own unit (for "one": how much
            farther from one).
    """

    metric: str
    slice: str | None = None
    direction: Direction | None = None
    tolerance: float = 0.0

    def holds(self, metric: str, slice_name: str) -> bool:
        """Whether the entry speaks of this metric and slice."""
        return self.metric == metric and self.slice in (None, slice_name)


Gate = Sequence[GateEntry]


def load_gate(source: str | os.PathLike[str] | Iterable[Mapping[str, Any] | GateEntry]) -> tuple[GateEntry, ...]:
    """A gate from a YAML file, or from a list of entries.

    The file is a list of entries with the keys `metric`, `slice`, `direction` and `tolerance`; only
    `metric` must be given.

    Raises:
        UserError: No such file, not YAML, not such a list, an unknown key or direction, a tolerance
            that is not a number of 0 or more.
    """
    where = "the gate"
    entries: Any = source
    if isinstance(source, (str, os.PathLike)):
        where = f"gate {str(source)!r}"
        entries = read_yaml(Path(source), "Gate")
    if isinstance(entries, (str, Mapping)) or not isinstance(entries, Iterable):
        raise UserError(f"{_capital(where)} is not a list of entries. Write one entry a line, such as: {EXAMPLE}")
    loaded = tuple(_entry(entry, f"{where}, entry {number}") for number, entry in enumerate(entries, start=1))
    if not loaded:
        raise UserError(f"{_capital(where)} is empty. Write one entry a line, such as: {EXAMPLE}")
    return loaded


def entry_for(gate: Gate, metric: str, slice_name: str) -> GateEntry | None:
    """The entry that holds this metric and slice; one that names the slice goes before one that does not."""
    found = [entry for entry in gate if entry.holds(metric, slice_name)]
    return min(found, key=lambda entry: entry.slice is None, default=None)


def _entry(entry: Any, where: str) -> GateEntry:
    if isinstance(entry, GateEntry):
        return entry
    if not isinstance(entry, Mapping):
        raise UserError(f"{_capital(where)} is {entry!r}, not a mapping. Write it as: {EXAMPLE}")
    for key in entry:
        if key not in KEYS:
            raise unknown(f"key in {where}:", str(key), KEYS)
    if not isinstance(entry.get("metric"), str):
        raise UserError(f"{_capital(where)} names no metric. Write it as: {EXAMPLE}")
    direction = entry.get("direction")
    if direction is not None and direction not in typing.get_args(Direction):
        raise unknown(f"direction in {where}:", str(direction), typing.get_args(Direction))
    tolerance = entry.get("tolerance", 0.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < float("inf"):
        raise UserError(
            f"{_capital(where)}: tolerance is {tolerance!r}; give a number of 0 or more, in the metric's unit."
        )
    chosen = entry.get("slice")
    return GateEntry(entry["metric"], None if chosen is None else str(chosen), direction, float(tolerance))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
