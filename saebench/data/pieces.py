"""Token ids as pieces of text that, joined, are the text: for byte-level tokenizers and any script as well."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

_BROKEN = "\ufffd"
"""What a decoder writes for bytes that are no character yet."""
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")


class Pieces:
    """The text that each token adds to what stands in front of it.

    A token is decoded behind another one, so that it keeps the space in front of a word. A character spread over
    several tokens goes to the one that completes it, and the others have no text; bytes that are no character, as where
    a window cuts one, are a replacement character each or all together, and harm none of their neighbours. Tokens of
    single bytes (`<0xE5>`) are put together here, because decoders give up a whole run of them for one that is cut.

    Args:
        tokenizer: None for a model without one: a token is then its id behind a space.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}
        self._bytes: dict[int, int | None] = {}
        self._lead: list[int] = [] if tokenizer is None else _lead(tokenizer)
        self._front = self._decoded([]) if tokenizer is not None else ""

    def of(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The pieces of a row."""
        if self._tokenizer is None:
            return tuple(f" {i}" for i in ids)
        runs = [(single, [*run]) for single, run in groupby(map(int, ids), lambda i: self._byte(i) is not None)]
        return tuple(piece for single, run in runs for piece in (self._joined(run) if single else self._texts(run)))

    def _byte(self, i: int) -> int | None:
        """The byte that a token stands for; None for one of text."""
        if i not in self._bytes:
            found = _BYTE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(i)))
            self._bytes[i] = int(found[1], 16) if found and self._piece(i) != found[0] else None
        return self._bytes[i]

    def _joined(self, ids: Sequence[int]) -> list[str]:
        """Tokens of bytes with the characters that they complete."""
        reader = codecs.getincrementaldecoder("utf-8")("replace")
        return [reader.decode(bytes([self._byte(i) or 0]), final=end == len(ids)) for end, i in enumerate(ids, 1)]

    def _texts(self, ids: Sequence[int]) -> Sequence[str]:
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
        pieces: list[str] = []
        told, open_since = len(self._front), 0
        for end in range(1, len(ids) + 1):
            text = self._decoded(ids[:end])
            complete = len(text) if end == len(ids) else len(text.rstrip(_BROKEN))
            new = text[told : max(told, complete)]
            told += len(new)
            pieces.append(new)
            if new:
                self._own(pieces, open_since)
                open_since = end
        return tuple(pieces)

    @staticmethod
    def _own(pieces: list[str], first: int) -> None:
        """Give what turned out to be no character to the first of the tokens that were waited for, not to the last."""
        rest = pieces[-1].lstrip(_BROKEN)
        if rest and first < len(pieces) - 1:
            pieces[first], pieces[-1] = pieces[-1][: len(pieces[-1]) - len(rest)], rest


def _lead(tokenizer: Any) -> list[int]:
    """A token that decodes to a word of letters, for others to be decoded behind it; none if there is no such."""
    for i in range(min(len(tokenizer), 4096)):
        text = str(tokenizer.decode([i], skip_special_tokens=False, clean_up_tokenization_spaces=False)).strip()
        if len(text) > 1 and text.isalpha() and text.isascii() and i not in set(tokenizer.all_special_ids):
            return [i]
    return []
