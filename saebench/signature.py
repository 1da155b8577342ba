"""What a metric's function takes: inputs by position, settings by keyword, and of which kind each setting is."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

from saebench.errors import UserError, unknown

_WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


@dataclass(frozen=True)
class Within:
    """Bounds of a setting that is a number, or of each number of a list: `Annotated[int, Within(1)]`.

    Attributes:
        least: Smallest value.
        most: Largest value; none if None.
        beyond: The smallest value itself is not allowed.
    """

    least: float
    most: float | None = None
    beyond: bool = False

    def holds(self, value: float) -> bool:
        """Whether a finite number lies within."""
        low = value > self.least if self.beyond else value >= self.least
        return low and value <= (math.inf if self.most is None else self.most) and math.isfinite(value)

    def __str__(self) -> str:
        if self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        return f"above {self.least:g}" if self.beyond else f"of at least {self.least:g}"


@dataclass(frozen=True)
class Signature:
    """How a metric's function is called.

    Attributes:
        inputs: Input types by positional parameter.
        settings: Settings with their defaults; those of a dataclass one by one.
        kinds: What each setting is annotated with; `Any` where that cannot be read.
        families: The dataclasses of settings by keyword.
    """

    inputs: dict[str, type]
    settings: dict[str, Any]
    kinds: dict[str, Any]
    families: dict[str, Any]


def read_signature(function: Callable[..., Any]) -> Signature:
    """Inputs and settings of a metric's function.

    Raises:
        UserError: No input, one without a type, or two settings of one name.
    """
    takes, types = Signature({}, {}, {}, {}), _annotations(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            takes.inputs[parameter.name] = _input_type(function, parameter)
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        own, kinds = {parameter.name: default}, types
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            takes.families[parameter.name] = default
            own = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
            kinds = _annotations(type(default))
        for name in sorted(own.keys() & takes.settings.keys()):
            raise UserError(f"Metric {function.__name__!r} has two settings named {name!r}: rename one.")
        takes.settings.update(own)
        takes.kinds.update({name: kinds.get(name, Any) for name in own})
    if not takes.inputs:
        raise UserError(f"Metric {function.__name__!r} takes no input: name one, such as `a: Activity`.")
    return takes


def packed(function: Callable[..., Any], families: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with the fields of its dataclasses of settings as keywords of its own."""
    if not families:
        return function

    @functools.wraps(function)
    def called(*inputs: Any, **settings: Any) -> Any:
        for keyword, default in families.items():
            names = [field.name for field in dataclasses.fields(default) if field.name in settings]
            settings[keyword] = dataclasses.replace(default, **{name: settings.pop(name) for name in names})
        return function(*inputs, **settings)

    return called


def checked(value: Any, kind: Any, what: str, default: Any) -> Any:
    """A setting's value as it was given, a list as a tuple and one value as a list of one where several are meant.

    Args:
        value: From YAML or from a caller.
        kind: What it is annotated with.
        what: How the message calls it.
        default: The message's example.

    Raises:
        UserError: It is of another kind, or out of bounds.
    """
    from pydantic import TypeAdapter, ValidationError

    value = tuple(value) if isinstance(value, list) else value
    if _item(kind) is not None and isinstance(value, (int, float, str)):
        value = (value,)
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise _unfit(value, kind, what, default) from error
    if not _holds(value, kind):
        raise _unfit(value, kind, what, default)
    return value


def words(kind: Any) -> str:
    """What may be given for a setting, from its type, such as "a whole number of at least 1"."""
    if (item := _item(kind)) is not None:
        return f"a list, each {words(item)}"
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(kind)))}"
    bounds = [str(one) for one in getattr(kind, "__metadata__", ()) if isinstance(one, Within)]
    return " ".join([_WORDS.get(getattr(kind, "__origin__", kind), str(kind)), *bounds])


def _item(kind: Any) -> Any:
    """What each of a list is: X of `tuple[X, ...]`, also in a union with `tuple[()]`, which may be empty; else None."""
    return next((args[0] for one in _options(kind) if typing.get_origin(one) is tuple and (args := one.__args__)), None)


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is UnionType else (kind,)


def _holds(value: Any, kind: Any) -> bool:
    """Whether a value of the right kind, and each of a list, lies within the bounds that the kind carries."""
    if (item := _item(kind)) is not None:
        return all(_holds(one, item) for one in value) and (bool(value) or len(_options(kind)) > 1)
    return all(bounds.holds(value) for bounds in getattr(kind, "__metadata__", ()) if isinstance(bounds, Within))


def _unfit(value: Any, kind: Any, what: str, default: Any) -> UserError:
    given = list(value) if isinstance(value, tuple) else value
    example = list(default) if isinstance(default, tuple) else default
    return UserError(f"{what} must be {words(kind)}, such as {example!r} (got {given!r}).")


def _annotations(owner: Any) -> dict[str, Any]:
    """Types by name of a function's parameters or a dataclass' fields; nothing where one cannot be read."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _input_type(function: Callable[..., Any], parameter: inspect.Parameter) -> type:
    """The input class a parameter is annotated with, as a class or (under postponed evaluation) by name."""
    from saebench import inputs

    annotation = parameter.annotation
    if annotation is parameter.empty:
        raise UserError(
            f"Parameter {parameter.name!r} of metric {function.__name__!r} does not say which input it is: "
            f"annotate it, such as `{parameter.name}: Activity`; a setting stands behind a `*`."
        )
    if isinstance(annotation, str):
        scope: Any = getattr(function, "__globals__", {})
        for part in annotation.split("."):
            scope = scope.get(part) if isinstance(scope, dict) else getattr(scope, part, None)
        annotation = scope or getattr(inputs, annotation, None)
    if not isinstance(annotation, type) or not hasattr(annotation, "kind"):
        what = f"input type of metric {function.__name__!r}, parameter {parameter.name!r}:"
        raise unknown(what, str(parameter.annotation), inputs.__all__)
    return annotation
