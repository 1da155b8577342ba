"""Scales of a figure's axes: linear, log, and the gap to a best value on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

STEPS = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Scale:
    """How values are laid out along an axis.

    Attributes:
        kind: "linear"; "log"; or "gap": -log10(best - value), which spreads 0.9, 0.99, 0.999 evenly.
        best: The perfect value, for "gap".
    """

    kind: Literal["linear", "log", "gap"] = "linear"
    best: float = 1.0

    def holds(self, value: float) -> bool:
        """Whether the value has a place on the axis."""
        return value > 0 if self.kind == "log" else value < self.best if self.kind == "gap" else True

    def place(self, value: float) -> float:
        """Where the value lies, in units that are even along the axis."""
        if self.kind == "log":
            return math.log10(value)
        return -math.log10(self.best - value) if self.kind == "gap" else value

    def value(self, place: float) -> float:
        """The inverse of `place`."""
        if self.kind == "log":
            return 10.0**place
        return self.best - 10.0**-place if self.kind == "gap" else place

    def apply(self, axis: Any, span: tuple[float, float]) -> None:
        """Set an axis of matplotlib to this scale and range, with ticks at round values."""
        if self.kind != "linear":
            forward, inverse = self._arrays()
            getattr(axis.axes, f"set_{axis.axis_name}scale")("function", functions=(forward, inverse))
            ticks = self.ticks(span)
            axis.set_ticks([value for value, _ in ticks], labels=[text for _, text in ticks])
            axis.set_ticks([], minor=True)
        getattr(axis.axes, f"set_{axis.axis_name}lim")(*span)

    def ticks(self, span: tuple[float, float]) -> list[tuple[float, str]]:
        """Round values in a range with their labels, at most about nine."""
        low, high = sorted(span) if self.kind == "log" else sorted(self.best - end for end in span)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in (STEPS, (1.0, 3.0), (1.0,)):
            parts = [(step, decade) for decade in decades for step in steps if low <= step * 10.0**decade <= high]
            if len(parts) <= 9:
                break
        if self.kind == "log":
            return [(step * 10.0**decade, f"{step * 10.0**decade:g}") for step, decade in parts]
        return [
            (self.best - step * 10.0**decade, f"{self.best - step * 10.0**decade:.{max(-decade, 0)}f}")
            for step, decade in reversed(parts)
        ]

    def _arrays(self) -> tuple[Any, Any]:
        tiny = 1e-300

        def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.log10(np.maximum(values, tiny))

        def gap(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return -np.log10(np.maximum(self.best - np.asarray(values), tiny))

        if self.kind == "log":
            return log, lambda places: 10.0 ** np.asarray(places)
        return gap, lambda places: self.best - 10.0 ** -np.asarray(places)


def scale_of(values: Sequence[float], better: str, best: float | None) -> Scale:
    """A scale on which values that range over a decade are told apart.

    Args:
        values: The SAEs' values.
        better: The metric's direction.
        best: The perfect value, if the metric has one.
    """
    if better == "lower" and spans_a_decade(values):
        return Scale("log")
    if better == "higher" and best is not None and spans_a_decade([best - value for value in values]):
        return Scale("gap", best)
    return Scale()


def spans_a_decade(values: Sequence[float]) -> bool:
    """Whether positive values range over a factor of ten or more."""
    return min(values) > 0 and max(values) >= 10 * min(values)
