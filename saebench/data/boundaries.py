"""Which tokens may follow a complete word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from saebench.models import Subject

_SPACED = ("Ġ", "▁", " ")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def word_boundaries(model: Subject) -> np.ndarray:
    """Which token ids do not go on with the word before them, `[vocabulary]` bool.

    A token goes on with a word if it begins with a letter or a digit, without a space in front. In a vocabulary
    of whole words (no token brings or is a space) every token is a word of its own.
    """
    tokens: dict[str, int] = dict(model.tokenizer.get_vocab())
    boundary = np.ones(model.vocab_size, dtype=bool)
    if not any(token.startswith((*_SPACED, "##")) for token in tokens):
        return boundary
    hashed = any(token.startswith("##") for token in tokens) and not any(t.startswith(("Ġ", "▁")) for t in tokens)
    special = set(model.special_ids) | set(getattr(model.tokenizer, "all_special_ids", ()))
    for token, i in tokens.items():
        if i < model.vocab_size and i not in special:
            boundary[i] = not (_goes_on_hashed(token) if hashed else _goes_on(token))
    return boundary


def _goes_on(token: str) -> Any:
    byte = _BYTE.fullmatch(token)
    if byte:
        value = int(byte[1], 16)
        return value >= 128 or chr(value).isalnum()
    return token[:1].isalnum()


def _goes_on_hashed(token: str) -> Any:
    return token.startswith("##") and token[2:3].isalnum()
