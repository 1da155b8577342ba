"""Tasks and pairs over a common pool of texts, from labelled rows."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

from saebench.data.held_out import listing, shown
from saebench.data.labelled import LabelledTexts, SpuriousPair, Task
from saebench.data.labelled_split import (
    KEPT,
    PARTS,
    Labelling,
    Row,
    by_class,
    cleaned,
    cut,
    cut_balanced,
    cut_last_token,
    divided,
    drawn,
)
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.specs import LabelledSpec

_Parts = dict[str, list[Row]]

SHOWN = 6
"""Most reasons in the sentence that says why nothing could be made."""


class Builder:
    """Collects tasks and pairs; each distinct text is kept once.

    Args:
        spec: Sizes and what to keep.
        seed: Of the splits.
        hollow: Texts that hold no content token for the model; they are left out.
    """

    def __init__(self, spec: LabelledSpec, seed: int, hollow: Container[str] = ()) -> None:
        self.spec = spec
        self.seed = seed
        self._hollow = hollow
        self._pool: dict[str, int] = {}
        self._tasks: list[Task] = []
        self._pairs: list[SpuriousPair] = []
        self._left_out: list[str] = []

    def add(self, given: Labelling) -> None:
        """Make a task of a labelling, and its pairs; what cannot be made is named."""
        rows, left_out = cleaned(given, self._hollow)
        self._left_out += left_out
        if not given.in_order:
            rows = drawn(rows, self.seed)
        if given.plain:
            self._add_task(given, rows)
        if self.spec.protocol == "mean" and given.pairs != ():
            self._add_pairs(given, rows)

    def finish(self, source: str, notes: dict[str, str]) -> LabelledTexts:
        """The texts with all that was made of them.

        Raises:
            UserError: Nothing could be made; the message says why.
        """
        if not self._tasks and not self._pairs:
            few = self._left_out if len(self._left_out) <= SHOWN else [*self._left_out[: SHOWN - 1], self._left_out[-1]]
            more = f"; and {len(self._left_out) - len(few)} more like these" if len(few) < len(self._left_out) else ""
            why = "; ".join(few) + more or "it holds no labelled text"
            raise UserError(f"Labelled data {source!r} makes no task: {why}.")
        return LabelledTexts(
            texts=tuple(self._pool),
            tasks=tuple(self._tasks),
            pairs=tuple(self._pairs),
            seed=self.seed,
            left_out=tuple(self._left_out),
            source=source,
            notes=notes,
        )

    def _add_task(self, given: Labelling, rows: list[Row]) -> None:
        present = {row.label for row in rows}
        classes = [c for c in (given.classes or ordered(present)) if c in present]
        if len(classes) < 2:
            what = f"one class only ({shown(classes[0])}, {len(rows)} texts)" if classes else "no labelled text"
            self._left_out.append(f"task {given.name!r}: {what}, and two are needed")
            return
        found = self._cut(given, rows, classes)
        if not any(members for parts in found.values() for members in parts.values()):
            few = f"{len(classes)} balanced classes have no more than the {KEPT} texts that are kept for scoring"
            self._left_out.append(f"task {given.name!r}: by the last-token protocol its {few}")
            return
        kept = [c for c in classes if self._enough(given.name, c, found.get(c, {}))]
        if kept != classes and self.spec.protocol == "last_token" and len(kept) > 1:
            found = self._cut(given, [row for row in rows if row.label in kept], kept)
        if len(kept) < 2:
            number = f"one class ({shown(kept[0])})" if kept else "no class"
            self._left_out.append(f"task {given.name!r}: {number} with enough texts, and two are needed")
            return
        uses = given.uses or frozenset({"probing", "tpp"} if len(kept) > 2 else {"probing"})
        arrays = {part: [(self._at(row), i) for i, c in enumerate(kept) for row in found[c][part]] for part in PARTS}
        train, test = (np.array(arrays[part], dtype=np.int64).T for part in PARTS)
        self._tasks.append(Task(given.name, tuple(kept), train[0], train[1], test[0], test[1], uses))

    def _cut(self, given: Labelling, rows: list[Row], classes: Sequence[str]) -> dict[str, _Parts]:
        if self.spec.protocol == "last_token":
            return cut_last_token(rows, classes)
        found = by_class(divided(rows, self.spec))
        if given.balanced:
            return cut_balanced(found, self.spec, given.attribute or ordered({row.attribute for row in rows}))
        return cut(found, self.spec)

    def _enough(self, name: str, c: str, parts: _Parts) -> bool:
        fit, score = (len(parts.get(part, ())) for part in PARTS)
        if fit >= self.spec.min_train and score >= self.spec.min_test:
            return True
        self._left_out.append(
            f"{name}: class {shown(c)} has {fit} texts to fit on and {score} to score on, "
            f"and {self.spec.min_train} and {self.spec.min_test} are needed"
        )
        return False

    def _add_pairs(self, given: Labelling, rows: list[Row]) -> None:
        values = given.attribute or ordered({row.attribute for row in rows if row.attribute})
        if not values:
            return
        if len(values) != 2:
            self._left_out.append(f"pairs of {given.name!r}: the attribute needs two values, not {listing(values)}")
            return
        classes = ordered({row.label for row in rows})
        pairs = given.pairs if given.pairs is not None else list(zip(classes[::2], classes[1::2], strict=False))
        found = by_class(divided(rows, self.spec))
        for pair in pairs:
            self._add_pair(given.name, found, (pair[0], pair[1]), (values[0], values[1]))

    def _add_pair(self, name: str, found: dict[str, _Parts], pair: tuple[str, str], values: tuple[str, str]) -> None:
        full = f"{name} {pair[0]}/{pair[1]}"
        chosen: list[list[tuple[Row, int, int]]] = []
        for part, most, least in (
            ("train", self.spec.train // 2, -(-self.spec.min_train // 2)),
            ("test", self.spec.test // 2, -(-self.spec.min_test // 2)),
        ):
            quadrants = _quadrants(found, pair, values, part)
            count, (i, j) = min((len(rows), key) for key, rows in quadrants.items())
            if count < least:
                what = f"{count} texts of {pair[i]!r} and {values[j]!r} in {part}, and {least} are needed"
                self._left_out.append(f"pair {full!r}: {what}")
                return
            chosen.append([(row, i, j) for (i, j), rows in quadrants.items() for row in rows[: min(count, most)]])
        train, test = (
            np.array([(self._at(row), i, j) for row, i, j in members], dtype=np.int64).T for members in chosen
        )
        self._pairs.append(SpuriousPair(full, pair, values, *train, *test))

    def _at(self, row: Row) -> int:
        return self._pool.setdefault(row.text, len(self._pool))


def _quadrants(
    found: dict[str, _Parts], pair: tuple[str, str], values: tuple[str, str], part: str
) -> dict[tuple[int, int], list[Row]]:
    """Rows of each class and value of the attribute, by their numbers."""
    return {
        (i, j): [row for row in found.get(c, {}).get(part, ()) if row.attribute == value]
        for i, c in enumerate(pair)
        for j, value in enumerate(values)
    }


def ordered(labels: set[str]) -> list[str]:
    """Labels in the order of their numbers where all are numbers, of their letters otherwise.

    >>> ordered({"10", "9"}), ordered({"yes", "no"})
    (['9', '10'], ['no', 'yes'])
    """
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)
