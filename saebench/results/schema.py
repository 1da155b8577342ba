"""The version of the row format, and how rows of earlier versions are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saebench.errors import UserError

SCHEMA_VERSION = 1
"""Moves whenever a field of a row is renamed, removed or changes its meaning."""


def migrate(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a row in the present format, whatever version wrote it.

    Args:
        record: One parsed line of a results file; a record without `schema` is version 0.

    Returns:
        A new record whose `schema` is `SCHEMA_VERSION`; the argument is left as it is.

    Raises:
        ValueError: `schema` is not a whole number.
        UserError: The record was written by a later version of saebench.
    """
    current = dict(record)
    version = current.get("schema", 0)
    if not isinstance(version, int) or version < 0:
        raise ValueError(f"schema {version!r} is not a version")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"A row has schema {version}, and this saebench reads up to {SCHEMA_VERSION}. "
            "Upgrade saebench to read it: pip install --upgrade saebench."
        )
    while version < SCHEMA_VERSION:
        current = _STEPS[version](current)
        version = current["schema"]
    return current


def _from_0(record: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had the interval as a pair `ci`, and no slices; its sums are plain lists."""
    rest = {key: value for key, value in record.items() if key != "ci"}
    low, high = record.get("ci") or (None, None)
    return {"slice": "", "slices_total": 1, "ci_low": low, "ci_high": high, **rest, "schema": 1}


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_0}
