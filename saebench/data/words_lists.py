"""Words in groups, with the prompts that show them, before they are tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saebench.data.draws import generator
from saebench.data.held_out import chance
from saebench.data.tokens import Encoder, Passage

if TYPE_CHECKING:
    from saebench.data.prompt_specs import WordSpec

MARKS = ("Ġ", "▁", " ")
"""How vocabularies write the space in front of a word: byte-level BPE, SentencePiece, plain."""


@dataclass(frozen=True)
class WordList:
    """One hierarchy as a source gives it.

    Attributes:
        name: Such as `first_letter`.
        groups: Group of each word.
        passages: From a word to the prompts that show it; a word's prompts do not depend on the other words.
        left_out: A sentence for what the source left out.
    """

    name: str
    groups: dict[str, str]
    passages: Callable[[str], Sequence[Passage]]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drill:
    """A first-letter prompt: lines on other words, and then the line on the word.

    Attributes:
        template: One line, with {word} and {letter}.
        separator: Between two lines.
        lead: In front of the first line.
    """

    template: str
    separator: str
    lead: str = ""

    def passages(self, pool: Sequence[str], count: int, seed: int) -> Callable[[str], Sequence[Passage]]:
        """From a word to its one prompt, with examples drawn from a pool by seed and word."""
        before, _, after = self.template.partition("{word}")

        def make(word: str) -> Sequence[Passage]:
            rng = generator(seed, "words", "first_letter", word)
            drawn = rng.choice(len(pool), min(count + 1, len(pool)), replace=False).tolist() if count else []
            chosen: list[str] = [pool[int(i)] for i in drawn]
            examples = [example for example in chosen if example.strip().lower() != word.strip().lower()][:count]
            lines = [before + example + _filled(after, example) + self.separator for example in examples]
            return [Passage(self.lead + "".join(lines) + before, word, after.partition("{letter}")[0].rstrip())]

        return make


def _filled(after: str, word: str) -> str:
    return after.replace("{letter}", word.strip()[0].upper())


def example_pool(words: Sequence[str], seed: int) -> list[str]:
    """The words that examples are drawn from: the half farthest from those held out for scoring."""
    return [word for word in sorted(words) if chance(seed, "words", "first_letter", word) >= 0.5]


def vocabulary_words(encoder: Encoder, min_length: int) -> list[str]:
    """Words of a-z in a vocabulary, one form each: with a space in front if there is one, in small letters if any.

    The space is part of the word, so that it stands in a prompt as the one token that it is.
    """
    forms: dict[str, tuple[bool, bool, str]] = {}
    for token in encoder.vocabulary:
        mark = token[:1] in MARKS
        letters = token[1:] if mark else token
        if len(letters) < min_length or not (letters.isascii() and letters.isalpha()):
            continue
        form = (mark, letters.islower(), f" {letters}" if mark else letters)
        forms[letters.lower()] = max(form, forms.get(letters.lower(), form))
    return sorted(form[2] for form in forms.values())


def from_vocabulary(spec: WordSpec, encoder: Encoder, seed: int) -> WordList:
    """First letters of the words of the model's own vocabulary, in the reference suite's prompt."""
    words = vocabulary_words(encoder, spec.min_length)
    separator = "\n" if spec.separator is None else spec.separator
    drill = Drill(spec.template or "{word} has the first letter: {letter}", separator, separator)
    passages = drill.passages(example_pool(words, seed), spec.examples, seed)
    return WordList("first_letter", {word: word.strip()[0].lower() for word in words}, passages)
