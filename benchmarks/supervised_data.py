"""The data of `supervised.py`: the world's documents in the shape of the reference suite's own datasets.

Eight tasks with 35 classes (the reference has 36), two of them for TPP, and two with an attribute for SCR. Each
file holds text, label, attribute and split; both sides read the same files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebench.data.world import HELD_OUT_SEED, Document, document, spelling_words

SPLITS = ("train", "test")
_MOST_DOCUMENTS = 400_000

PROFESSIONS = (
    ("dentist", "pharmacist", "lawyer", "notary", "chemist"),
    ("botanist", "lecturer", "tutor", "teacher", "poet"),
    ("painter", "baker", "tailor", "bailiff", "surgeon"),
)
CATEGORIES = ("kitchen", "garden", "books", "toys", "clothing")
_STARS = {"1": "low", "2": "low", "4": "high", "5": "high"}


def _label(name: str) -> Callable[[Document], str]:
    return lambda document: document.labels.get(name, "")


def _stars(document: Document) -> str:
    return _STARS.get(document.labels["rating"], "")


@dataclass(frozen=True)
class Plan:
    """A task: the kind of document that shows it, its classes, and what it is for."""

    kind: str
    label: Callable[[Document], str]
    classes: tuple[str, ...]
    tpp: bool = False


@dataclass(frozen=True)
class PairPlan:
    """Pairs of classes that an attribute may be confused with."""

    kind: str
    label: Callable[[Document], str]
    attribute: Callable[[Document], str]
    values: tuple[str, str]
    pairs: tuple[tuple[str, str], ...]


TASKS: dict[str, Plan] = {
    "profession_1": Plan("biography", _label("profession"), PROFESSIONS[0], tpp=True),
    "profession_2": Plan("biography", _label("profession"), PROFESSIONS[1]),
    "profession_3": Plan("biography", _label("profession"), PROFESSIONS[2]),
    "category": Plan("review", _label("category"), CATEGORIES, tpp=True),
    "rating": Plan("review", _stars, ("low", "high")),
    "dialect": Plan("code", _label("dialect"), ("pyra", "curl", "lisk", "stako")),
    "topic": Plan("news", _label("topic"), ("politics", "sports", "business", "science")),
    "language": Plan("language", _label("language"), ("velari", "quixal", "okrenk", "suomine", "dwythan")),
}
PAIRS: dict[str, PairPlan] = {
    "scr_profession": PairPlan(
        "biography", _label("profession"), _label("gender"), ("male", "female"),
        (("dentist", "pharmacist"), ("lawyer", "notary"), ("chemist", "botanist"), ("lecturer", "tutor")),
    ),
    "scr_category": PairPlan(
        "review", _label("category"), _stars, ("low", "high"),
        (("kitchen", "garden"), ("books", "toys"), ("electronics", "clothing"), ("toys", "garden")),
    ),
}  # fmt: skip


def write(folder: Path, train: int, pairs: int) -> dict[str, Any]:
    """Write all files, and return what `tasks.json` says.

    Args:
        train: Texts of a class to fit on; a quarter as many to score on, as in the reference suite.
        pairs: Pairs of each SCR dataset.
    """
    folder.mkdir(parents=True)
    test = train // 4
    spec: dict[str, Any] = {"train": train, "test": test, "tasks": {}, "tpp": [], "scr": {}}
    for name, plan in TASKS.items():
        wanted = {(c, "", split): n for c in plan.classes for split, n in zip(SPLITS, (train, test), strict=True)}
        _save(folder / f"{name}.jsonl", _rows(plan.kind, plan.label, lambda _: "", wanted))
        spec["tasks"][name] = list(plan.classes)
        spec["tpp"] += [name] * plan.tpp
    for name, plan in PAIRS.items():
        chosen = plan.pairs[:pairs]
        # The reference wants twice as many, and one more, where the attribute goes with the class.
        wanted = {
            (c, v, split): n + 1
            for pair in chosen
            for c in pair
            for v in plan.values
            for split, n in zip(SPLITS, (train, test), strict=True)
        }
        _save(folder / f"{name}.jsonl", _rows(plan.kind, plan.label, plan.attribute, wanted))
        spec["scr"][name] = {"pairs": [list(pair) for pair in chosen], "attribute": list(plan.values)}
    (folder / "tasks.json").write_text(json.dumps(spec), encoding="utf-8")
    words = [word for word in spelling_words() if len(word) > 1]
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    return spec


def _rows(
    kind: str,
    label: Callable[[Document], str],
    attribute: Callable[[Document], str],
    wanted: dict[tuple[str, str, str], int],
) -> Iterator[dict[str, str]]:
    """The first held-out documents of each class, value and split; every fifth document is to score on."""
    found: Counter[tuple[str, str, str]] = Counter()
    seen: set[str] = set()
    missing = sum(wanted.values())
    for number in range(_MOST_DOCUMENTS):
        made = document(HELD_OUT_SEED, number, kind)
        key = (label(made), attribute(made), SPLITS[number % 5 == 0])
        if made.text in seen or found[key] >= wanted.get(key, 0):
            continue
        seen.add(made.text)
        found[key] += 1
        yield {"text": made.text, "label": key[0], "attribute": key[1], "split": key[2]}
        missing -= 1
        if not missing:
            return
    raise SystemExit(f"the world has too few documents of kind {kind!r}: {missing} are missing; take a smaller size")


def _save(file: Path, rows: Iterator[dict[str, str]]) -> None:
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


def read(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of one file."""
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
