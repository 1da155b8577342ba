"""Hierarchies of the world: first letters, continents of places, fields of people, categories of products.

A word is read together with the one behind it. The world's model has a head in its first block that looks one word
back, and gathers there what a word stands for, its letter or its continent; at the word itself a probe finds little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from saebench.data import world
from saebench.data import world_lists as lists
from saebench.data.tokens import Encoder, Passage
from saebench.data.words_lists import Drill, WordList, example_pool
from saebench.errors import unknown

if TYPE_CHECKING:
    from saebench.data.prompt_specs import WordSpec

DEFAULT = ("first_letter", "continent", "field")
_KINDS: dict[str, tuple[str, ...]] = {
    "continent": ("encyclopaedia",),
    "field": ("encyclopaedia",),
    "category": ("review",),
}
"""Kinds of documents whose texts show the words of each hierarchy."""
_MOST_DOCUMENTS = 4000


def from_world(names: Sequence[str], spec: WordSpec, encoder: Encoder, seed: int) -> list[WordList]:
    """Hierarchies of the world by name, in the world's own phrases.

    Raises:
        UserError: A hierarchy that the world does not have.
    """
    found = []
    for name in names or DEFAULT:
        if name != "first_letter" and name not in _KINDS:
            raise unknown("hierarchy of the world", name, ["first_letter", *_KINDS])
        found.append(_letters(spec, encoder, seed) if name == "first_letter" else _in_documents(name, spec, seed))
    return found


def _letters(spec: WordSpec, encoder: Encoder, seed: int) -> WordList:
    words = [word for word in world.spelling_words() if len(word) >= spec.min_length]
    known = [word for word in words if word in encoder.vocabulary] or words
    separator = " " if spec.separator is None else spec.separator
    drill = Drill(spec.template or "{word} has the first letter : {letter} .", separator)
    passages = drill.passages(example_pool(known, seed), spec.examples, seed)
    return WordList("first_letter", {word: word[0] for word in known}, lambda word: [*map(_with_next, passages(word))])


def _with_next(passage: Passage) -> Passage:
    """The same passage with the word behind the target as part of it."""
    following, _, rest = passage.after.strip().partition(" ")
    if not following:
        return passage
    return Passage(passage.before, f"{passage.target} {following}", f" {rest}" if rest else "")


def _in_documents(name: str, spec: WordSpec, seed: int) -> WordList:
    groups = _groups(name)
    contexts: dict[str, list[Passage]] = {word: [] for word in groups}
    missing = set(groups)
    for word, passage in _mentions(name, groups, seed):
        if passage not in contexts[word] and word in missing:
            contexts[word].append(passage)
            if len(contexts[word]) == spec.contexts:
                missing.discard(word)
                if not missing:
                    break
    return WordList(name, groups, lambda word: contexts[word])


def _groups(name: str) -> dict[str, str]:
    if name == "continent":
        return {e.name: e.attributes["continent"] for type_ in ("country", "city") for e in world.entities(type_)}
    if name == "field":
        return {e.words[-1]: e.attributes["field"] for e in world.entities("person")}
    pairs = [(word, c) for table in (lists.PRODUCTS, lists.ASPECTS) for c, words in table.items() for word in words]
    homes: dict[str, set[str]] = {}
    for word, category in pairs:
        homes.setdefault(word, set()).add(category)
    return {word: next(iter(found)) for word, found in homes.items() if len(found) == 1}


def _mentions(name: str, groups: dict[str, str], seed: int) -> Iterator[tuple[str, Passage]]:
    """Each word with the text up to the word behind its first mention, over held-out documents in a fixed order."""
    kinds = _KINDS[name]
    for i in range(_MOST_DOCUMENTS):
        document = world.document(world.HELD_OUT_SEED + seed, i, kinds[i % len(kinds)])
        seen: set[str] = set()
        marked = document.token_labels
        for place, token in enumerate(document.tokens):
            if token not in groups or token in seen:
                continue
            seen.add(token)
            option = document.kind == "quiz" and not marked["entity"][place]
            if place and not option:
                here = " ".join(document.tokens[place : place + 2])
                yield token, Passage(" ".join(document.tokens[:place]) + " ", here, "")
