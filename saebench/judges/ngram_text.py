"""Patterns of tokens as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saebench.judges.ngram import Patterns

_MOST_TOKENS, _MOST_GROUPS = 8, 5


def sentence(known: Patterns) -> str:
    """What the patterns say, such as `fires on "mother" or "father" after "the * 's"`."""
    groups: dict[tuple[bool, tuple[tuple[int, str], ...]], list[str]] = {}
    for pattern in known.patterns:
        own = [token for distance, token in pattern.tokens if distance == 0]
        before = tuple(part for part in pattern.tokens if part[0])
        groups.setdefault((bool(own), before), []).extend(own)
    if not groups:
        return "fires without a pattern of tokens"
    parts = [_group(before, tokens) for (_, before), tokens in list(groups.items())[:_MOST_GROUPS]]
    more = len(groups) - _MOST_GROUPS
    return "fires " + "; ".join(parts) + (f"; and {more} more patterns" if more > 0 else "")


def shown(token: str) -> str:
    """A token for reading: without the space in front of a word, line ends and bare spaces made visible."""
    text = token.replace("\n", "\u21b5").replace("\t", "\u21e5")
    return text.strip(" ") or ("\u2423" * len(text) if text else "\u2205")


def _group(before: tuple[tuple[int, str], ...], tokens: list[str]) -> str:
    named = [f'"{shown(token)}"' for token in dict.fromkeys(tokens)]
    more = len(named) - _MOST_TOKENS
    what = " or ".join(named[:_MOST_TOKENS]) + (f" or {more} more" if more > 0 else "")
    return f"on {what or 'any token'}" + (f" after {_after(before)}" if before else "")


def _after(before: tuple[tuple[int, str], ...]) -> str:
    """Tokens in front by their distance, with a star for each one between that does not matter."""
    known = {distance: shown(token) for distance, token in before}
    return '"' + " ".join(known.get(distance, "*") for distance in range(max(known), 0, -1)) + '"'
