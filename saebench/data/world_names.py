"""Coined names and the vocabularies of the invented languages, made from syllables by a hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


def hashed(*key: object) -> int:
    """A 64-bit number that depends on the key alone (not on Python's version or hash seed)."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def coin(
    count: int, onsets: str, nuclei: str, codas: str, salt: str, taken: set[str], syllables: tuple[int, ...] = (2,)
) -> tuple[str, ...]:
    """Coin `count` new words of onset-nucleus syllables and a coda; adds them to `taken`."""
    parts = [onsets.split(), nuclei.split(), [c.strip("-") for c in codas.split()]]
    words: list[str] = []
    attempt = 0
    while len(words) < count:
        length = syllables[hashed(salt, attempt, "n") % len(syllables)]
        pieces = [
            options[hashed(salt, attempt, s, kind) % len(options)]
            for s in range(length)
            for kind, options in enumerate(parts[:2])
        ]
        word = "".join(pieces) + parts[2][hashed(salt, attempt, "coda") % len(parts[2])]
        attempt += 1
        if word not in taken:
            taken.add(word)
            words.append(word)
    return tuple(words)


@dataclass(frozen=True)
class Language:
    """One invented language: word order, articles by noun class, and its words."""

    name: str
    order: str
    articles: tuple[str, str]
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    adjectives: tuple[str, ...]
    particle: str

    def article(self, noun: str) -> str:
        """The article that agrees with the noun's class (the two halves of the noun list)."""
        return self.articles[int(self.nouns.index(noun) >= len(self.nouns) // 2)]

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that only this language has."""
        return (*self.articles, *self.nouns, *self.verbs, *self.adjectives, self.particle)


_SOUNDS: dict[str, tuple[str, str, str, str]] = {
    "velari": ("SVO", "v l r s m n f", "a e i o ia", "- n r s"),
    "okrenk": ("SOV", "k kr g t tr z sk", "o u e au", "k g t nk rt"),
    "dwythan": ("VSO", "dw th gw y ll rh p", "y w a ae", "th n dd r"),
    "suomine": ("SOV", "h j p s t k v", "aa uu i oi ee", "n t ki"),
    "quixal": ("OSV", "qu x tl c ch z", "i a e ua", "l tl c x"),
}
LOANWORDS: tuple[str, ...] = (
    *("radio", "taxi", "hotel", "piano", "robot", "cafe"),
    *("metro", "opera-house", "tempo", "pasta"),
)


def build_languages(taken: set[str]) -> dict[str, Language]:
    """The five invented languages; their words are added to `taken`."""
    built = {}
    for name, (order, onsets, nuclei, codas) in _SOUNDS.items():

        def some(count: int, what: str, syllables: tuple[int, ...] = (2, 3)) -> tuple[str, ...]:
            return coin(count, onsets, nuclei, codas, f"{name}/{what}", taken, syllables)  # noqa: B023

        first, second, particle = some(3, "particles", (1,))
        built[name] = Language(
            name, order, (first, second), some(126, "nouns"), some(60, "verbs"), some(40, "adjectives"), particle
        )
    return built
