"""The contract of a metric: inputs by parameter type, sums per unit, and a pure value function.

A metric is a function that takes inputs and returns `Sums`, and a second function that turns the
summed fields into the value. From that one shape come the value, its bootstrap interval, the paired
test between two SAEs, and exact sharding, because sums add.

    @metric(version=1, unit="tokens", better="lower", bounds=(0, None))
    def l0(a: Activity) -> Sums:
        '''Mean number of latents that fire on a token.'''
        return Sums(fires=a.l0, tokens=1)

    @l0.value
    def _(s: Totals) -> Array:
        return s.fires / s.tokens
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from saebench.errors import UserError, unknown
from saebench.signature import Within, checked, packed, read_signature, words

if TYPE_CHECKING:
    import numpy as np

Direction = Literal["higher", "lower", "one", "none"]
"""Which way is better: higher, lower, closest to one, or none (a description, not a score)."""

Units = Literal["documents", "latents", "items", "saes", "none"]
"""What is resampled for the interval: blocks of documents, latents, test items, SAEs of a group, or nothing."""

Count = Annotated[int, Within(1)]
"""A setting that counts things: a whole number of at least 1."""

Amount = Annotated[int, Within(0)]
"""A setting that counts things of which there may be none: a whole number of at least 0."""

Share = Annotated[float, Within(0, 1)]
"""A setting that is a share: a number from 0 to 1."""

Positive = Annotated[float, Within(0, beyond=True)]
"""A setting that is a number above 0."""

Pooling = Literal["mean", "max", "last"]
"""How the activations of a text's tokens become one: their mean, their largest, or that of the last token."""

Array = Any
"""A numpy array with the bootstrap replicates in the leading axis, or a scalar."""

Totals = SimpleNamespace
"""Summed fields by name; each a float64 array of shape [..., *slices]."""


class Sums:
    """What a metric returns for one batch: a row per unit (token, latent or item) for each field.

    Args:
        shared: Names of sums that do not depend on the SAE (clean loss, target variance ...); the
            engine computes them once for a (model, hook, corpus) and adds them to the fields.
        slices: Names of the entries of each field's last axis, or none for a scalar metric.
        notes: Sentences that a reader of the row needs, such as which classes were left out and why.
        **fields: Tensors `[rows]` or `[rows, slices]`, or a number that counts for every row.
    """

    def __init__(
        self, *, shared: Sequence[str] = (), slices: Sequence[str] = (), notes: Sequence[str] = (), **fields: Any
    ) -> None:
        self.fields = fields
        self.shared = tuple(shared)
        self.slices = tuple(slices)
        self.notes = tuple(notes)


class NotApplicable(Exception):
    """Raised by a metric whose question makes no sense for this SAE; the row carries the reason."""


class Metric:
    """A metric as the harness sees it: what it needs, what it sums, and how sums become the value.

    Attributes:
        name: Field's standard term, the column's name.
        version: Moves whenever the value moves for the same input.
        unit: Unit of the value, such as "nats a token".
        better: Which direction is better.
        best: Value of a perfect SAE, if there is one.
        bounds: Lowest and highest possible value, None for open.
        units: What the interval resamples.
        inputs: Input types by parameter name.
        settings: Keyword settings with their values; those of a dataclass one by one.
        summary: First line of the docstring.
        caution: What a reader of a board should know before trusting the column; "" for nothing.
    """

    def __init__(
        self,
        rows: Callable[..., Sums],
        *,
        version: int,
        unit: str,
        better: Direction,
        best: float | None = None,
        bounds: tuple[float | None, float | None] = (None, None),
        units: Units = "documents",
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        caution: str = "",
    ) -> None:
        self.name = name or rows.__name__
        self.version = version
        self.unit = unit
        self.better: Direction = better
        self.best = best
        self.bounds = bounds
        self.units: Units = units
        self.caution = caution
        self.doc = inspect.getdoc(rows) or ""
        self.summary = self.doc.split("\n", 1)[0]
        takes = read_signature(rows)
        self.inputs = takes.inputs
        self.rows = packed(rows, takes.families)
        self.settings: dict[str, Any] = {**takes.settings, **(settings or {})}
        self._kinds = takes.kinds
        self._value: Callable[[Totals], Array] | None = None
        self._finish: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None

    def value(self, function: Callable[[Totals], Array]) -> Callable[[Totals], Array]:
        """Register the pure function from summed fields to the value (a decorator)."""
        self._value = function
        return function

    def finish(
        self, function: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
    ) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
        """Register a step from the pass's added fields to final fields per unit (a decorator).

        Needed only where a unit's contribution is not linear in its sums: whether a latent is dead
        is known when all its firings have been counted.
        """
        self._finish = function
        return function

    def finished(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Apply the finish step, if there is one, to fields of shape [units, ...]."""
        return self._finish(fields) if self._finish else fields

    def compute(self, totals: Mapping[str, Any]) -> Array:
        """The value from summed fields.

        Args:
            totals: Float64 arrays by field, shape `[..., *slices]`.

        Returns:
            Array of shape `[..., *slices]`; an undefined value is NaN.
        """
        import numpy as np

        if self._value is None:
            raise UserError(f"Metric {self.name!r} has no value function: add one with @{self.name}.value.")
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._value(SimpleNamespace(**totals))

    def with_settings(self, **changes: Any) -> Metric:
        """The same metric with other settings.

        Raises:
            UserError: A setting that the metric does not have, or a value of another kind than it takes.
        """
        for key in changes:
            if key not in self.settings:
                raise unknown(f"setting of metric {self.name!r}", key, self.settings)
        twin = Metric.__new__(Metric)
        twin.__dict__.update(self.__dict__)
        given = {
            key: checked(value, self._kinds[key], f"Setting {key!r} of metric {self.name!r}", self.settings[key])
            for key, value in changes.items()
        }
        twin.settings = {**self.settings, **given}
        return twin

    def takes(self, setting: str) -> str:
        """What may be given for a setting, in words; "" where its type does not say."""
        kind = self._kinds[setting]
        return "" if kind is Any else words(kind)

    @property
    def kind(self) -> str:
        """stream, items or weights, from its inputs."""
        kinds = {getattr(t, "kind", "stream") for t in self.inputs.values()}
        return "items" if "items" in kinds else "stream" if "stream" in kinds else "weights"

    @property
    def own_units(self) -> bool:
        """Whether two SAEs have units of their own, which cannot be paired: latents, SAEs of a group."""
        return self.units in ("latents", "saes")

    @property
    def data(self) -> str:
        """Name of the data that its inputs are filled from; "" for a metric of the weights."""
        names = {getattr(t, "data", "text") for t in self.inputs.values() if getattr(t, "kind", "stream") != "weights"}
        names.discard("")  # what goes with any data
        if len(names) > 1:
            raise UserError(f"Metric {self.name!r} mixes inputs from different data: {', '.join(sorted(names))}.")
        return names.pop() if names else ""

    @property
    def signature(self) -> str:
        """Name, version and settings in one citable string, such as `l0@1` or `probe@2(k=5)`."""
        settings = ",".join(f"{k}={v}" for k, v in sorted(self.settings.items()))
        return f"{self.name}@{self.version}" + (f"({settings})" if settings else "")

    def __repr__(self) -> str:
        return f"<Metric {self.signature}: {self.summary}>"


def metric(
    *bare: Any,
    version: int,
    unit: str,
    better: Direction,
    best: float | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
    units: Units = "documents",
    name: str | None = None,
    caution: str = "",
) -> Callable[[Callable[..., Sums]], Metric]:
    """Make a metric of a function whose parameters are inputs and whose keywords are settings.

    Settings that a family of metrics shares are a frozen dataclass, given as the default of one keyword
    (`*, probe: Probe = PROBE`): its fields are settings like any others, under their own names.

    Args:
        version: Whole number; moves whenever the value moves for the same input.
        unit: Unit of the value, in words.
        better: "higher", "lower", "one" (closest to one) or "none" (not a score).
        best: Value of a perfect SAE.
        bounds: Lowest and highest possible value.
        units: What is resampled for the interval.
        name: Name of the metric if it is not the function's (`explained_variance@saebench-legacy`).
        caution: A sentence for whoever reads the column on a board, such as what an audit found.

    Raises:
        UserError: The function takes no known input, declares a direction or units that do not exist, or a version
            that is not a whole number.
    """
    if bare:
        raise UserError("A metric is declared by keywords: version=1, unit='...', better='higher'.")
    if better not in typing.get_args(Direction):
        raise unknown("direction", better, typing.get_args(Direction))
    if units not in typing.get_args(Units):
        raise unknown("units to resample", units, typing.get_args(Units))
    if isinstance(version, bool) or not isinstance(version, int):
        raise UserError(f"A metric's version is a whole number, not {version!r}.")

    def make(rows: Callable[..., Sums]) -> Metric:
        return Metric(
            rows,
            version=version,
            unit=unit,
            better=better,
            best=best,
            bounds=bounds,
            units=units,
            name=name,
            caution=caution,
        )

    return make
