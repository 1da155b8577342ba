"""What can go wrong with a call, by what is to be done about it."""

from __future__ import annotations


class Fault(Exception):
    """May pass: the call is tried again, after `wait` seconds where the endpoint named them.

    Attributes:
        reason: `timed out` or `failed: ...`.
        wait: Seconds that the endpoint asked to wait, None where it did not.
        reached: Whether the endpoint answered at all.
    """

    def __init__(self, reason: str, wait: float | None = None, *, reached: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.reached = reached


class Incompatible(Exception):
    """The endpoint answered with something that is no chat completion; the message is its beginning."""


class Refitted(Exception):
    """The endpoint does not take a field of the request; the next try leaves it out or renames it."""


class GaveUp(Exception):
    """A question stays without a reply; the message is the reason."""


class Halted(Exception):
    """Nothing more is asked, because another call met an error that will not pass."""
