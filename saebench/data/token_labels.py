"""Labels of every token of a corpus: what its source knows of them, or what their strings show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from saebench.data.corpus import Corpus
    from saebench.data.synthetic import Synthetic
    from saebench.models import Subject

_CHUNK = 8192


class Marks(NamedTuple):
    """What a source knows of its tokens.

    Attributes:
        names: Names of the labels, `family=value`, ordered.
        ids: Label of each token in each family, -1 where none applies, `[total, families]` int32.
    """

    names: tuple[str, ...]
    ids: np.ndarray


class Labeller(Protocol):
    """Says which labels hold at tokens of one corpus."""

    names: tuple[str, ...]
    source: str

    def holds(self, places: np.ndarray, ids: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Which labels hold, `[n, labels]` bool.

        Args:
            places: Places of the tokens in the corpus, `[n]`.
            ids: Their token ids.
            position: Their places in their rows.
        """
        ...


def labeller(corpus: Corpus, model: Subject) -> Labeller | None:
    """By the marks of the corpus, the true features, or else the tokens' strings; None without a tokenizer."""
    if corpus.marks is not None:
        return _Marked(corpus.marks)
    if model.truth is not None:
        return _True(model.truth)
    return None if model.tokenizer is None else _Strings(_vocabulary(model))


def totals(labels: Labeller, corpus: Corpus) -> tuple[int, ...]:
    """Valid tokens of the corpus at which each label holds."""
    places = np.flatnonzero(corpus.valid)
    position = places - np.repeat(corpus.starts[:-1], corpus.lengths)[places]
    counts = np.zeros(len(labels.names), dtype=np.int64)
    for start in range(0, len(places), _CHUNK):
        part = slice(start, start + _CHUNK)
        counts += labels.holds(places[part], corpus.tokens[places[part]], position[part]).sum(0)
    return tuple(int(count) for count in counts)


def encoded(rows: Sequence[Mapping[str, Sequence[str]]], lengths: Sequence[tuple[int, int]]) -> Marks:
    """Labels of documents as numbers.

    Args:
        rows: For each document one label a token, by family; "" where none applies.
        lengths: For each row of each document in order, how many tokens stand in front and how many are content;
            the contents of a document's rows, joined, are its tokens.
    """
    families = tuple(rows[0]) if rows else ()
    joined = {family: [value for row in rows for value in row[family]] for family in families}
    names = [f"{family}={value}" for family in families for value in sorted({*joined[family]} - {""})]
    known = {name: place for place, name in enumerate(names)}
    columns = [[known[f"{family}={v}"] if v else -1 for v in joined[family]] for family in families]
    content = np.array(columns, dtype=np.int32).T.reshape(-1, len(families))
    total = sum(front + inside for front, inside in lengths)
    ids = np.full((total, len(families)), -1, dtype=np.int32)
    inside = np.concatenate([np.repeat([False, True], pair) for pair in lengths]) if lengths else np.zeros(0, bool)
    ids[inside] = content
    return Marks(tuple(names), ids)


class _Marked:
    """Labels that the source of the text brings."""

    source = "the labels of the data"

    def __init__(self, marks: Marks) -> None:
        self.names = marks.names
        self._ids = marks.ids

    def holds(self, places: np.ndarray, ids: np.ndarray, position: np.ndarray) -> np.ndarray:
        found = np.zeros((len(places), len(self.names) + 1), dtype=bool)
        np.put_along_axis(found, self._ids[places].astype(np.int64), True, axis=1)  # -1 is the spare column
        return found[:, :-1]


class _True:
    """The true features of a known dictionary: each is a label of its own."""

    source = "the true features"

    def __init__(self, truth: Synthetic) -> None:
        self._truth = truth
        self.names = tuple(f"feature={i}" for i in range(truth.recipe.n))

    def holds(self, places: np.ndarray, ids: np.ndarray, position: np.ndarray) -> np.ndarray:
        return self._truth.draw(ids).coefficients != 0


class _Strings:
    """Labels that a token's string and its position show."""

    source = "the tokens' strings"

    def __init__(self, strings: Sequence[str]) -> None:
        columns = {
            name: np.fromiter(map(test, strings), dtype=bool, count=len(strings)) for name, test in TESTS.items()
        }
        self._table = np.stack(list(columns.values()), axis=1)
        self.names = (*columns, *(f"position={name}" for name in _POSITIONS))

    def holds(self, places: np.ndarray, ids: np.ndarray, position: np.ndarray) -> np.ndarray:
        bands = [(position >= low) & (position < high) for low, high in _POSITIONS.values()]
        return np.concatenate([self._table[ids], np.stack(bands, axis=1)], axis=1)


def _vocabulary(model: Subject) -> list[str]:
    """The string of each token id, with the space in front of a word; "" for ids that are not content."""
    tokenizer = model.tokenizer
    known = min(model.vocab_size, len(tokenizer))
    made = tokenizer.batch_decode([[i] for i in range(known)], clean_up_tokenization_spaces=False)
    pieces = tokenizer.convert_ids_to_tokens(list(range(known)))
    strings = [
        " " + text if str(piece).startswith("\u2581") and not text.startswith(" ") else text
        for text, piece in zip(made, pieces, strict=True)
    ]
    strings += [""] * (model.vocab_size - known)
    for i in model.special_ids:
        strings[i] = ""
    return strings


Test = Callable[[str], bool]

_POSITIONS = {"1": (0, 2), "2-3": (2, 4), "4-7": (4, 8), "8-15": (8, 16), "16-31": (16, 32), "32-63": (32, 64)}
_POSITIONS |= {"64-": (64, 2**31)}
_SCRIPTS = {
    "latin": r"[A-Za-z]", "accented": r"[\u00c0-\u024f]", "greek": r"[\u0370-\u03ff]", "cyrillic": r"[\u0400-\u04ff]",
    "hebrew": r"[\u0590-\u05ff]", "arabic": r"[\u0600-\u06ff]", "devanagari": r"[\u0900-\u097f]",
    "thai": r"[\u0e00-\u0e7f]", "kana": r"[\u3040-\u30ff]", "han": r"[\u4e00-\u9fff]", "hangul": r"[\uac00-\ud7af]",
}  # fmt: skip
_SIGNS = {
    "comma": ",", "period": ".", "question": "?", "exclamation": "!", "colon": ":", "semicolon": ";", "quote": "\"'",
    "opening": "([{", "closing": ")]}", "hyphen": "-", "slash": "/\\",
}  # fmt: skip
_WORDS = {
    "article": "the a an", "pronoun": "i you he she it we they me him her us them", "be": "is are was were be been am",
    "possessive": "my your his its our their", "preposition": "of in to for with on at by from into over under about",
    "conjunction": "and or but because if while although", "question": "who what when where why how which",
    "negation": "not no never none nothing", "modal": "can could will would shall should may might must",
    "number": "one two three four five six seven eight nine ten hundred thousand million",
    "month": "january february march april june july august september october november december",
    "day": "monday tuesday wednesday thursday friday saturday sunday",
}  # fmt: skip
_CODE = {
    "operator": r"[=+*<>&|%^~-]+", "brace": r"[{}\[\]();]+", "snake": r"\w*_\w*", "camel": r"[a-z]+[A-Z]\w*",
    "tag": r"</?\w*>?", "address": r"(https?|www|://|\.com|\.org)",
    "keyword": r"(def|return|import|class|elif|else|for|while|function|var|const|let|int|void|null|true|false|self)",
}  # fmt: skip


def _matches(pattern: str) -> Test:
    compiled = re.compile(pattern)
    return lambda token: compiled.fullmatch(token.strip()) is not None


def _made_of(signs: str) -> Test:
    return lambda token: bool(token.strip()) and set(token.strip()) <= set(signs)


def _one_of(words: str) -> Test:
    known = set(words.split())
    return lambda token: token.strip().lower() in known


def _word(pattern: str) -> Test:
    """A word of letters alone that matches, in whatever case."""
    compiled = re.compile(pattern)
    return lambda token: token.strip().isalpha() and compiled.fullmatch(token.strip().lower()) is not None


def _long(low: int, high: int) -> Test:
    return lambda token: token.strip().isalpha() and low <= len(token.strip()) <= high


TESTS: dict[str, Test] = {
    "casing=lower": lambda token: token.strip().isalpha() and token.strip().islower(),
    "casing=title": lambda token: token.strip().isalpha() and len(token.strip()) > 1 and token.strip().istitle(),
    "casing=upper": lambda token: token.strip().isalpha() and len(token.strip()) > 1 and token.strip().isupper(),
    "space=word start": lambda token: token[:1] == " " and token.strip().isalpha(),
    "space=word part": lambda token: token[:1] != " " and token.strip().isalpha(),
    "space=newline": lambda token: "\n" in token,
    "space=indent": lambda token: len(token) > 1 and token.isspace() and "\n" not in token,
    "digits=one": _matches(r"\d"),
    "digits=more": _matches(r"\d\d+"),
    "digits=year": _matches(r"(1\d|20)\d\d"),
    "digits=mixed": _matches(r"(?=.*\d)(?=.*[A-Za-z]).+"),
    **{f"length={low}-{high}": _long(low, high) for low, high in ((1, 1), (2, 3), (4, 5), (6, 8), (9, 99))},
    **{f"punctuation={name}": _made_of(signs) for name, signs in _SIGNS.items()},
    **{f"script={name}": _matches(f"({signs})+") for name, signs in _SCRIPTS.items()},
    **{f"first letter={letter}": _word(f"{letter}.*") for letter in "abcdefghijklmnopqrstuvwxyz"},
    **{f"ending={end}": _word(f".+{end}") for end in ("s", "ed", "ing", "ly", "er", "tion", "able", "ness", "ment")},
    **{f"word={name}": _one_of(words) for name, words in _WORDS.items()},
    **{f"code={name}": _matches(pattern) for name, pattern in _CODE.items()},
}
"""Labels that a token's string shows, by name."""
