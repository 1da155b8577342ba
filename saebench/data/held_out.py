"""Frozen choices by hash: which of some names are held out, the same whatever order they come in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def chance(*names: str | int) -> float:
    """A number in [0, 1) that depends on the names alone.

    >>> chance(0, "a") == chance(0, "a") != chance(1, "a")
    True
    """
    digest = hashlib.blake2b("\0".join(map(str, names)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def lowest(names: Iterable[str], count: int, *purpose: str | int) -> set[str]:
    """The `count` names with the smallest hash."""
    return set(sorted(set(names), key=lambda name: (chance(*purpose, name), name))[:count])


def held_out(names: Iterable[str], share: float, *purpose: str | int) -> set[str]:
    """A share of the names, rounded; at least one of them on either side where there are two."""
    known = set(names)
    if len(known) < 2:
        return set()
    return lowest(known, min(max(round(share * len(known)), 1), len(known) - 1), *purpose)


def shown(name: str, most: int = 60) -> str:
    """A name for a sentence, in quotes, and only its beginning where it is long.

    >>> shown("abc", 2)
    "'ab...'"
    """
    return repr(name if len(name) <= most else f"{name[:most]}...")


def listing(names: Iterable[str], most: int = 5) -> str:
    """Names for a sentence, the first few of them.

    >>> listing(["b", "a"])
    "'a', 'b'"
    """
    known = sorted(set(names))
    rest = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(shown(name) for name in known[:most]) + rest
