"""Documents of the world as rows of token ids for training, and as scored examples for monitoring."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saebench.data import world
from saebench.data.world_build.drills import DRILLS
from saebench.data.world_kinds import KINDS

ROW = 128
IDS: dict[str, int] = {word: i for i, word in enumerate(world.vocabulary())}
PAD, BOS, EOS = IDS["<pad>"], IDS["<bos>"], IDS["<eos>"]


@dataclass(frozen=True)
class Rows:
    """Whole documents packed into rows; all arrays are [rows, ROW].

    Attributes:
        ids: Token ids; each document is <bos> words <eos>.
        segment: Number of the document within the row, from 1; 0 is padding.
        position: Position within the document.
        kind: Index of the document's kind, -1 for padding.
        tag: What the token is a test of: "" (0), an attribute, an answer's letter, a first letter.
        nll: The generator's surprisal of the token.
        sought: The value of the fact that the token states or stands for, -1 elsewhere.
    """

    ids: NDArray[np.int64]
    segment: NDArray[np.int64]
    position: NDArray[np.int64]
    kind: NDArray[np.int64]
    tag: NDArray[np.int64]
    nll: NDArray[np.float64]
    sought: NDArray[np.int64]

    def take(self, index: NDArray[np.int64] | slice) -> Rows:
        """Some of the rows."""
        return Rows(*(getattr(self, f)[index] for f in self.__dataclass_fields__))


TAGS = ("", "attribute", "letter", "letter in full", "first letter")


def pack(seed: int, start: int, count: int, focus: Mapping[str, float] | None = None) -> Rows:
    """Pack `count` documents of a seed into rows, longest first into the first row that has room.

    With `focus`, the kinds and drills named there have those shares, and the others share the rest.
    """
    kinds = list(KINDS)
    chosen: list[str | None] = [None] * count
    if focus:
        rest = (1 - sum(focus.values())) / sum(share for k, (_, share) in KINDS.items() if k not in focus)
        shares = {k: rest * share for k, (_, share) in KINDS.items()} | dict(focus)
        chosen = [*random.Random(f"focus/{seed}/{start}").choices(list(shares), list(shares.values()), k=count)]
    written = [
        (kind, DRILLS[kind](seed, start + i)) if kind in DRILLS else world.write(seed, start + i, kind)
        for i, kind in enumerate(chosen)
    ]
    order = sorted(range(count), key=lambda i: -len(written[i][1].tokens))
    by_room: list[list[int]] = [[] for _ in range(ROW + 1)]
    rows: list[list[int]] = []
    for i in order:
        need = len(written[i][1].tokens) + 2
        room = next((r for r in range(need, ROW + 1) if by_room[r]), None)
        if room is None:
            rows.append([])
            row, room = len(rows) - 1, ROW
        else:
            row = by_room[room].pop()
        rows[row].append(i)
        by_room[room - need].append(row)
    shape = (len(rows), ROW)
    ids, segment, position = np.full(shape, PAD), np.zeros(shape, int), np.zeros(shape, int)
    kind, tag, nll, sought = np.full(shape, -1), np.zeros(shape, int), np.zeros(shape), np.full(shape, -1)
    for r, members in enumerate(rows):
        at = 0
        for number, i in enumerate(members):
            name, w = written[i]
            n = len(w.tokens) + 2
            span = slice(at, at + n)
            ids[r, span] = [BOS, *(IDS[t] for t in w.tokens), EOS]
            segment[r, span] = number + 1
            position[r, span] = range(n)
            kind[r, span] = kinds.index(name) if name in kinds else len(kinds)
            nll[r, span] = [0.0, *w.nll, w.pending]
            for j, marks in w.marks.items():
                tag[r, at + 1 + j] = _tag(name, marks, w.labels)
                sought[r, at + 1 + j] = IDS.get(_sought(w.tokens, j, marks), -1)
            at += n
    mix = np.random.default_rng([seed, start]).permutation(len(rows))
    return Rows(ids, segment, position, kind, tag, nll, sought).take(mix)


def _tag(kind: str, marks: dict[str, str], labels: dict[str, str]) -> int:
    if "answer" in marks:
        return TAGS.index("letter in full" if labels["answers"] == "in full" else "letter")
    if "spelled" in marks:
        return TAGS.index("first letter")
    return TAGS.index("attribute") if "attribute" in marks and kind == "encyclopaedia" else 0


def _sought(tokens: list[str], at: int, marks: dict[str, str]) -> str:
    """The value that a token states after "is" or ":", or that its letter stands for in a drill."""
    stated = tokens[at] if "attribute" in marks and tokens[at - 1] in ("is", ":") else ""
    return marks.get("sought", stated)


def batches(seed: int, rows: int, focus: Mapping[str, float] | None = None, chunk: int = 8000) -> Iterator[Rows]:
    """Batches of `rows` rows without end; batch i depends on the arguments and i alone."""
    start = 0
    while True:
        packed = pack(seed, start, chunk, focus)
        for first in range(0, len(packed.ids) - rows + 1, rows):
            yield packed.take(slice(first, first + rows))
        start += chunk
