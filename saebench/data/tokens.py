"""Prompts as token rows, with the place of a word in them found by its characters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.models import Subject

_CHUNK = 2048


class Passage(NamedTuple):
    """A text in three parts, of which the middle one is to be found among the tokens."""

    before: str
    target: str
    after: str


class Located(NamedTuple):
    """Token ids of a passage, BOS included, and the positions of the target's first and last token."""

    ids: np.ndarray
    first: int
    last: int


class Encoder:
    """The model's tokenizer, for prompts.

    Raises:
        UserError: The model has no tokenizer.
    """

    def __init__(self, model: Subject, *, prepend_bos: bool = True) -> None:
        if model.tokenizer is None:
            raise UserError(
                f"Prompts are text, but model {model.name!r} has no tokenizer: "
                "pass one to load_model(..., tokenizer=...)."
            )
        self.model = model
        self.tokenizer: Any = model.tokenizer
        self._front = [model.bos_id] if prepend_bos and model.bos_id is not None else []

    @property
    def room(self) -> float:
        """Most tokens that the model takes."""
        return self.model.max_context or float("inf")

    @cached_property
    def unknown(self) -> int | None:
        """Id that stands for what the vocabulary does not have, if the tokenizer has one of its own."""
        token = getattr(self.tokenizer, "unk_token_id", None)
        return None if token in (None, self.model.bos_id) else int(token)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Ids by token, as the tokenizer writes them."""
        return dict(self.tokenizer.get_vocab())

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts as they are, without BOS."""
        found: list[list[int]] = []
        for i in range(0, len(texts), _CHUNK):
            found += self.tokenizer(list(texts[i : i + _CHUNK]), add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of texts with BOS in front (once, where a text brings its own)."""
        return [self._row(ids) for ids in self.ids(texts)]

    def continuations(self, prompts: Sequence[str], values: Sequence[str]) -> list[tuple[int, ...] | None]:
        """Token ids of each value as the next word of its prompt; None where it cannot be told from the prompt.

        They are the ids of prompt, space and value together, less those of the prompt. A value that the
        vocabulary does not have gives None.
        """
        whole = self.ids([f"{prompt} {value}" for prompt, value in zip(prompts, values, strict=True)])
        found: list[tuple[int, ...] | None] = []
        for ids, prompt in zip(whole, self.ids(prompts), strict=True):
            rest = tuple(ids[len(prompt) :])
            usable = rest and ids[: len(prompt)] == prompt and self.unknown not in rest
            found.append(rest if usable else None)
        return found

    def locate(self, passages: Sequence[Passage]) -> list[Located | str]:
        """Each passage as tokens with its target's place, or the reason why it has none."""
        if not getattr(self.tokenizer, "is_fast", False):
            return [self._by_prefix(passage) for passage in passages]
        found: list[Located | str] = []
        for i in range(0, len(passages), _CHUNK):
            part = passages[i : i + _CHUNK]
            coded = self.tokenizer(
                ["".join(p) for p in part], add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            found += map(self._by_span, part, coded["input_ids"], coded["offset_mapping"])
        return found

    def _row(self, ids: list[int]) -> np.ndarray:
        front = [] if ids[:1] == self._front else self._front
        return np.array([*front, *ids], dtype=np.int32)

    def _by_span(self, passage: Passage, ids: list[int], spans: list[tuple[int, int]]) -> Located | str:
        start = len(passage.before)
        end = start + len(passage.target)
        start += len(passage.target) - len(passage.target.lstrip())
        inside = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
        if not inside:
            return "no token stands for it"
        if spans[inside[-1]][1] > end:
            return "its last token goes on beyond it"
        return self._found(ids, inside[0], inside[-1])

    def _by_prefix(self, passage: Passage) -> Located | str:
        """For a tokenizer without offsets: the target ends where the text up to it ends."""
        before, upto, whole = self.ids([passage.before, passage.before + passage.target, "".join(passage)])
        if whole[: len(upto)] != upto:
            return "its last token goes on beyond it"
        same = [a == b for a, b in zip(before, upto, strict=False)]
        first = same.index(False) if False in same else len(same)
        return self._found(whole, first, len(upto) - 1) if first < len(upto) else "no token stands for it"

    def _found(self, ids: list[int], first: int, last: int) -> Located | str:
        if self.unknown is not None and self.unknown in ids[first : last + 1]:
            return "it is not in the vocabulary"
        row = self._row(ids)
        return Located(row, first + len(row) - len(ids), last + len(row) - len(ids))
