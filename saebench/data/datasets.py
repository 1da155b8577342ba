"""The data of a suite by name: what its specs look like, what they stand for by default, and how they are read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.data import wmdp
from saebench.data.corpus import Corpus, build_corpus, item_corpus, tokenised, truncated
from saebench.data.texts import Text, default_source
from saebench.errors import UserError, unknown

if TYPE_CHECKING:
    from pydantic import BaseModel

    from saebench.data.specs import LabelledSpec
    from saebench.models import Subject
    from saebench.suite import TextSpec

ASIDE: Mapping[str, tuple[str, ...]] = {"questions": ("forget", "retain")}
"""Texts that belong to the items of another name."""

_DEFAULTS: Mapping[str, tuple[str, str]] = {
    "random_tokens": ("uniform", "uniform"),
    "probing": ("world", "saebench"),
    "last_token": ("world", "sae-probes"),
    "words": ("world", "vocabulary"),
    "entities": ("world", "saebench"),
    "questions": ("world", "wmdp-bio"),
    "forget": ("world:forget", ""),
    "retain": ("world:retain", wmdp.RETAIN),
}
"""What `source: default` stands for beside text: for the world's own model, and for any other."""


@dataclass(frozen=True)
class Dataset:
    """Token rows of one name, with what is known of them.

    Attributes:
        name: `text`, `probing`, `words` ...
        corpus: The rows; for items one row and one document an item.
        items: Labels, splits, answers; None for plain text.
        aside: Texts that the items' metrics need as well.
        memo: What a run has found out about it once, by name.
    """

    name: str
    corpus: Corpus
    items: Any = None
    aside: Mapping[str, Corpus] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


def spec_types() -> dict[str, type[BaseModel]]:
    """The keys of each data name of a suite, as a pydantic model."""
    from saebench.data.prompt_specs import EntitySpec, QuestionSpec, WordSpec
    from saebench.data.specs import LabelledSpec, RandomTokensSpec
    from saebench.suite import TextSpec

    return {
        "text": TextSpec,
        "random_tokens": RandomTokensSpec,
        "probing": LabelledSpec,
        "last_token": LabelledSpec,
        "words": WordSpec,
        "entities": EntitySpec,
        "questions": QuestionSpec,
        "forget": TextSpec,
        "retain": TextSpec,
    }


def resolved(name: str, source: Any, model_name: str) -> Any:
    """The source that `default` stands for.

    Raises:
        UserError: There is no default for this data and model.
    """
    if not (isinstance(source, str) and source == "default"):
        return source
    if name == "text":
        return default_source(model_name)
    if name not in _DEFAULTS:
        raise unknown("data name", name, ["text", *_DEFAULTS])
    found = _DEFAULTS[name][model_name != "world"]
    if not found:
        raise UserError(
            f"Data {name!r} has no default for model {model_name or 'of your own'!r}: pass --data {name}=FOLDER with "
            "the text that is to be forgotten. The reference suite's is WMDP-bio, which is gated: ask for it at "
            f"{wmdp.REQUEST} and put {wmdp.NAMES[0]}.jsonl (rows with a column {wmdp.COLUMN!r}) into that folder."
        )
    return found


def with_its_keys(source: Any, wanted: Any, spec: Any) -> Any:
    """The spec with the configuration and split that belong to the source that `default` stands for."""
    if source == "default" and wanted == wmdp.RETAIN:
        return spec.model_copy(update={"config": wmdp.RETAIN_CONFIG, "split": wmdp.RETAIN_SPLIT})
    return spec


def load_dataset(
    name: str,
    source: Any,
    spec: Any,
    model: Subject,
    *,
    seed: int,
    offline: bool = False,
    aside: Mapping[str, tuple[Any, Any]] | None = None,
) -> Dataset:
    """Read and tokenise the data of a name.

    Args:
        spec: The model of `spec_types()[name]`.
        seed: Of splits and draws.
        aside: Source and spec of the texts that belong to it.

    Raises:
        UserError: Not found, unreadable, or not fit for its use; the message says what to change.
    """
    if model.truth is not None and name != "text":
        raise UserError(f"{model.name} is no language model: data {name!r} does not exist there.")
    source = resolved(name, source, model.name)
    if name in ("probing", "last_token"):
        return _labelled(name, source, spec, model, seed, offline)
    if name == "random_tokens":
        from saebench.data.random_tokens import random_tokens

        return Dataset(name, random_tokens(source, spec, model, seed=seed))
    if name == "words":
        from saebench.data.words_reader import read_words

        words = read_words(source, spec, model, seed=seed, offline=offline)
        at = [len(row) - 1 for row in words.rows]
        return Dataset(name, _items(name, words, model, source, at), words)
    if name == "entities":
        from saebench.data.facts_reader import read_facts

        facts = read_facts(source, spec, model, seed=seed, offline=offline)
        return Dataset(name, _items(name, facts, model, source, facts.position), facts)
    if name == "questions":
        from saebench.data.questions_reader import read_questions

        beside = {
            other: _beside(other, given, keys, model, offline, gated=source in ("wmdp-bio", "saebench"))
            for other, (given, keys) in (aside or {}).items()
        }
        questions = read_questions(source, spec, model, seed=seed, offline=offline)
        about = "".join(corpus.hash for corpus in beside.values())
        return Dataset(name, _items(name, questions, model, source, None, about), questions, beside)
    return Dataset(name, build_corpus(name, source, spec, model, offline=offline))


def _beside(name: str, source: Any, spec: TextSpec, model: Subject, offline: bool, *, gated: bool) -> Corpus:
    """A text that belongs to questions: WMDP's own names for it, and what `default` means for the one to retain."""
    if gated and name == "forget" and isinstance(source, (str, Path)) and source != "default":
        source = wmdp.forget_corpus(source)
    wanted = resolved(name, source, model.name)
    return build_corpus(name, wanted, with_its_keys(source, wanted, spec), model, offline=offline)


def _items(name: str, items: Any, model: Subject, source: Any, at: Any, about: str = "") -> Corpus:
    return item_corpus(name, items.rows, model.special_ids, source=str(source), at=at, about=digest(items) + about)


def _labelled(name: str, source: Any, spec: LabelledSpec, model: Subject, seed: int, offline: bool) -> Dataset:
    from saebench.data.labelled_reader import read_labelled

    if not isinstance(source, (str, Path)):
        source = list(source) if isinstance(source, Iterable) else source
    hollow: set[str] = set()
    while True:
        labelled = read_labelled(source, spec, seed=seed, offline=offline, hollow=hollow)
        texts = (Text(text=text) for text in labelled.texts)
        rows = [truncated(ids, spec, model) for _, ids in tokenised(texts, model, name)]
        # Others take their place, and may be no better.
        found = {t for t, row in zip(labelled.texts, rows, strict=True) if set(row.tolist()) <= model.special_ids}
        if not found:
            break
        hollow |= found
    corpus = item_corpus(name, rows, model.special_ids, source=str(source), about=digest(labelled))
    return Dataset(name, corpus, labelled)


def digest(value: Any) -> str:
    """Content hash of dataclasses, tuples, mappings, sets and arrays, 16 hex digits; the same in every process."""
    state = hashlib.blake2b(digest_size=8)
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if dataclasses.is_dataclass(value):
        for entry in dataclasses.fields(value):
            _feed(state, getattr(value, entry.name))
    elif isinstance(value, np.ndarray):
        state.update(f"{value.dtype.str}{value.shape}".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _feed(state, key)
            _feed(state, entry)
    elif isinstance(value, frozenset):
        # A set's own repr follows the process's hash seed.
        state.update(f"frozenset({{{', '.join(map(repr, sorted(value)))}}});".encode())
    elif isinstance(value, (tuple, list)):
        state.update(f"[{len(value)}".encode())
        for entry in value:
            _feed(state, entry)
    else:
        state.update(f"{value!r};".encode())
