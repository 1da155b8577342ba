"""Labelled texts of the world: biographies, reviews, news, languages and code, with the truth about each.

A text may state its own label in words, as real biographies do: `notes` says of which tasks that is true. No text
is both in train and in test, in any two tasks; nor is the person of a biography.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from saebench.data import world
from saebench.data import world_lists as lists
from saebench.data.held_out import chance
from saebench.data.labelled_split import PARTS, Labelling, Row, last_token_sizes

if TYPE_CHECKING:
    from saebench.data.specs import LabelledSpec

NOTES: Mapping[str, str] = {
    "profession": "two biographies in three state the profession; nobody is both in train and in test",
    "field": "the profession that most biographies state belongs to one field",
    "gender": "pronouns and first names tell it",
    "rating": "half of the reviews state their stars; low is 1 or 2, high 4 or 5",
}
"""What a text says of its own label, by task."""

_MOST_DOCUMENTS = 40_000
"""Most documents of a kind that are written in search of rare classes."""


class _Document(NamedTuple):
    kind: str
    text: str
    labels: dict[str, str]


_Read = Callable[[_Document], str]


@dataclass(frozen=True)
class _Plan:
    """A task of the world: the kinds that show it, and the label of a document (empty where it has none)."""

    kinds: tuple[str, ...]
    label: _Read
    classes: tuple[str, ...]
    attribute: _Read | None = None
    values: tuple[str, str] | None = None
    pairs: tuple[tuple[str, str], ...] = ()


def _named(name: str) -> _Read:
    return lambda document: document.labels.get(name, "")


def _rating(document: _Document) -> str:
    return {"1": "low", "2": "low", "4": "high", "5": "high"}.get(document.labels["rating"], "")


def _plans() -> dict[str, _Plan]:
    professions = tuple(p for members in lists.FIELDS.values() for p in members)
    languages = tuple(language.name for language in world.world().languages.values())
    dialects = ("pyra", "curl", "lisk", "stako")
    return {
        "profession": _Plan(
            ("biography",), _named("profession"), professions, _named("gender"), ("male", "female"),
            (("dentist", "pharmacist"), ("lawyer", "notary"), ("chemist", "botanist"), ("lecturer", "tutor")),
        ),
        "field": _Plan(("biography",), _named("field"), tuple(lists.FIELDS)),
        "gender": _Plan(("biography",), _named("gender"), ("male", "female")),
        "category": _Plan(
            ("review",), _named("category"), tuple(lists.PRODUCTS), _rating, ("low", "high"),
            (("kitchen", "garden"), ("books", "toys"), ("electronics", "clothing")),
        ),
        "rating": _Plan(("review",), _rating, ("low", "high")),
        "topic": _Plan(("news",), _named("topic"), tuple(lists.TOPIC_NOUNS)),
        "language": _Plan(("language",), _named("language"), languages),
        "dialect": _Plan(("code",), _named("dialect"), dialects),
        "kind": _Plan(world.KIND_NAMES, lambda document: document.kind, world.KIND_NAMES),
    }  # fmt: skip


def task_names() -> tuple[str, ...]:
    """The tasks of the world."""
    return tuple(_plans())


def from_world(names: Sequence[str], spec: LabelledSpec, seed: int) -> list[Labelling]:
    """The labellings of the tasks asked for, with as many documents as they need.

    Texts are taken in the order of the documents' numbers, so that tasks on one kind share most of them; a hash of
    the person (in biographies) or of the text says which are for scoring. A task is the same whatever the others.
    """
    plans = _plans()

    @cache
    def written(i: int, kind: str) -> _Document:
        _, w = world.write(world.HELD_OUT_SEED + seed, i, kind)
        return _Document(kind, " ".join(w.tokens), dict(w.labels))

    return [_labelling(name, plans[name], spec, seed, written) for name in names]


def _labelling(
    name: str, plan: _Plan, spec: LabelledSpec, seed: int, written: Callable[[int, str], _Document]
) -> Labelling:
    rows: dict[str, Row] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    wanted = _wanted(plan, spec)
    short = set(wanted)
    for i in range(_MOST_DOCUMENTS):
        if not short:
            break
        document = written(i, plan.kinds[i % len(plan.kinds)])
        label = plan.label(document)
        if not label or document.text in rows:
            continue
        value = plan.attribute(document) if plan.attribute else ""
        part = _part(document, spec, seed)
        rows[document.text] = Row(document.text, label, value, part)
        for key in {(label, "", part), (label, value, part)}:
            counts[key] += 1
            if counts[key] == wanted.get(key):
                short.discard(key)
    return Labelling(name, rows.values(), plan.classes, attribute=plan.values, pairs=_pairs(plan, spec), in_order=True)


def _pairs(plan: _Plan, spec: LabelledSpec) -> tuple[tuple[str, str], ...]:
    """The pairs that are asked for, or the world's own."""
    return plan.pairs if spec.pairs is None else tuple(pair for pair in spec.pairs if {*pair} <= {*plan.classes})


def _wanted(plan: _Plan, spec: LabelledSpec) -> dict[tuple[str, str, str], int]:
    """Texts of each class, value of the attribute (or none) and part."""
    sizes = {"train": spec.train, "test": spec.test}
    if spec.protocol == "last_token":
        most = last_token_sizes(len(plan.classes))
        return {(c, "", part): min(most[part], sizes[part]) for c in plan.classes for part in PARTS}
    wanted = {(c, "", part): sizes[part] for c in plan.classes for part in PARTS}
    for c in {c for pair in _pairs(plan, spec) for c in pair}:
        wanted |= {(c, value, part): sizes[part] // 2 for value in plan.values or () for part in PARTS}
    return {key: n for key, n in wanted.items() if n}


def _part(document: _Document, spec: LabelledSpec, seed: int) -> str:
    who = document.labels.get("person") or document.text
    return PARTS[chance(seed, "world", who) < spec.test / (spec.train + spec.test)]
