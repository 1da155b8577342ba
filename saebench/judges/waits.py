"""How long to wait before a call is tried again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime


def asked_wait(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that an endpoint asks to wait (`Retry-After` in seconds or as a date), None where it does not.

    A date is counted from the endpoint's own `Date`, so that a wrong clock on either side does no harm.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after")
    seconds, until = _number(asked), _date(asked)
    if seconds is not None or until is None:
        return seconds
    start = _date(headers.get("date"))
    if start is None:
        start = time.time() if now is None else now
    return max(0.0, until - start)


def backoff(base: float, attempt: int, longest: float) -> float:
    """Seconds before try number `attempt` + 1, doubling from `base`; drawn from the upper half of that.

    Drawn from no seed: many callers that were refused at once must not come back at once.
    """
    return min(longest, base * 2.0 ** min(attempt, 60)) * random.uniform(0.5, 1.0)


def jitter(base: float) -> float:
    """Seconds to add to a wait that many callers share, for the same reason."""
    return random.uniform(0.0, base)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _date(text: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
