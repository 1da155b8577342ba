"""A place for results that several metrics need and that should be computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """Results by key, made at the first asking.

    Metrics of one family (accuracy, AUROC and F1 of the same probes) share their work through it. A key
    starts with the name of the family and names every setting that the result depends on.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def known(self, key: Hashable) -> Any:
        """The result under a key, None if nobody has asked for it."""
        return self._made.get(key)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result under a key, made now if nobody has asked for it before."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]
