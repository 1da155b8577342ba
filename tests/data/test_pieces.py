"""Pieces of tokens join to the text that was tokenised, whatever the tokenizer and the script."""

from __future__ import annotations

import pytest

from saebench.data.pieces import Pieces
from tests.helpers.tokenizers import byte_level, sentence_piece, word_level, world_tokenizer

TEXTS = (
    "apple has the first letter: A\n apple",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002 Tokyo",
    "na\u00efve caf\u00e9 \u2014 \U0001f469\u200d\U0001f680 ok",
    "\uc11c\uc6b8  two  spaces\tand a tab",
)


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_pieces_join_to_the_text(text: str) -> None:
    tokenizer = byte_level()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = Pieces(tokenizer).of(ids)
    assert len(pieces) == len(ids) and "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_window_that_cuts_a_character_keeps_the_rest_whole() -> None:
    tokenizer = byte_level()
    ids = tokenizer("\u6771\u4eac apple", add_special_tokens=False)["input_ids"]
    pieces = Pieces(tokenizer).of(ids[1:])
    assert len(pieces) == len(ids) - 1
    assert "".join(pieces).strip("\ufffd") == "\u4eac apple"


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        (sentence_piece(), "apple has the first letter: A"),
        (word_level(["apple", "has", "a", "letter"]), "apple has a letter"),
        (world_tokenizer(), "what is the first letter of"),
    ],
)
def test_words_keep_the_space_in_front(tokenizer: object, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    joined = "".join(Pieces(tokenizer).of(ids))
    assert joined.strip() == text
    assert " ".join(joined.split()) == text


def test_ids_without_a_tokenizer() -> None:
    assert Pieces(None).of([3, 17]) == (" 3", " 17")
