"""Pieces of tokens join to the text that was tokenised, whatever the tokenizer and the script."""

from __future__ import annotations

from typing import Any

import pytest

from saebench.data.pieces import Pieces
from saebench.judges import marks
from saebench.judges.look import context_text
from saebench.judges.protocol import Context
from tests.helpers.tokenizers import (
    byte_fallback,
    byte_level,
    sentence_piece,
    word_level,
    word_piece,
    world_tokenizer,
)

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


MIXED = "今天天气很好 \U0001f642\U0001f469\u200d\U0001f467 the cat\n的 \U0001f1e9\U0001f1ea na\u00efve the"
OF_BYTES = (byte_level(), byte_fallback("bpe"), byte_fallback("unigram"))


@pytest.mark.parametrize("tokenizer", OF_BYTES)
def test_every_window_has_the_characters_that_it_holds_whole(tokenizer: Any) -> None:
    """A window that cuts characters shows all others as they are, whatever runs of bytes they are in."""
    ids = tokenizer(MIXED, add_special_tokens=False)["input_ids"]
    whole = Pieces(tokenizer).of(ids)
    assert "".join(whole).strip() == MIXED and "\ufffd" not in "".join(whole)
    ends = [place for place, piece in enumerate(whole) if piece]
    for size in (3, 8, 20):
        for start in range(len(ids) - size):
            cut = start > 0 and not whole[start - 1]
            inside = [end for end in ends if start <= end < start + size][cut:]
            pieces = Pieces(tokenizer).of(ids[start : start + size])
            assert len(pieces) == size
            assert "".join(pieces).strip("\ufffd") == "".join(whole[end] for end in inside)
            assert all(pieces[end - start] == whole[end] for end in inside), "each character with its own token"


@pytest.mark.parametrize("tokenizer", OF_BYTES)
def test_a_character_is_highlighted_whichever_of_its_tokens_fires(tokenizer: Any) -> None:
    ids = tokenizer(MIXED, add_special_tokens=False)["input_ids"]
    pieces = Pieces(tokenizer).of(ids)
    last = next(place for place, piece in enumerate(pieces) if piece == "\U0001f642")
    first = max(place for place in range(last) if pieces[place]) + 1
    assert last > first, "it is spread over several tokens"
    for fires in range(first, last + 1):
        acts = tuple(2.0 * (place == fires) for place in range(len(ids)))
        context = Context(pieces, acts, 0, "top")
        text = marks.marked(context, marks.firing(context))
        assert "<<\U0001f642>>" in text
        assert text.replace("<<", "").replace(">>", "") == marks.plain(context)
        assert marks.strengths(context, 2.0) == [("\U0001f642", 10)]
        assert "\u00ab\U0001f642 2\u00bb" in context_text(context)
        assert "".join(part.text for part in marks.seen(context)) == context.text


def test_pieces_of_words_join_to_what_their_tokenizer_makes_of_them() -> None:
    """BERT's puts a space in front of each word and knows no emoji; every piece keeps its own text."""
    tokenizer = word_piece()
    ids = tokenizer("今天天气很好 \U0001f642 banner", add_special_tokens=False)["input_ids"]
    pieces = Pieces(tokenizer).of(ids)
    assert "".join(pieces).split() == ["今", "天", "天", "气", "很", "好", "<unk>", "banner"]
    context = Context(pieces, tuple(float(piece == " 气") for piece in pieces), 0, "top")
    assert marks.marked(context, marks.firing(context)).count("<<气>>") == 1


def test_ids_without_a_tokenizer() -> None:
    assert Pieces(None).of([3, 17]) == (" 3", " 17")
