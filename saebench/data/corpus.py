"""A tokenised corpus: rows of at most `context` tokens, each part of one document, and the units they form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.data.texts import SYNTHETIC, Text, default_source, read_texts
from saebench.data.token_labels import Marks, encoded
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.specs import LabelledSpec
    from saebench.models import Subject
    from saebench.suite import TextSpec

BLOCKS = 128
"""Most blocks of documents that a corpus is cut into for the intervals."""

_CHUNK = 256


@dataclass(frozen=True)
class Corpus:
    """Token ids of all rows laid end to end, so that a corpus costs its ids and nothing more.

    Attributes:
        name: What a user calls it (`text`).
        tokens: Ids of all rows, `[total]` int32.
        starts: Where each row starts, `[rows + 1]` int64.
        documents: Document of each row, `[rows]` int64, counted from 0.
        special: Ids that are not content (BOS, EOS, PAD); they are never scored nor replaced.
        domains: Domain label of each document, or empty where there are none.
        context: Most tokens in a row.
        skipped: Documents left out because they hold no content token.
        source: Where it came from, in words.
        picked: Which tokens count, `[total]` bool, where only some places are looked at; None for all content.
        about: Hash of what is known of the rows besides their tokens: labels, splits, answers.
        read: Documents of the source that were read to make it.
        marks: What the source knows of each token, where it knows anything.
    """

    name: str
    tokens: np.ndarray
    starts: np.ndarray
    documents: np.ndarray
    special: frozenset[int]
    domains: tuple[str, ...]
    context: int
    skipped: int
    source: str
    picked: np.ndarray | None = None
    about: str = ""
    read: int = 0
    marks: Marks | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, specials included, `[rows]`."""
        return np.diff(self.starts)

    @cached_property
    def valid(self) -> np.ndarray:
        """Which tokens count, `[total]` bool: the picked places, or all content."""
        return ~np.isin(self.tokens, list(self.special)) if self.picked is None else self.picked

    @cached_property
    def blocks(self) -> np.ndarray:
        """Unit of each row: contiguous blocks of whole documents, at most `BLOCKS`, `[rows]` int64."""
        count = int(self.documents[-1]) + 1
        return self.documents * min(BLOCKS, count) // count

    @cached_property
    def content(self) -> int:
        """Number of valid tokens."""
        return int(self.valid.sum())

    @cached_property
    def hash(self) -> str:
        """Content hash of ids, rows and documents, 16 hex digits."""
        digest = hashlib.blake2b(digest_size=8)
        for array in (self.tokens, self.starts, self.documents):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((sorted(self.special), self.domains)).encode())
        if self.picked is not None:
            digest.update(np.packbits(self.picked).tobytes())
        digest.update(self.about.encode())
        return digest.hexdigest()

    def row(self, index: int) -> np.ndarray:
        """Token ids of one row, specials included."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]


def build_corpus(
    name: str, source: Any, spec: TextSpec, model: Subject, *, offline: bool = False, after: int = 0
) -> Corpus:
    """Read and tokenise documents until the token budget is met.

    A document is cut into rows of `context` tokens, each with BOS in front; rows of different documents
    never share a context. Already tokenised rows are taken as they are. The row that meets the budget is the last.

    Args:
        after: Documents of the source to pass over first.

    Raises:
        UserError: No document, no content token, or no tokenizer for text.
    """
    if isinstance(source, str) and source == "default":
        source = default_source(model.name)
    texts = _drawn(source, spec, model) or read_texts(source, spec, offline=offline)
    budget = spec.tokens or float("inf")
    rows: list[np.ndarray] = []
    owners: list[int] = []
    domains: list[str] = []
    known: list[Mapping[str, Sequence[str]]] = []
    seen = skipped = content = 0
    special = np.array(sorted(model.special_ids), dtype=np.int32)
    front = int(spec.prepend_bos and model.bos_id is not None)
    for text, ids in tokenised(islice(texts, after, spec.documents), model, name):
        seen += 1
        parts = [ids] if text.ids is not None else cut(ids, spec, model)
        upto = content + np.cumsum([(~np.isin(part, special)).sum() for part in parts])
        if not len(parts) or upto[-1] == content:
            skipped += 1
            continue
        parts = parts[: int(np.searchsorted(upto, budget)) + 1]
        kept = sum(map(len, parts)) - front * len(parts)
        rows += parts
        owners += [len(domains)] * len(parts)
        domains.append(text.labels.get("domain", ""))
        known.append({family: labels[:kept] for family, labels in text.token_labels.items()})
        content = int(upto[len(parts) - 1])
        if content >= budget:
            break
    _refuse_empty(name, source, seen, skipped, rows)
    _refuse_foreign(name, rows, model)
    _refuse_long(name, rows, model)
    return Corpus(
        name=name,
        tokens=np.concatenate(rows),
        starts=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        documents=np.array(owners, dtype=np.int64),
        special=frozenset(int(i) for i in special),
        domains=tuple(domains) if any(domains) else (),
        context=spec.context,
        skipped=skipped,
        source=source if isinstance(source, str) else type(source).__name__,
        read=after + seen,
        marks=_marks(known, rows, owners, front),
    )


def _drawn(source: Any, spec: TextSpec, model: Subject) -> Iterator[Text] | None:
    """A known dictionary's own draws; None for any other text.

    Raises:
        UserError: A known dictionary reads nothing else, and no other model reads its draws.
    """
    own = isinstance(source, str) and source == SYNTHETIC
    if model.truth is None and not own:
        return None
    if model.truth is None:
        raise UserError(f"{SYNTHETIC!r} is the text of a known dictionary, such as --model synthetic:flat?d=64&n=256.")
    if not own and not hasattr(source, "shape"):
        raise UserError(f"{model.name} is no language model and reads no text: leave --data out.")
    return (Text(ids=ids) for ids in model.truth.rows(spec.context)) if own else None


def _marks(
    known: list[Mapping[str, Sequence[str]]],
    rows: list[np.ndarray],
    owners: list[int],
    front: int,
) -> Marks | None:
    """The token labels of documents that all have them, one for each token; else None."""
    lengths = np.bincount(owners, [len(row) - front for row in rows], minlength=len(known))
    sizes = [{len(labels) for labels in families.values()} for families in known]
    if any(size != {int(length)} for size, length in zip(sizes, lengths, strict=True)):
        return None
    return encoded(known, [(front, len(row) - front) for row in rows])


def item_corpus(
    name: str,
    rows: Sequence[np.ndarray],
    special: Iterable[int],
    *,
    source: str,
    at: Sequence[int] | np.ndarray | None = None,
    about: str = "",
) -> Corpus:
    """A corpus of items, one row and one document each, in their order.

    Args:
        rows: Token ids of each item.
        at: The one position of each item that is looked at, `[items]`; None for all content.
        about: Hash of what else is known of the items.
    """
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    picked = None
    if at is not None:
        picked = np.zeros(starts[-1], dtype=bool)
        picked[starts[:-1] + np.asarray(at, dtype=np.int64)] = True
    return Corpus(
        name=name,
        tokens=np.concatenate(rows).astype(np.int32),
        starts=starts,
        documents=np.arange(len(rows), dtype=np.int64),
        special=frozenset(int(i) for i in special),
        domains=(),
        context=max(map(len, rows)),
        skipped=0,
        source=source,
        picked=picked,
        about=about,
    )


def tokenised(texts: Iterable[Text], model: Subject, name: str) -> Iterator[tuple[Text, np.ndarray]]:
    """Yield each text with its token ids, special tokens not added.

    Raises:
        UserError: Text, but a model without a tokenizer.
    """
    stream = iter(texts)
    while chunk := list(islice(stream, _CHUNK)):
        plain = [text.text for text in chunk if text.ids is None]
        if plain and model.tokenizer is None:
            raise UserError(
                f"Data {name!r} is text, but model {model.name!r} has no tokenizer: "
                "pass one to load_model(..., tokenizer=...), or give token ids."
            )
        encoded = iter(model.tokenizer(plain, add_special_tokens=False)["input_ids"] if plain else [])
        for text in chunk:
            ids = next(encoded) if text.ids is None else text.ids
            yield text, np.asarray(ids, dtype=np.int32)


def cut(ids: np.ndarray, spec: TextSpec, model: Subject) -> list[np.ndarray]:
    """Token ids as rows of at most `context` tokens, each with BOS in front where the spec asks for it."""
    head, ids, room = _fronted(ids, spec, model)
    return [np.concatenate([head, ids[i : i + room]]) for i in range(0, len(ids), room)]


def truncated(ids: np.ndarray, spec: LabelledSpec, model: Subject) -> np.ndarray:
    """Token ids as one row of at most `context` tokens, or what the model takes: the text's beginning, or its end."""
    head, ids, room = _fronted(ids, spec, model)
    room = min(room, (model.max_context or spec.context) - len(head))
    return np.concatenate([head, ids[:room] if spec.truncate == "right" else ids[-room:]])


def _fronted(ids: np.ndarray, spec: TextSpec | LabelledSpec, model: Subject) -> tuple[np.ndarray, np.ndarray, int]:
    """What stands in front of each row, the ids without it, and the room that is left for them."""
    front = [model.bos_id] if spec.prepend_bos and model.bos_id is not None else []
    if front and len(ids) and ids[0] == front[0]:
        ids = ids[1:]
    return np.array(front, dtype=np.int32), ids, spec.context - len(front)


def _refuse_empty(name: str, source: Any, seen: int, skipped: int, rows: list[np.ndarray]) -> None:
    where = f"{source!r}" if isinstance(source, str) else "what was given"
    if not seen:
        raise UserError(f"Data {name!r} is empty: {where} holds no document.")
    if not rows:
        raise UserError(f"Data {name!r} has no content: all {skipped} documents of {where} hold only special tokens.")
    if max(map(len, rows)) < 2:
        raise UserError(f"Data {name!r} is too short: no row of {where} has two tokens, so nothing can be predicted.")


def _refuse_long(name: str, rows: list[np.ndarray], model: Subject) -> None:
    longest = max(map(len, rows))
    if model.max_context is not None and longest > model.max_context:
        raise UserError(
            f"Data {name!r} has rows of {longest} tokens, more than the {model.max_context} that {model.name} accepts: "
            f"give --context {model.max_context}, or in the suite text: {{context: {model.max_context}}}."
        )


def _refuse_foreign(name: str, rows: list[np.ndarray], model: Subject) -> None:
    highest = max(int(row.max()) for row in rows if len(row))
    if highest >= model.vocab_size:
        raise UserError(
            f"Data {name!r} holds token id {highest}, but model {model.name!r} knows only {model.vocab_size} tokens: "
            "it was tokenised for another model."
        )
