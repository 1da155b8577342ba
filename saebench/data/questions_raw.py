"""Multiple-choice questions as a source gives them, and the phrases they are asked in."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from saebench.data.draws import generator

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        domain: Domain of knowledge, such as `wmdp-bio`.
        text: What is asked.
        options: The options.
        answer: Index of the right one.
    """

    domain: str
    text: str
    options: tuple[str, ...]
    answer: int

    @property
    def name(self) -> str:
        """A short name that depends on the question's content alone."""
        content = "\0".join((self.domain, self.text, *self.options))
        return f"{self.domain}/{hashlib.blake2b(content.encode(), digest_size=5).hexdigest()}"


@dataclass(frozen=True)
class Phrases:
    """How a question is put to a model.

    Attributes:
        header: In front, with {subject}.
        option: One option, with {letter} and {option}.
        letter: What the option's letter follows.
        text: What the option's text follows.
    """

    header: str
    option: str
    letter: str
    text: str

    def asked(self, question: Question, order: Sequence[int]) -> str:
        """The question with its options in an order, without the words that the answer follows."""
        options = (
            self.option.format(letter=letter, option=question.options[i])
            for letter, i in zip(LETTERS, order, strict=False)
        )
        subject = "biology" if question.domain == "wmdp-bio" else question.domain.replace("_", " ").replace("-", " ")
        return self.header.replace("{subject}", subject) + question.text + "".join(options)


@dataclass(frozen=True)
class Asked:
    """What a source gives: questions, how to ask them, and which domains are to be forgotten."""

    questions: tuple[Question, ...]
    phrases: Phrases
    forget: tuple[str, ...]


def orders(question: Question, count: int, seed: int) -> list[tuple[int, ...]]:
    """Orders of a question's options: all, or drawn ones that put the right option in each place equally often."""
    size = len(question.options)
    if count >= math.factorial(size):
        return list(permutations(range(size)))
    rng = generator(seed, "orders", question.name)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        start = [int(i) for i in rng.permutation(size)]
        for turn in range(size):
            drawn.setdefault((*start[turn:], *start[:turn]))
    return list(drawn)[:count]
