"""Labels by strings say what they are named for; the world's stand at the tokens they belong to."""

from __future__ import annotations

import numpy as np
import pytest

from saebench.data.corpus import build_corpus
from saebench.data.token_labels import TESTS, encoded, labeller, totals
from saebench.data.world import HELD_OUT_SEED, MODEL_DIR, generate
from saebench.models import load_model
from saebench.suite import TextSpec
from tests.helpers.toys import tiny_llama, token_rows


@pytest.mark.parametrize(
    ("token", "names"),
    [
        (" The", {"casing=title", "space=word start", "length=2-3", "script=latin", "first letter=t", "word=article"}),
        ("ING", {"casing=upper", "space=word part", "length=2-3", "script=latin", "first letter=i"}),
        ("1984", {"digits=more", "digits=year"}),
        ("7", {"digits=one"}),
        ("b2", {"digits=mixed"}),
        (").", set()),
        (")", {"punctuation=closing", "code=brace"}),
        ("\n\n", {"space=newline"}),
        ("    ", {"space=indent"}),
        ("\u043c\u0438\u0440", {"casing=lower", "space=word part", "length=2-3", "script=cyrillic"}),
        ("my_name", {"code=snake"}),
        ("==", {"code=operator"}),
        ("", set()),
    ],
)
def test_what_a_string_shows(token: str, names: set[str]) -> None:
    assert {name for name, test in TESTS.items() if test(token)} == names


def test_the_worlds_labels_stand_at_their_tokens_in_rows_that_are_cut() -> None:
    model = load_model(str(MODEL_DIR))
    corpus = build_corpus("text", "world", TextSpec(source="world", tokens=600, context=16), model)
    labels = labeller(corpus, model)
    assert labels is not None and labels.source == "the labels of the data"
    places = np.flatnonzero(corpus.valid)
    holds = labels.holds(places, corpus.tokens[places], places)
    seen = 0
    for document in generate(HELD_OUT_SEED, 20):
        for t, word in enumerate(document.tokens):
            if seen == len(places):
                break
            assert model.tokenizer.convert_ids_to_tokens(int(corpus.tokens[places[seen]])) == word
            expected = {f"{name}={values[t]}" for name, values in document.token_labels.items() if values[t]}
            assert {labels.names[i] for i in np.flatnonzero(holds[seen])} == expected
            seen += 1
    assert seen == len(places)
    assert totals(labels, corpus) == tuple(holds.sum(0))


def test_other_text_is_labelled_by_its_strings_and_token_ids_are_not() -> None:
    model = load_model(str(MODEL_DIR))
    texts = [" ".join(document.tokens) for document in generate(HELD_OUT_SEED, 5)]
    corpus = build_corpus("text", texts, TextSpec(), model)
    assert corpus.marks is None
    labels = labeller(corpus, model)
    assert labels is not None and labels.source == "the tokens' strings"
    count = dict(zip(labels.names, totals(labels, corpus), strict=True))
    assert count["punctuation=period"] == sum(text.split().count(".") for text in texts)
    assert count["position=1"] == len(corpus.starts) - 1
    bare = load_model(tiny_llama())
    assert labeller(build_corpus("text", token_rows(), TextSpec(), bare), bare) is None


def test_families_of_different_documents_share_their_names() -> None:
    marks = encoded([{"a": ["x", ""]}, {"a": ["y", "x"]}], [(1, 1), (1, 1), (1, 2)])
    assert marks.names == ("a=x", "a=y")
    assert marks.ids[:, 0].tolist() == [-1, 0, -1, -1, -1, 1, 0]
