"""File names of pages: safe on every system, and no two alike."""

from __future__ import annotations

from collections.abc import Iterable

from saebench.leaderboard.build import slug

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
"""Names that Windows keeps for devices, whatever their ending."""


def page_names(names: Iterable[str]) -> list[str]:
    """A file name without ending for each name, in their order.

    Only letters, digits, `_` and `-`; names that differ in capitals alone get numbers, as some file systems
    take them for one.

    >>> page_names(["a/b", "a b", "../../etc", "CON", "<script>"])
    ['a-b', 'a-b-2', 'etc', 'page-CON', 'script']
    """
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        stem = slug(name)
        stem = f"page-{stem}" if stem.lower() in RESERVED else stem
        unique, count = stem, 2
        while unique.lower() in taken:
            unique, count = f"{stem}-{count}", count + 1
        taken.add(unique.lower())
        found.append(unique)
    return found
