"""The fixed entities of the world, their attributes, its vocabulary and the labels of each word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

from saebench.data import world_lists as lists
from saebench.data.world_names import LOANWORDS, Language, build_languages, coin, hashed

SPECIAL_TOKENS: tuple[str, ...] = ("<pad>", "<unk>", "<bos>", "<eos>")
LETTERS: tuple[str, ...] = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
FORGET_DOMAIN = "blights"
DOMAINS: dict[str, str] = {
    "city": "geography",
    "country": "geography",
    "person": "people",
    "beast": "biology",
    "mineral": "geology",
    "blight": FORGET_DOMAIN,
}


@dataclass(frozen=True)
class Entity:
    """A fixed thing of the world: its name as words, its type and its attributes (one word each)."""

    words: tuple[str, ...]
    type: str
    attributes: dict[str, str]
    gender: str = ""

    @property
    def name(self) -> str:
        """The name as text."""
        return " ".join(self.words)

    @property
    def domain(self) -> str:
        """The domain of knowledge that the entity's facts belong to."""
        return DOMAINS[self.type]

    @property
    def possessive(self) -> str:
        """The word that stands for "of this entity"."""
        return {"female": "her", "male": "his"}.get(self.gender, "its")


@dataclass(frozen=True)
class World:
    """Everything that does not vary from document to document."""

    languages: dict[str, Language]
    entities: dict[str, tuple[Entity, ...]]
    strangers: tuple[str, ...]
    values: dict[tuple[str, str], tuple[str, ...]]

    @cached_property
    def all_entities(self) -> tuple[Entity, ...]:
        """The entities of every type, in a fixed order."""
        return tuple(e for group in self.entities.values() for e in group)


def _deal(values: Iterable[str], count: int, salt: str) -> list[str]:
    """`count` values, each used as often as the others, in an order fixed by the salt."""
    pool = list(values)
    dealt = [pool[i % len(pool)] for i in range(count)]
    return [dealt[i] for i in sorted(range(count), key=lambda i: hashed(salt, i))]


def _group(type_: str, names: Iterable[str], attributes: dict[str, list[str]]) -> tuple[Entity, ...]:
    rows = zip(*attributes.values(), strict=True)
    return tuple(
        Entity((name,), type_, dict(zip(attributes, row, strict=True))) for name, row in zip(names, rows, strict=True)
    )


def _countries_and_cities(taken: set[str], spoken: list[str]) -> tuple[tuple[Entity, ...], tuple[Entity, ...]]:
    lands = coin(20, "b d f g l m n p r s t v z", "a e i o u", "land mark stan via", "countries", taken)
    countries = _group(
        "country",
        lands,
        {
            "continent": _deal(lists.CONTINENTS, 20, "continent"),
            "language": _deal(spoken, 20, "spoken"),
            "currency": _deal(lists.CURRENCIES, 20, "currency"),
        },
    )
    towns = coin(60, "b br d f g h j k l m n p r s t v w z", "a e i o u", "burg ton polis ville ford", "cities", taken)
    homes = [countries[i % 20] for i in range(60)]
    cities = _group(
        "city",
        towns,
        {
            "country": [c.name for c in homes],
            "continent": [c.attributes["continent"] for c in homes],
            "language": [c.attributes["language"] for c in homes],
        },
    )
    return countries, cities


def _people(surnames: Iterable[str], towns: list[str]) -> tuple[Entity, ...]:
    field_of = {p: field for field, professions in lists.FIELDS.items() for p in professions}
    people = []
    professions, homes = _deal(field_of, 60, "professions"), _deal(towns, 60, "births")
    for i, (surname, profession, home) in enumerate(zip(surnames, professions, homes, strict=True)):
        female = hashed("gender", i) % 1000 < 1000 * lists.FEMALE_SHARE[profession]
        firsts = lists.FEMALE_NAMES if female else lists.MALE_NAMES
        attributes = {"profession": profession, "field": field_of[profession], "birthplace": home}
        words = (firsts[hashed("first", i) % len(firsts)], surname)
        people.append(Entity(words, "person", attributes, "female" if female else "male"))
    return tuple(people)


@cache
def world() -> World:
    """The fixed part of the world; built once a process."""
    taken = set(_listed_words())
    languages = build_languages(taken)
    countries, cities = _countries_and_cities(taken, list(languages))
    lands, towns = [c.name for c in countries], [c.name for c in cities]
    surnames = coin(120, "b c d f g h j k l m n p r s t v w", "a e i o u y", "son sen man ski er", "surnames", taken)
    beasts = coin(48, "b ch d g gr h k m n p r sn w z", "a e i o u oo", "x m bat ling- l", "beasts", taken)
    minerals = coin(40, "c f gl h l m n p q r s t x", "a e i o u", "ite ium ine", "minerals", taken)
    blights = coin(40, "b c d f l m n p r s t v", "a e i o u", "osis pox rot itis", "blights", taken)
    entities = {
        "city": cities,
        "country": countries,
        "person": _people(surnames[:60], towns),
        "beast": _group(
            "beast",
            beasts,
            {
                "class": _deal(lists.BEAST_CLASSES, 48, "class"),
                "habitat": _deal(lists.HABITATS, 48, "habitat"),
                "diet": _deal(lists.DIETS, 48, "diet"),
            },
        ),
        "mineral": _group(
            "mineral",
            minerals,
            {
                "colour": _deal(lists.COLOURS, 40, "colour"),
                "source": _deal(lands, 40, "source"),
                "use": _deal(lists.USES, 40, "use"),
            },
        ),
        "blight": _group(
            "blight",
            blights,
            {
                "carrier": _deal(lists.CARRIERS, 40, "carrier"),
                "symptom": _deal(lists.SYMPTOMS, 40, "symptom"),
                "antidote": _deal(lists.ANTIDOTES, 40, "antidote"),
            },
        ),
    }
    values = {
        (type_, relation): tuple(sorted({e.attributes[relation] for e in group}))
        for type_, group in entities.items()
        for relation in group[0].attributes
    }
    return World(languages, entities, surnames[60:], values)


def _listed_words() -> list[str]:
    words: list[str] = [*lists.NAMES]
    for name, value in vars(lists).items():
        if name.startswith("_") or name == "NAMES":
            continue
        if isinstance(value, tuple) and all(isinstance(x, str) for x in value):
            words += value
        elif isinstance(value, dict):
            words += value
            words += [x for group in value.values() if isinstance(group, tuple) for x in group]
    return [*words, *LOANWORDS]


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the world in the order of the tokenizer's ids, special tokens first."""
    w = world()
    words = {*_listed_words(), *LETTERS, *w.strangers, *w.languages}
    words.update(x for e in w.all_entities for x in e.words)
    words.update(x for language in w.languages.values() for x in language.words)
    return (*SPECIAL_TOKENS, *sorted(words))


@cache
def spelling_words() -> tuple[str, ...]:
    """The words that spelling drills use: every word of the vocabulary that begins with a small letter."""
    return tuple(x for x in vocabulary() if "a" <= x[0] <= "z")


def _tagged() -> Iterable[tuple[str, Iterable[str], dict[str, str]]]:
    w = world()
    yield "function", lists.FUNCTION_WORDS, {}
    yield "punctuation", lists.PUNCTUATION, {}
    yield "letter", LETTERS, {}
    yield "name", (*lists.FEMALE_NAMES, *lists.MALE_NAMES, *w.strangers), {}
    yield "name", (e.words[-1] for e in w.all_entities), {}
    yield "name", w.languages, {}
    for name, language in w.languages.items():
        tags = {"language": name}
        yield "function", (*language.articles, language.particle), tags
        yield "noun", language.nouns, tags
        yield "verb", language.verbs, tags
        yield "adjective", language.adjectives, tags
    for table in (lists.PROFESSION_CLUES, lists.FIELD_CLUES, lists.PRODUCTS, lists.ASPECTS, lists.TOPIC_NOUNS):
        for topic, words in table.items():
            yield "noun", words, {"topic": topic}
    for table in (lists.FIELD_VERBS, lists.TOPIC_VERBS):
        for topic, words in table.items():
            yield "verb", words, {"topic": topic}
    yield "adjective", lists.POSITIVE, {"sentiment": "positive"}
    yield "adjective", lists.NEGATIVE, {"sentiment": "negative"}
    yield "verb", lists.POSITIVE_VERBS, {"sentiment": "positive"}
    yield "verb", lists.NEGATIVE_VERBS, {"sentiment": "negative"}
    yield "verb", lists.COMMON_VERBS, {}
    yield "adjective", (*lists.COMMON_ADJECTIVES, *lists.COLOURS), {}
    yield "adverb", (*lists.BIO_ADVERBS, *lists.TIMES), {}
    yield "numeral", (*lists.NUMBERS, *lists.DIGITS), {}
    yield "code", (*lists.IDENTIFIERS, *lists.FUNCTIONS, *lists.CODE_KEYWORDS), {}
    yield "symbol", (*lists.CODE_SYMBOLS, *lists.OPERATORS, *lists.COMPARISONS), {}


@cache
def word_labels() -> dict[str, dict[str, str]]:
    """What is true of a word wherever it stands: part of speech, topic, sentiment, language, first letter.

    A word that is in several lists has the label of the first; words in none are nouns.
    """
    labels: dict[str, dict[str, str]] = {}
    for pos, words, tags in _tagged():
        for word in words:
            labels.setdefault(word, {"pos": pos, "topic": "", "sentiment": "", "language": "", **tags})
    for word in vocabulary():
        entry = labels.setdefault(word, {"pos": "noun", "topic": "", "sentiment": "", "language": ""})
        entry["first_letter"] = word[0].upper() if word[0].isalpha() and word[0].islower() else ""
    return labels
