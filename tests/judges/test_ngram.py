"""The judge for no network finds the patterns that made a latent fire, says them, and knows them again."""

from __future__ import annotations

import numpy as np
import pytest

from saebench.judges.ngram import NGramJudge, Patterns
from saebench.judges.ngram_text import shown
from saebench.judges.protocol import Answers, Context, ExplainTask, Explanation, ScoreTask, Unanswered

NOISE = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"]


def _context(words: list[str], fires: set[int], stratum: str = "top") -> Context:
    return Context(tuple(f" {w}" for w in words), tuple(float(i in fires) for i in range(len(words))), 0, stratum)


def _texts(count: int, plant: list[str], at: int, seed: int) -> list[Context]:
    """Noise of 20 words with some words planted; the latent fires on the one at place `at` of them."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        words = rng.choice(NOISE, 20).tolist()
        start = int(rng.integers(0, 20 - len(plant)))
        words[start : start + len(plant)] = [rng.choice(NOISE) if w == "*" else w for w in plant]
        made.append(_context(words, {start + at} if at >= 0 else set(), "top" if at >= 0 else "random"))
    return made


def _explained(firing: list[Context], silent: list[Context]) -> Explanation:
    (told,) = NGramJudge().explain([ExplainTask(0, tuple(firing), tuple(silent))])
    assert isinstance(told, Explanation)
    return told


def _said(told: Explanation, contexts: list[Context]) -> Answers:
    (answers,) = NGramJudge().score([ScoreTask("detection", 0, told, tuple(contexts))])
    assert isinstance(answers, Answers)
    return answers


def test_a_word_after_a_pattern_with_a_wildcard() -> None:
    """Fires on mother or father after "the * 's", and neither on them alone nor on other words there."""
    firing = _texts(6, ["the", "*", "'s", "mother"], 3, 1) + _texts(6, ["the", "*", "'s", "father"], 3, 2)
    silent = _texts(9, ["the", "*", "'s"], -1, 3)
    for seed, word in enumerate(("mother", "father")):
        silent += _texts(9, ["'s", word], -1, 4 + seed) + _texts(9, ["the", "*", "my", word], -1, 6 + seed)
    told = _explained(firing, silent)
    assert told.text == 'fires on "mother" or "father" after "the * \'s"'
    unseen = _texts(20, ["the", "*", "'s", "mother"], 3, 7) + _texts(20, ["'s", "mother"], -1, 8)
    assert _said(told, unseen).says == tuple([True] * 20 + [False] * 20)


def test_words_alone_and_any_word_after_one() -> None:
    told = _explained(_texts(10, ["paris"], 0, 1) + _texts(8, ["rome"], 0, 2), _texts(10, [], -1, 3))
    assert told.text == 'fires on "paris" or "rome"'
    after = [c for seed in range(20) for c in _texts(1, ["in", NOISE[seed]], 1, seed)]
    told = _explained(after, _texts(10, [], -1, 99))
    assert told.text == 'fires on any token after "in"'


def test_fuzzing_tells_the_right_tokens_from_others() -> None:
    told = _explained(_texts(10, ["paris"], 0, 1), _texts(10, [], -1, 3))
    contexts = _texts(10, ["paris"], 0, 5)
    at = [c.activations.index(1.0) for c in contexts]
    marked = tuple(frozenset({place if i % 2 else (place + 3) % 20}) for i, place in enumerate(at))
    (answers,) = NGramJudge().score([ScoreTask("fuzzing", 0, told, tuple(contexts), marked)])
    assert isinstance(answers, Answers)
    assert answers.says == tuple(bool(i % 2) for i in range(10))


def test_the_answers_do_not_depend_on_activations_and_are_the_same_every_time() -> None:
    told = _explained(_texts(10, ["paris"], 0, 1), _texts(10, [], -1, 3))
    contexts = _texts(10, ["paris"], 0, 5)
    blind = [Context(c.tokens, (0.0,) * 20, 0, "random") for c in contexts]
    assert _said(told, contexts) == _said(told, blind) == _said(told, contexts)
    again = _explained(_texts(10, ["paris"], 0, 1), _texts(10, [], -1, 3))
    assert again == told


def test_matching_equals_a_search_by_hand() -> None:
    firing = _texts(12, ["the", "*", "x1"], 2, 1) + _texts(12, ["b1"], 0, 2)
    told = _explained(firing, _texts(12, ["the"], -1, 3) + _texts(6, ["x1"], -1, 4))
    known = told.details
    assert isinstance(known, Patterns) and known.patterns
    contexts = _texts(30, ["the", "*", "x1"], 2, 9)
    found = known.confidences(contexts)
    for row, context in zip(found, contexts, strict=True):
        for t, token in enumerate(context.tokens):
            best = known.rates.get(token, 0.0)
            for p in known.patterns:
                if all(t >= d and context.tokens[t - d] == word for d, word in p.tokens):
                    best = max(best, p.confidence)
            assert row[t] == pytest.approx(best)
    for p in known.patterns:
        held = [
            c.activations[t] != 0
            for c in [*firing, *_texts(12, ["the"], -1, 3), *_texts(6, ["x1"], -1, 4)]
            for t in range(20)
            if all(t >= d and c.tokens[t - d] == word for d, word in p.tokens)
        ]
        assert (sum(held), len(held) - sum(held)) == (p.fires, p.silent)


def test_nothing_to_explain_from_and_another_judges_sentence() -> None:
    (told,) = NGramJudge().explain([ExplainTask(0, tuple(_texts(3, [], -1, 1)))])
    assert isinstance(told, Unanswered)
    task = ScoreTask("detection", 0, Explanation("mentions of family"), tuple(_texts(2, [], -1, 1)))
    (answers,) = NGramJudge().score([task])
    assert isinstance(answers, Unanswered) and "its own" in answers.reason


def test_windows_of_one_token_and_odd_tokens() -> None:
    short = [Context(("x",), (1.0,), 0, "top")] * 5
    told = _explained(short, [Context(("y",), (0.0,), 0, "random")] * 5)
    assert _said(told, [short[0], Context(("y", "z"), (0.0, 0.0), 0, "random")]).says == (True, False)
    assert [shown(token) for token in (" the", "\n", "  ", "", "\t")] == [
        "the",
        "\u21b5",
        "\u2423\u2423",
        "\u2205",
        "\u21e5",
    ]
