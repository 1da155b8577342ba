"""What a run tells of itself while it runs; the command draws it, a library call is silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saebench.engine.plan import Plan
    from saebench.results import Row


class Progress:
    """Receives a run's events; this one ignores them all."""

    def planned(self, plan: Plan) -> None:
        """The plan is made; its cached rows are known."""

    def advanced(self, data: str, share: float) -> None:
        """A pass over some data has come this far, from 0 to 1."""

    def finished(self, rows: Sequence[Row]) -> None:
        """Rows are made and stored."""

    def judged(self, name: str, account: str) -> None:
        """All rows are there; what the judge has been asked and what it cost, in words."""
