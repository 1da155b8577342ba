"""Labelled rows become tasks: cleaned, divided by hash, cut to size, and what was left out is named."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from saebench.data.held_out import listing

if TYPE_CHECKING:
    from saebench.data.specs import LabelledSpec

PARTS = ("train", "test")
MOST, FIT, KEPT = 5000, 1024, 100
"""Of a task of the last-token protocol: most texts, most of them to fit on, and how many are kept from fitting."""


class Row(NamedTuple):
    """A text with what is said of it; empty strings where nothing is said."""

    text: str
    label: str
    attribute: str = ""
    part: str = ""


@dataclass(frozen=True)
class Labelling:
    """The rows of one task as they were read.

    Attributes:
        name: The task's name.
        rows: In any order; a row without a part is divided by hash.
        classes: Classes that take part, in their order; None for all labels there are.
        uses: Metric families the task is meant for; None: TPP too where there are more than two classes.
        balanced: Whether each class takes as many texts of either value of the attribute.
        attribute: The two values of the attribute, in their order; None for those there are.
        pairs: Pairs of classes for SCR; None for the classes two by two.
        plain: Whether the classes are a task, or there for the pairs alone.
        in_order: Whether rows are taken in their order, or by hash.
    """

    name: str
    rows: Iterable[Row]
    classes: tuple[str, ...] | None = None
    uses: frozenset[str] | None = None
    balanced: bool = False
    attribute: tuple[str, str] | None = None
    pairs: tuple[tuple[str, str], ...] | None = None
    plain: bool = True
    in_order: bool = False


def cleaned(given: Labelling, hollow: Container[str] = ()) -> tuple[list[Row], list[str]]:
    """Each text once, and a sentence for every kind of row that was left out.

    Rows without a text or a label are left out; exact duplicates are merged; a text with two labels is left out;
    a text that is both in train and in test is kept in train.

    Args:
        given: The rows.
        hollow: Texts to leave out because they hold no content token for the model.
    """
    counts: Counter[str] = Counter()
    kept: dict[str, Row] = {}
    torn: set[str] = set()
    for row in given.rows:
        if not row.text.strip() or not row.label:
            counts["without a text" if not row.text.strip() else "without a label"] += 1
            continue
        if given.classes is not None and row.label not in given.classes:
            continue
        if row.text in hollow:
            counts["whose text is special tokens alone"] += 1
            continue
        before = kept.setdefault(row.text, row)
        if before is row:
            continue
        if before[1:3] != row[1:3]:
            torn.add(row.text)
        elif before.part != row.part:
            counts["in train and in test, kept in train"] += 1
            kept[row.text] = row._replace(part="train")
        else:
            counts["that say what another says"] += 1
    left_out = [f"{given.name}: {count} rows {why}" for why, count in sorted(counts.items())]
    if torn:
        shown = listing((text[:40] for text in torn), 3)
        left_out.append(f"{given.name}: {len(torn)} texts with more than one label: {shown}")
    return [row for text, row in kept.items() if text not in torn], left_out


def drawn(rows: Iterable[Row], seed: int) -> list[Row]:
    """Rows in an order that depends on the seed and each text alone; those that come first are taken first."""
    named = hashlib.blake2b(f"{seed}\0labelled\0".encode(), digest_size=8)

    def place(row: Row) -> tuple[bytes, str]:
        state = named.copy()
        state.update(row.text.encode())
        return state.digest(), row.text

    return sorted(rows, key=place)


def divided(rows: Sequence[Row], spec: LabelledSpec) -> list[Row]:
    """Every row with its part.

    Rows of a class (and value of the attribute) without a part are divided in the ratio of the spec's sizes: those
    that come first are for scoring.
    """
    strata: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if not row.part:
            strata.setdefault((row.label, row.attribute), []).append(row)
    scored: set[str] = set()
    share = spec.test / (spec.train + spec.test)
    for members in strata.values():
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        scored.update(row.text for row in members[:count])
    return [row if row.part else row._replace(part=PARTS[row.text in scored]) for row in rows]


def by_class(rows: Iterable[Row]) -> dict[str, dict[str, list[Row]]]:
    """Rows of each class and part, in their order."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.label not in found:
            found[row.label] = {part: [] for part in PARTS}
        found[row.label][row.part].append(row)
    return found


def cut(classes: dict[str, dict[str, list[Row]]], spec: LabelledSpec) -> dict[str, dict[str, list[Row]]]:
    """At most the spec's number of rows for each class and part."""
    sizes = {"train": spec.train, "test": spec.test}
    return {c: {part: rows[: sizes[part]] for part, rows in parts.items()} for c, parts in classes.items()}


def cut_balanced(
    classes: dict[str, dict[str, list[Row]]], spec: LabelledSpec, values: Sequence[str]
) -> dict[str, dict[str, list[Row]]]:
    """As `cut`, with equally many rows of each value of the attribute in a class and part."""
    sizes = {"train": spec.train // 2, "test": spec.test // 2}
    found = {}
    for c, parts in classes.items():
        found[c] = {}
        for part, rows in parts.items():
            sides = [[row for row in rows if row.attribute == value] for value in values]
            count = min(sizes[part], *map(len, sides))
            found[c][part] = [row for side in sides for row in side[:count]]
    return found


def cut_last_token(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, dict[str, list[Row]]]:
    """The sizes of sae-probes, with balanced classes.

    Of n texts (at most 5,000) min(n - 100, 1024) are to fit on and n - train - 1 to score on; what does not divide
    evenly goes to the last class first. Rows that have a part keep it, at most 1,024 of them to fit on.
    """
    if any(row.part for row in rows):
        return _cut_parts([row for row in rows if row.part], classes)
    members = {c: [row for row in rows if row.label == c] for c in classes}
    size = min(MOST, len(classes) * min(map(len, members.values())))
    train = max(min(size - KEPT, FIT), 0)
    test = max(size - train - 1, 0) if train else 0
    found = {}
    for back, c in enumerate(reversed(classes)):
        fit, score = (n // len(classes) + (back < n % len(classes)) for n in (train, test))
        found[c] = {"train": members[c][:fit], "test": members[c][fit : fit + score]}
    return {c: found[c] for c in classes}


def _cut_parts(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, dict[str, list[Row]]]:
    members = by_class(rows)
    most = last_token_sizes(len(classes))
    sizes = {part: min(most[part], *(len(members[c][part]) for c in classes)) for part in PARTS}
    return {c: {part: members[c][part][: sizes[part]] for part in PARTS} for c in classes}


def last_token_sizes(classes: int) -> dict[str, int]:
    """Most texts of a class and part, where the parts are given."""
    return {"train": FIT // classes, "test": (MOST - FIT) // classes}
