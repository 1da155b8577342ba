"""The writer of documents: words, and the surprisal of each choice at the word where it shows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from saebench.data.world_facts import Entity, world
from saebench.data.world_lists import NUMBERS, POSITIVE_CHANCE

T = TypeVar("T")


class Writer:
    """Collects words, and charges each random choice (in nats) to the word where it shows."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tokens: list[str] = []
        self.nll: list[float] = []
        self.marks: dict[int, dict[str, str]] = {}
        self.labels: dict[str, str] = {}
        self.pending = 0.0
        self._end_cost = 0.0

    def add(self, *words: str, **marks: str) -> None:
        """Append words; costs that wait are charged to the first of them."""
        for word in words:
            if marks:
                self.marks[len(self.tokens)] = marks
            self.tokens.append(word)
            self.nll.append(self.pending)
            self.pending = 0.0

    def choose(self, options: Sequence[T]) -> T:
        """Draw one option uniformly; the next word bears the cost."""
        self.pending += math.log(len(options))
        return options[int(self.rng.random() * len(options))]

    def pick(self, options: Sequence[str], **marks: str) -> str:
        """Draw one word uniformly and append it."""
        word = self.choose(options)
        self.add(word, **marks)
        return word

    def flip(self, chance: float) -> bool:
        """True with the given chance; the next word bears the cost."""
        hit = self.rng.random() < chance
        self.pending -= math.log(chance if hit else 1.0 - chance)
        return hit

    def count(self, low: int, high: int) -> int:
        """How many parts the document has; charged to what follows the last of them."""
        self._end_cost += math.log(high - low + 1)
        return low + int(self.rng.random() * (high - low + 1))

    def close_count(self) -> None:
        """Charge the number of parts to the next word, or to the end of the document."""
        self.pending += self._end_cost
        self._end_cost = 0.0

    def mention(self, entity: Entity) -> None:
        """Append an entity's name."""
        self.add(*entity.words, entity=entity.name, entity_type=entity.type)

    def value(self, entity: Entity, relation: str) -> None:
        """Append the value of an entity's attribute."""
        self.add(entity.attributes[relation], attribute=relation, attribute_of=entity.name)


class Rating:
    """Draws words by sentiment, and charges them what a reader who does not know the rating would pay."""

    def __init__(self, w: Writer) -> None:
        self.w = w
        self.value = int(w.rng.random() * 5)
        self.belief = [0.2] * 5

    def positive(self) -> bool:
        hit = self.w.rng.random() < POSITIVE_CHANCE[self.value]
        self.belief = [b * (c if hit else 1 - c) for b, c in zip(self.belief, POSITIVE_CHANCE, strict=True)]
        total = sum(self.belief)
        self.w.pending -= math.log(total)
        self.belief = [b / total for b in self.belief]
        return hit

    def state(self) -> None:
        self.w.pending -= math.log(self.belief[self.value])
        self.w.add(NUMBERS[self.value])


def draw_options(w: Writer, entity: Entity, relation: str) -> tuple[list[str], int]:
    """Four options, the right one at a uniform place; neither written nor charged."""
    right = entity.attributes[relation]
    wrong = [v for v in world().values[entity.type, relation] if v != right]
    place = int(w.rng.random() * 4)
    options = w.rng.sample(wrong, 3)
    options.insert(place, right)
    return options, place


def ask(w: Writer, entity: Entity, relation: str, options: Sequence[str]) -> None:
    """Write a question, drawn from all facts, and its four options; each word bears its own surprisal."""
    everything = world().all_entities
    having = sum(relation in e.attributes for e in everything)
    w.add("what", "is", "the")
    w.pending += math.log(len(everything) * len(entity.attributes) / having)
    w.add(relation, "of")
    w.pending += math.log(having)
    w.mention(entity)
    w.add("?")
    wrong = len(world().values[entity.type, relation]) - 1
    answered = False
    for i, (letter, option) in enumerate(zip("ABCD", options, strict=True)):
        w.add(letter)
        if option == entity.attributes[relation]:
            w.pending += math.log(4 - i)
            w.value(entity, relation)
            answered = True
        else:
            w.pending += math.log(wrong) if answered else math.log(wrong * (4 - i) / (3 - i))
            w.add(option)
            wrong -= 1
