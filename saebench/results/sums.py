"""Sums per unit: adding shards, and one row's slice of a sliced metric's fields."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from saebench.errors import UserError

UnitSums = Mapping[str, np.ndarray]
"""Float64 arrays by field, `[units, *slices]`."""


def add_sums(first: UnitSums, second: UnitSums) -> dict[str, np.ndarray]:
    """The sums of a whole from the sums of two shards.

    A shard holds zeros for units that it has not seen, so that the result does not depend on how the
    work was divided.

    Raises:
        UserError: The shards hold different fields, units or slices.
    """
    if set(first) != set(second):
        odd = sorted(set(first) ^ set(second))
        raise UserError(f"Two shards of one metric hold different fields ({', '.join(odd)} in one only).")
    total: dict[str, np.ndarray] = {}
    for name in first:
        a, b = np.asarray(first[name], np.float64), np.asarray(second[name], np.float64)
        if a.shape != b.shape:
            raise UserError(f"Two shards differ in the shape of field {name!r}: {list(a.shape)} and {list(b.shape)}.")
        total[name] = a + b
    return total


def split_sums(sums: UnitSums, index: int, total: int) -> dict[str, np.ndarray]:
    """The fields of slice `index` of `total`, for that slice's row.

    Args:
        sums: Fields `[units, total, ...]`; a field `[units]` counts for every slice.

    Returns:
        Fields `[units, ...]`.
    """
    part: dict[str, np.ndarray] = {}
    for name, array in sums.items():
        values = np.asarray(array, np.float64)
        if values.ndim > 1 and values.shape[1] != total:
            raise ValueError(f"field {name!r} has {values.shape[1]} entries on its slice axis, not {total}")
        part[name] = values[:, index] if values.ndim > 1 else values
    return part


def join_sums(parts: Sequence[UnitSums]) -> dict[str, np.ndarray]:
    """The fields `[units, slices, ...]` of a sliced metric from its rows' fields, in the rows' order."""
    return {name: np.stack([np.asarray(p[name], np.float64) for p in parts], axis=1) for name in parts[0]}


def fold_sums(sums: UnitSums, groups: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The sums of `groups` groups of units, drawn at random but always the same for one number of units.

    Sums of groups of exchangeable units are exchangeable too, so intervals stay right while the
    arrays become short. Sums with no more units than `groups` come back as they are.
    """
    fields = {name: np.asarray(array, np.float64) for name, array in sums.items()}
    n = max((len(array) for array in fields.values()), default=0)
    if n <= groups:
        return fields
    digest = hashlib.blake2b(f"{seed}/fold/{n}".encode(), digest_size=16).digest()
    order = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little"))).permutation(n)
    starts = np.linspace(0, n, groups, endpoint=False).astype(np.int64)
    return {name: np.add.reduceat(array[order], starts, axis=0) for name, array in fields.items()}
