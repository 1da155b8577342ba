"""Contexts as text for a judge: one line each, tokens marked with << >>, strengths from 0 to 10."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from saebench.judges.protocol import Context

OPEN, CLOSE = "<<", ">>"
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Stand in for the marks until the text's own angle brackets are out of their way."""

_LOOKALIKE = {"<": "‹", ">": "›"}
_CONFUSING = re.compile(f"<(?=[<{_OPEN}])|(?<=[<{_OPEN}])<|>(?=[>{_CLOSE}])|(?<=[>{_CLOSE}])>")


def plain(context: Context) -> str:
    """The window on one line, without marks."""
    return one_line(context.text)


def marked(context: Context, positions: Collection[int]) -> str:
    """The window on one line with the tokens at `positions` between << and >>, neighbours between one pair.

    A character spread over several tokens is marked whole where one of them is.
    The text's own double angle brackets, and single ones that would touch a mark, become the look-alikes ‹ and ›,
    so that every << or >> in the result is a mark.
    """
    pieces: list[str] = []
    chosen, inside = frozenset(positions), False
    for part in seen(context):
        token = one_line(part.text)
        if chosen.isdisjoint(part.places) == inside:
            inside = not inside
            space = token[: len(token) - len(token.lstrip(" "))] if inside and token.strip(" ") else ""
            pieces.append(space + _OPEN if inside else _CLOSE)
            token = token[len(space) :]
        pieces.append(token)
    text = "".join([*pieces, _CLOSE] if inside else pieces)
    text = _CONFUSING.sub(lambda found: _LOOKALIKE[found[0]], text)
    return text.replace(_OPEN, OPEN).replace(_CLOSE, CLOSE)


class Seen(NamedTuple):
    """Text of a window that can be shown, with the tokens it belongs to.

    Attributes:
        text: Never empty.
        places: Places of the tokens: the last one is that whose text it is.
        activation: The one of largest size among them.
    """

    text: str
    places: tuple[int, ...]
    activation: float


def seen(context: Context) -> list[Seen]:
    """The window in parts that can be shown.

    A token that holds part of a character has no text of its own; it goes with the one that completes the character.
    """
    if all(context.tokens):
        return [Seen(*part) for part in zip(context.tokens, zip(itertools.count()), context.activations, strict=False)]
    runs: list[list[int]] = []
    whole = True
    for place, token in enumerate(context.tokens):
        if whole:
            runs.append([])
        runs[-1].append(place)
        whole = bool(token)
    if not whole and len(runs) > 1:
        rest = runs.pop()
        runs[-1] += rest
    acts, texts = context.activations, ["".join(context.tokens[place] for place in run) for run in runs]
    return [
        Seen(text, tuple(run), max((acts[place] for place in run), key=abs))
        for text, run in zip(texts, runs, strict=True)
        if text
    ]


def firing(context: Context, threshold: float = 0.0) -> frozenset[int]:
    """Positions whose activation is beyond the threshold in size; any that is not 0, for a threshold of 0."""
    return frozenset(place for place, value in enumerate(context.activations) if abs(value) > threshold)


def largest(contexts: Iterable[Context]) -> float:
    """Largest size of an activation in the contexts, 0 where all are silent."""
    return max((max(map(abs, context.activations), default=0.0) for context in contexts), default=0.0)


def strengths(context: Context, scale: float) -> list[tuple[str, int]]:
    """Each firing token with its activation as an integer up to 10, the size `scale`; negative where it is."""
    return [
        (one_line(part.text).strip(), round(10 * part.activation / scale)) for part in seen(context) if part.activation
    ]


def numbered(lines: Sequence[str]) -> str:
    """Lines with their numbers, from 1."""
    return "\n".join(f"[{number}] {line}" for number, line in enumerate(lines, start=1))


def one_line(text: str) -> str:
    """The text with signs for line breaks and without what cannot be sent."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    text = re.sub(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", "⏎", text)
    text = re.sub(f"[\0{_OPEN}{_CLOSE}]", "\ufffd", text)
    return text.encode("utf-8", "replace").decode("utf-8")
