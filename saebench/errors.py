"""Errors shown to a user as one clear sentence, and the search for the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked for; shown without a traceback.

    The message says what is wrong, where, and how to mend it.
    """


class PluginWarning(UserWarning):
    """A plug-in that could not be loaded; the run goes on without it."""


def nearest(name: str, options: Iterable[str]) -> str:
    """A sentence that offers the option closest to `name`, or lists the options when none is close, the likest of many.

    >>> nearest("loss_recoverd", ["loss_recovered", "l0"])
    "Did you mean 'loss_recovered'?"
    >>> nearest("zzz", ["b", "a"])
    'Choose from: a, b.'
    """
    known = sorted(set(options))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    if not known:
        return "There is none to choose from."
    if len(known) <= 20:
        return f"Choose from: {', '.join(known)}."
    shown = difflib.get_close_matches(name, known, n=20, cutoff=0.0)
    return f"Choose from: {', '.join(shown)} and {len(known) - 20} more."


def unknown(kind: str, name: str, options: Iterable[str]) -> UserError:
    """The error for a name that is not among the known ones."""
    return UserError(f"Unknown {kind} {name!r}. {nearest(name, options)}")
