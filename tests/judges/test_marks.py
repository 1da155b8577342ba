"""Contexts as a judge sees them: what is a mark and what is text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saebench.judges import marks
from saebench.judges.protocol import Context


def _context(tokens: list[str], activations: list[float] | None = None) -> Context:
    return Context(tuple(tokens), tuple(activations or [0.0] * len(tokens)), 0, "top")


@pytest.mark.parametrize(
    ("tokens", "positions", "text"),
    [
        (["the", " cat", " sat"], {1}, "the <<cat>> sat"),
        (["the", " cat", " sat"], {1, 2}, "the <<cat sat>>"),
        (["the", " cat", " sat"], {0, 2}, "<<the>> cat <<sat>>"),
        (["the", " cat"], set(), "the cat"),
        (["a", "\n", "b"], {1}, "a<<⏎>>b"),
        (["a", "  ", "b"], {1}, "a<<  >>b"),
        (["cout ", "<<", " x"], {2}, "cout ‹‹ <<x>>"),
        (["a <", "< b"], {1}, "a ‹<<‹ b>>"),
        (["x", "<div", ">"], {1}, "x<<‹div>>›"),
        (["x", " <div>"], {0}, "<<x>> <div>"),
        (["1", ">>", "2"], {1}, "1<<››>>2"),
    ],
)
def test_marked(tokens: list[str], positions: set[int], text: str) -> None:
    assert marks.marked(_context(tokens), positions) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="<> ab\n\ue000é", max_size=4), st.booleans()), max_size=8))
def test_every_double_bracket_is_a_mark(drawn: list[tuple[str, bool]]) -> None:
    """Read back by a parser that knows nothing of how it was made: same text, same marked text."""
    context = _context([token for token, _ in drawn])
    text = marks.marked(context, {place for place, (_, inside) in enumerate(drawn) if inside})
    parts = re.split("(<<|>>)", text)
    depth, inside, whole = 0, "", ""
    for part in parts:
        if part in ("<<", ">>"):
            depth += 1 if part == "<<" else -1
            assert depth in (0, 1)
        else:
            whole += part
            inside += part if depth else ""
    assert depth == 0

    def same(value: str) -> str:
        return value.replace("‹", "<").replace("›", ">")

    assert same(whole) == marks.plain(context)
    expected = "".join(marks.one_line(token) for token in _highlighted(drawn))
    assert same(inside).replace(" ", "") == expected.replace(" ", "")


def _highlighted(drawn: list[tuple[str, bool]]) -> list[str]:
    """Texts of tokens that are marked themselves, or through tokens without text next to them."""
    texts = [place for place, (token, _) in enumerate(drawn) if token]
    owners = [next((t for t in texts if t >= place), texts[-1] if texts else -1) for place in range(len(drawn))]
    marked = {owner for owner, (_, inside) in zip(owners, drawn, strict=True) if inside}
    return [drawn[place][0] for place in texts if place in marked]


def test_a_context_is_one_line_that_can_be_sent() -> None:
    text = marks.one_line("a\r\nb\rc\u2028d\0e\ud800f\tg")
    assert text == "a⏎b⏎c⏎d�e?f\tg" and len(text.splitlines()) == 1
    text.encode("utf-8")


def test_strengths_are_integers_of_the_largest_and_keep_their_sign() -> None:
    context = _context([" a", " b", " c", " d"], [5.0, 0.0, -2.5, 0.01])
    assert marks.largest([context]) == 5.0
    assert marks.strengths(context, 5.0) == [("a", 10), ("c", -5), ("d", 0)]
    assert marks.firing(context) == {0, 2, 3} and marks.firing(context, 0.05) == {0, 2}
