"""A small world with known answers: seeded documents with the truth about every token.

`document(seed, i)` depends on its two numbers alone, so that any part of a corpus can be made again.
Each random choice is charged, in nats, to the word where it shows: `Document.nll` is what the best possible
reader would pay, and a language model's loss can be held against it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from saebench.data.world_facts import (
    FORGET_DOMAIN,
    LETTERS,
    SPECIAL_TOKENS,
    Entity,
    spelling_words,
    vocabulary,
    word_labels,
    world,
)
from saebench.data.world_kinds import KINDS
from saebench.data.world_writer import Writer, ask, draw_options

WORLD_DIR: Path = Path(__file__).parent / "world_files"
MODEL_DIR: Path = WORLD_DIR / "model"
SAES_DIR: Path = WORLD_DIR / "saes"
TRAIN_SEED = 1
HELD_OUT_SEED = 1_000_003
MAX_TOKENS = 128
KIND_NAMES: tuple[str, ...] = tuple(KINDS)
TOKEN_LABELS: tuple[str, ...] = (
    "pos", "topic", "sentiment", "language", "first_letter",
    "entity", "entity_type", "attribute", "attribute_of", "answer", "spelled",
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One document and the truth about it.

    Attributes:
        kind: One of `KIND_NAMES`.
        tokens: The words; every one is a token of the model's vocabulary.
        labels: What is true of the whole document (profession, gender, rating, topic, language, domain ...).
        nll: Surprisal of the generator's choices in nats, one entry a token (kind included, at the first).
        end_nll: Surprisal of the document's end after the last token.
        marks: What single tokens stand for in this document, by their place.
    """

    kind: str
    tokens: tuple[str, ...]
    labels: dict[str, str]
    nll: list[float]
    end_nll: float
    marks: dict[int, dict[str, str]]

    @property
    def text(self) -> str:
        """The words, joined by single spaces."""
        return " ".join(self.tokens)

    @cached_property
    def token_labels(self) -> dict[str, list[str]]:
        """For each name of `TOKEN_LABELS` one entry a token, "" where the label does not apply."""
        known = _labels_by_name()
        found = {name: [known[name].get(token, "") for token in self.tokens] for name in TOKEN_LABELS}
        for place, marks in self.marks.items():
            for name, label in marks.items():
                found[name][place] = label
        return found


@dataclass(frozen=True)
class Quiz:
    """One question: the prompt ends where the answer's letter belongs."""

    prompt: str
    options: tuple[str, ...]
    answer: str
    letter: str
    domain: str
    entity: str
    relation: str


def write(seed: int, index: int, kind: str | None = None) -> tuple[str, Writer]:
    """The kind and the raw writer of a document; for what needs neither labels nor text (training)."""
    names = tuple(KINDS)
    if kind is None:
        kind = random.Random(f"kind/{seed}/{index}").choices(names, [KINDS[k][1] for k in names])[0]
    w = Writer(random.Random(f"document/{seed}/{index}/{kind}"))
    w.pending -= math.log(KINDS[kind][1])
    KINDS[kind][0](w)
    return kind, w


def document(seed: int, index: int, kind: str | None = None) -> Document:
    """Document `index` of a seed, of its own kind or of the one asked for."""
    kind, w = write(seed, index, kind)
    return Document(kind, tuple(w.tokens), dict(w.labels), w.nll, w.pending, w.marks)


@cache
def _labels_by_name() -> dict[str, dict[str, str]]:
    """Of each name of `TOKEN_LABELS`, the label of the words that have one."""
    return {
        name: {word: labels[name] for word, labels in word_labels().items() if name in labels} for name in TOKEN_LABELS
    }


def generate(seed: int, n: int, kinds: Sequence[str] | None = None) -> Iterator[Document]:
    """`n` documents of a seed; with `kinds`, those kinds in equal shares and in turn.

    Raises:
        ValueError: A kind that does not exist.
    """
    for kind in kinds or ():
        if kind not in KINDS:
            raise ValueError(f"no kind {kind!r} in the world; there are {', '.join(KINDS)}")
    for i in range(n):
        yield document(seed, i, kinds[i % len(kinds)] if kinds else None)


def documents(n: int, seed: int = HELD_OUT_SEED, kinds: Sequence[str] | None = None) -> list[Document]:
    """`n` documents that the shipped model has not seen (with the default seed)."""
    return list(generate(seed, n, kinds))


def entities(type: str | None = None) -> tuple[Entity, ...]:  # noqa: A002
    """The fixed entities, of one type (city, country, person, beast, mineral, blight) or of all."""
    return world().entities[type] if type else world().all_entities


def attribute_prompt(entity: Entity, relation: str) -> str:
    """Text that the entity's attribute completes."""
    return f"{entity.name} is a {entity.type} . the {relation} of {entity.name} is"


def quizzes(n: int | None = None, seed: int = HELD_OUT_SEED, domain: str | None = None) -> list[Quiz]:
    """Questions on every fact of a domain (or of all), in an order and with options fixed by the seed."""
    facts = [(e, r) for e in world().all_entities if domain in (None, e.domain) for r in e.attributes]
    random.Random(f"quizzes/{seed}").shuffle(facts)
    made = []
    for entity, relation in facts[:n]:
        w = Writer(random.Random(f"quiz/{seed}/{entity.name}/{relation}"))
        options, place = draw_options(w, entity, relation)
        ask(w, entity, relation, options)
        prompt = " ".join((*w.tokens, "answer", ":"))
        right = entity.attributes[relation]
        made.append(Quiz(prompt, tuple(options), right, "ABCD"[place], entity.domain, entity.name, relation))
    return made


@cache
def _read_index(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else "{}"


def sae_index() -> dict[str, dict[str, Any]]:
    """What is known of each shipped SAE, by name; empty where none are shipped."""
    index: dict[str, dict[str, Any]] = json.loads(_read_index(SAES_DIR / "index.json"))
    return index


def sae_names() -> list[str]:
    """The names of the shipped SAEs."""
    return list(sae_index())


__all__ = [
    "FORGET_DOMAIN", "HELD_OUT_SEED", "KIND_NAMES", "LETTERS", "MAX_TOKENS", "MODEL_DIR", "SAES_DIR",
    "SPECIAL_TOKENS", "TOKEN_LABELS", "TRAIN_SEED", "WORLD_DIR", "Document", "Entity", "Quiz", "attribute_prompt",
    "document", "documents", "entities", "generate", "quizzes", "sae_index", "sae_names", "spelling_words",
    "vocabulary", "word_labels",
]  # fmt: skip
