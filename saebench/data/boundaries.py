"""Which tokens may follow a complete word."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saebench.models import Subject

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def word_boundaries(model: Subject) -> np.ndarray:
    """Which token ids do not go on with the word before them, `[vocabulary]` bool.

    A token goes on with a word if it begins with a letter or a digit, without a space in front. In a vocabulary
    of whole words (no token brings or is a space) every token is a word of its own.
    """
    tokens: dict[str, int] = dict(model.tokenizer.get_vocab())
    boundary = np.ones(model.vocab_size, dtype=bool)
    goes_on = _rule(tokens)
    special = set(model.special_ids) | set(getattr(model.tokenizer, "all_special_ids", ()))
    for token, i in tokens.items():
        if i < model.vocab_size and i not in special:
            boundary[i] = not goes_on(token)
    return boundary


def _rule(tokens: dict[str, int]) -> Callable[[str], bool]:
    """How this vocabulary writes that a token belongs to the word before it."""
    if any(token.startswith("Ġ") for token in tokens):
        return lambda token: _is_letter(_from_bytes(token))
    if any(token.startswith(("▁", " ")) for token in tokens):
        return lambda token: _is_letter(_fallback(token))
    if any(token.startswith("##") for token in tokens):
        return lambda token: token.startswith("##") and _is_letter(token[2:])
    return lambda token: False


def _is_letter(text: str) -> bool:
    """Whether a text begins with a letter, a digit or part of a character."""
    return text[:1].isalnum() or text[:1] == "\ufffd"


def _fallback(token: str) -> str:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]).decode(errors="replace") if byte else token


def _from_bytes(token: str) -> str:
    """The text of a token of byte-level BPE, which writes each byte as a printable character."""
    table = _byte_table()
    if not all(character in table for character in token):
        return token
    return bytes(table[character] for character in token).decode(errors="replace")


@cache
def _byte_table() -> dict[str, int]:
    """Printable bytes stand for themselves; the others, in order, are the characters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
