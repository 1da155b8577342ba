"""Token ids as pieces of text that, joined, are the text: for byte-level tokenizers and any script as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BROKEN = "\ufffd"
"""What a decoder writes for bytes that are no character yet."""


class Pieces:
    """The text that each token adds to what stands in front of it.

    A token is decoded behind another one, so that it keeps the space in front of a word. Where the pieces of a row
    do not join to its text (a character spread over several tokens), the row is decoded token by token, and the
    character goes to the token that completes it.

    Args:
        tokenizer: None for a model without one: a token is then its id behind a space.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}
        self._lead: list[int] = [] if tokenizer is None else _lead(tokenizer)
        self._front = self._decoded([]) if tokenizer is not None else ""

    def of(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The pieces of a row."""
        if self._tokenizer is None:
            return tuple(f" {i}" for i in ids)
        pieces = tuple(self._piece(int(i)) for i in ids)
        if any(_BROKEN in piece for piece in pieces) or self._front + "".join(pieces) != self._decoded(ids):
            return self._by_prefix(ids)
        return pieces

    def _piece(self, i: int) -> str:
        if i not in self._known:
            self._known[i] = self._decoded([i])[len(self._front) :]
        return self._known[i]

    def _decoded(self, ids: Sequence[int]) -> str:
        whole = [*self._lead, *(int(i) for i in ids)]
        return str(self._tokenizer.decode(whole, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _by_prefix(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Each token with what it adds to the characters that are complete; the last takes what never is."""
        pieces, told = [], len(self._front)
        for end in range(1, len(ids) + 1):
            text = self._decoded(ids[:end])
            complete = len(text) if end == len(ids) else len(text.rstrip(_BROKEN))
            pieces.append(text[told : max(told, complete)])
            told = max(told, complete)
        return tuple(pieces)


def _lead(tokenizer: Any) -> list[int]:
    """A token that decodes to a word of letters, for others to be decoded behind it; none if there is no such."""
    for i in range(min(len(tokenizer), 4096)):
        text = str(tokenizer.decode([i], skip_special_tokens=False, clean_up_tokenization_spaces=False)).strip()
        if len(text) > 1 and text.isalpha() and text.isascii() and i not in set(tokenizer.all_special_ids):
            return [i]
    return []
