"""Numbers as text: as many digits as the standard error warrants, lined up on the decimal point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_high

from saebench.leaderboard.rows import Score

MOST_DECIMALS = 7
"""Most decimals of a cell; a column of which most cells need more is written in scientific notation."""


@dataclass(frozen=True)
class Text:
    """A score as text; the parts are padded so that all cells of a column line up.

    Attributes:
        value: The value with its blanks, or "" where there is none.
        error: Standard error with its blanks, "[low, high]", or only blanks where there is none.
    """

    value: str
    error: str


def decimals_for(stderr: float) -> int:
    """Decimals that show one significant digit of a standard error, two where the first is a 1.

    >>> [decimals_for(e) for e in (0.0004, 0.012, 0.0196, 3.0, 25.0)]
    [4, 3, 2, 0, 0]
    """
    exponent = math.floor(math.log10(stderr))
    leading = stderr / 10.0**exponent
    return max((1 if round(leading, 1) < 1.95 else 0) - exponent, 0)


def column_text(
    scores: Sequence[Score | None], error: str = "stderr", digits: int | None = None, pad: tuple[str, str] = ("", "")
) -> list[Text | None]:
    """The scores of one column as text, None where there is no number.

    Args:
        scores: One column, from top to bottom.
        error: What stands beside the value: "stderr", "interval" or "none".
        digits: Decimals for every cell; from the standard errors if None.
        pad: Blanks as wide as a digit and as a decimal point, for the lining up; empty for none.
    """
    known = [score for score in scores if score is not None and score.known]
    places = {id(score): _decimals(score, known, digits) for score in known}
    if digits is None and _tiny(known, places) or _huge(known):
        return [_scientific(score, error) if score is not None and score.known else None for score in scores]
    most = MOST_DECIMALS if digits is None else digits
    plain = {id(score): _plain(score, min(places[id(score)], most), error) for score in known}
    values = _line_up([text.value for text in plain.values()], pad)
    errors = _line_up([text.error for text in plain.values()], pad) if error == "stderr" else None
    padded: dict[int, Text] = {}
    for i, (key, text) in enumerate(plain.items()):
        padded[key] = Text(values[i], errors[i] if errors else text.error)
    return [padded.get(id(score)) if score is not None else None for score in scores]


def _decimals(score: Score, column: Sequence[Score], digits: int | None) -> int:
    if digits is not None:
        return digits
    if _has_error(score):
        return decimals_for(_spread(score))
    others = [decimals_for(_spread(other)) for other in column if _has_error(other)]
    if others:
        return median_high(others)
    top = max(abs(other.value) for other in column)
    return min(max(3 - math.floor(math.log10(top)), 0), 6) if top > 0 else 0


def _spread(score: Score) -> float:
    """Standard error, or that of a normal distribution with the score's interval."""
    return score.stderr if math.isfinite(score.stderr) else (score.high - score.low) / (2 * 1.959964)


def _has_error(score: Score) -> bool:
    spread = _spread(score)
    return math.isfinite(spread) and spread > 0


def _tiny(column: Sequence[Score], places: Mapping[int, int]) -> bool:
    """Whether most cells need more decimals than there are, or one would show hardly a digit in them."""
    finer = [score for score in column if places[id(score)] > MOST_DECIMALS]
    return 2 * len(finer) > len(column) or any(0 < abs(score.value) < 10.0 ** (1 - MOST_DECIMALS) for score in finer)


def _huge(column: Sequence[Score]) -> bool:
    return any(abs(score.value) >= 1e7 for score in column)


def _plain(score: Score, decimals: int, error: str) -> Text:
    value = _fixed(score.value, decimals)
    if error == "interval" and math.isfinite(score.low) and math.isfinite(score.high):
        return Text(value, f"[{_fixed(score.low, decimals)}, {_fixed(score.high, decimals)}]")
    if error == "stderr" and _has_error(score) and math.isfinite(score.stderr):
        least = 10.0**-decimals if decimals == MOST_DECIMALS else 0.0  # an error too small to show is rounded up
        return Text(value, _fixed(max(score.stderr, least), decimals))
    return Text(value, "")


def _fixed(value: float, decimals: int) -> str:
    """Fixed decimals, never "-0.00"."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _scientific(score: Score, error: str) -> Text:
    if error == "interval" and math.isfinite(score.low) and math.isfinite(score.high):
        return Text(f"{score.value:.2e}", f"[{score.low:.2e}, {score.high:.2e}]")
    return Text(f"{score.value:.2e}", f"{score.stderr:.1e}" if error == "stderr" and _has_error(score) else "")


def _line_up(texts: Sequence[str], pad: tuple[str, str]) -> list[str]:
    """Fill with blanks left and right of the decimal point; an empty text becomes all blanks."""
    digit, point = pad
    if not digit:
        return list(texts)
    parts = [text.partition(".") for text in texts]
    left = max((len(whole) for whole, _, _ in parts), default=0)
    right = max((len(fraction) for _, _, fraction in parts), default=0)
    lined: list[str] = []
    for text, (whole, dot, fraction) in zip(texts, parts, strict=True):
        tail = (point if right and not dot else "") + digit * (right - len(fraction))
        lined.append(digit * (left - len(whole)) + text + tail)
    return lined
