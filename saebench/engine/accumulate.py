"""Sums of a metric over a pass: rows of a batch added up by unit, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saebench.errors import UserError
from saebench.metric import Metric, NotApplicable, Sums

if TYPE_CHECKING:
    from torch import Tensor

MOST_UNITS = 128
"""Most units that are stored for a metric; more are grouped into this many blocks."""

Fields = dict[str, np.ndarray]


@dataclass
class Tally:
    """What one metric has summed so far for one SAE.

    Attributes:
        fields: Sums by field, `[units, *slices]` float64.
        shared: Names of sums that do not depend on the SAE, to be added at the end.
        slices: Names of the entries of the last axis.
        notes: What a reader of the rows needs to know.
        failure: Why the metric gave up, if it did, as (status, reason).
        seconds: Time spent in the metric's own arithmetic.
    """

    fields: Fields = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failure: tuple[str, str] | None = None
    seconds: float = 0.0

    def take(self, outcome: tuple[Sums, Fields] | tuple[str, str], seconds: float) -> None:
        """Add one batch's sums, or note why the metric gave up (what `reduced` returned)."""
        self.seconds += seconds
        first, second = outcome
        if isinstance(first, Sums) and isinstance(second, dict):
            self.shared, self.slices, self.notes = first.shared, first.slices, first.notes
            add_fields(self.fields, second)
        else:
            self.failure = (str(first), str(second))


def add_fields(totals: Fields, delta: Fields) -> None:
    """Add fields of equal shape, in place."""
    for name, value in delta.items():
        if name in totals:
            totals[name] += value
        else:
            totals[name] = value


def reduced(
    metric: Metric, given: Mapping[type, Any], unit: Tensor | None, units: int
) -> tuple[Sums, Fields] | tuple[str, str]:
    """Call a metric on its inputs and add its rows up by unit, or say why it cannot be: (status, reason).

    Running out of memory is not the metric's failure; it is raised for the pass to halve its batch. An input
    that this model cannot give is the reason itself, a `NotApplicable`.
    """
    try:
        inputs = {name: given[kind] for name, kind in metric.inputs.items()}
        lacking = next((why for why in inputs.values() if isinstance(why, NotApplicable)), None)
        if lacking is not None:
            raise lacking
        sums = metric.rows(**inputs, **metric.settings)
        if not isinstance(sums, Sums):
            return "error", f"Metric {metric.name!r} returns a {type(sums).__name__}, not saebench.Sums."
        if metric.own_units or metric.kind == "items" or (unit is None and metric.units == "items"):
            return _heads(sums), as_they_are(sums)
        return _heads(sums), by_unit(sums, unit, units)
    except NotApplicable as why:
        return "not_applicable", str(why)
    except UserError as why:
        return "error", str(why)
    # A metric may be anyone's code; whatever it raises becomes the reason in its row.
    except Exception as error:  # noqa: BLE001
        if out_of_memory(error):
            raise
        return "error", f"{type(error).__name__}: {error}"


def _heads(sums: Sums) -> Sums:
    """All but the rows, which are large and not needed once they are summed."""
    return Sums(shared=sums.shared, slices=sums.slices, notes=sums.notes)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def by_unit(sums: Sums, unit: Tensor | None, units: int) -> Fields:
    """Add up each field's rows by unit.

    Args:
        sums: Rows `[rows]` or `[rows, slices]` a field, or a number that counts for each row.
        unit: Unit of each row, `[rows]`; None puts all rows in the first.
        units: Number of units.

    Returns:
        Arrays `[units]` or `[units, slices]`, float64.

    Raises:
        UserError: A field whose first axis is not the rows.
    """
    if unit is None:
        some = next((value for value in sums.fields.values() if isinstance(value, torch.Tensor)), torch.zeros(1))
        unit = torch.zeros(len(some), dtype=torch.long, device=some.device)
    columns: list[Tensor] = []
    widths: dict[str, int] = {}
    for name, value in sums.fields.items():
        column = _as_rows(value, unit)
        if column.shape[:1] != unit.shape:
            shape = list(column.shape)
            raise UserError(
                f"Field {name!r} has the shape {shape}; its first axis must be the batch's {len(unit)} rows."
            )
        if sums.slices and not isinstance(value, torch.Tensor):
            column = column[:, None].expand(-1, len(sums.slices))
        widths[name] = 0 if column.ndim == 1 else column.shape[1]
        columns.append(column.reshape(len(unit), -1))
    if not columns:
        return {}
    joined = torch.cat(columns, dim=1)
    total = torch.zeros(units, joined.shape[1], dtype=torch.float64, device=joined.device)
    total.index_add_(0, unit, joined)
    array, start, fields = total.cpu().numpy(), 0, {}
    for name, width in widths.items():
        part = array[:, start : start + max(1, width)]
        fields[name] = part if width else part[:, 0]
        start += max(1, width)
    return fields


def as_they_are(sums: Sums) -> Fields:
    """Fields whose rows are the units already (latents, items): each `[units]` or `[units, slices]`.

    A number counts for every unit and slice.
    """
    tensors = {name: value for name, value in sums.fields.items() if isinstance(value, torch.Tensor)}
    units = max((len(value) for value in tensors.values()), default=1)
    shape = (units, len(sums.slices)) if sums.slices else (units,)
    return {
        name: np.array(tensors[name].detach().double().cpu()) if name in tensors else np.full(shape, float(value))
        for name, value in sums.fields.items()
    }


def _as_rows(value: Any, unit: Tensor) -> Tensor:
    """A field as float64 rows on the device of its units."""
    if not isinstance(value, torch.Tensor):
        return torch.full((len(unit),), float(value), dtype=torch.float64, device=unit.device)
    return value.detach().to(unit.device).double()


def closed(metric: Metric, tally: Tally, shared: Mapping[str, np.ndarray]) -> Fields:
    """The metric's final fields per unit: shared sums added, finish step applied, units grouped.

    Raises:
        KeyError: The metric names a shared sum that no input of the pass provides.
    """
    return {name: grouped(value) for name, value in finished(metric, tally, shared).items()}


def finished(metric: Metric, tally: Tally, shared: Mapping[str, np.ndarray]) -> Fields:
    """The same for every unit by itself."""
    fields = {**tally.fields, **{name: shared[name] for name in tally.shared}}
    return {name: np.asarray(value, dtype=np.float64) for name, value in metric.finished(fields).items()}


def grouped(values: np.ndarray) -> np.ndarray:
    """At most `MOST_UNITS` units, each the sum of every so-manieth one: `[units, ...]`."""
    if len(values) <= MOST_UNITS:
        return values
    blocks = np.zeros((MOST_UNITS, *values.shape[1:]))
    np.add.at(blocks, np.arange(len(values)) % MOST_UNITS, values)
    return blocks
