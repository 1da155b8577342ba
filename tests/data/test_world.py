"""The generator: deterministic, labelled, in the vocabulary, and honest about its own entropy."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest

from saebench.data import world
from saebench.data.world_facts import DOMAINS
from saebench.data.world_kinds import KINDS
from saebench.data.world_lists import POSITIVE_CHANCE
from saebench.data.world_writer import Rating, Writer, ask, draw_options


def test_a_document_depends_on_its_seed_and_index_alone() -> None:
    alone = world.document(7, 5)
    among = list(world.generate(7, 6))[5]
    assert alone == among
    assert alone != world.document(8, 5)
    assert world.documents(2) == list(world.generate(world.HELD_OUT_SEED, 2))


@pytest.mark.parametrize("kind", world.KIND_NAMES)
def test_documents_are_aligned_and_in_the_vocabulary(kind: str) -> None:
    vocabulary = set(world.vocabulary())
    for d in world.documents(60, kinds=[kind]):
        assert d.kind == kind
        assert 15 <= len(d.tokens) <= world.MAX_TOKENS - 2
        assert vocabulary.issuperset(d.tokens) and not set(d.tokens) & set(world.SPECIAL_TOKENS)
        assert d.text.split(" ") == list(d.tokens)
        assert set(d.token_labels) == set(world.TOKEN_LABELS)
        assert {len(v) for v in d.token_labels.values()} == {len(d.tokens)} == {len(d.nll)}
        assert all(x >= -1e-12 for x in (*d.nll, d.end_nll))


def test_labels_say_what_the_text_says() -> None:
    people = {e.name: e for e in world.entities("person")}
    for d in world.documents(200, kinds=["biography"]):
        assert (d.labels["gender"] == "female") == ("she" in d.tokens)
        assert d.labels["birthplace"] in d.tokens
        if d.labels["person"] in people:
            assert people[d.labels["person"]].attributes["profession"] == d.labels["profession"]
    for d in world.documents(50, kinds=["spelling"]):
        for word, letter in zip(d.tokens[::8], d.tokens[6::8], strict=True):
            assert letter == word[0].upper()
    values = {e.name: e.attributes for e in world.entities()}
    for d in world.documents(100, kinds=["encyclopaedia", "quiz"]):
        for token, relation, owner in zip(
            d.tokens, d.token_labels["attribute"], d.token_labels["attribute_of"], strict=True
        ):
            if relation:
                assert values[owner][relation] == token


def test_every_label_that_later_metrics_need_occurs() -> None:
    seen: dict[str, Counter[str]] = {}
    for d in world.documents(1500):
        for name, value in d.labels.items():
            seen.setdefault(f"{d.kind}.{name}", Counter())[value] += 1
    sizes = {name: len(values) for name, values in seen.items()}
    assert sizes["biography.profession"] == 24 and sizes["biography.gender"] == 2
    assert sizes["review.rating"] == 5 and sizes["review.category"] == 6
    assert sizes["news.topic"] == 6 and sizes["language.language"] == 5 and sizes["code.dialect"] == 4
    assert set(seen["encyclopaedia.domain"]) == set(DOMAINS.values())


def test_helper_sets() -> None:
    assert len(world.entities()) == 268
    facts = sum(len(e.attributes) for e in world.entities())
    questions = world.quizzes()
    assert len(questions) == facts == 804
    for q in questions:
        assert len(set(q.options)) == 4 and q.options["ABCD".index(q.letter)] == q.answer
        assert q.prompt.endswith("answer :")
    letters = Counter(q.letter for q in questions)
    assert min(letters.values()) > 0.2 * facts
    assert {q.domain for q in world.quizzes(domain=world.FORGET_DOMAIN)} == {world.FORGET_DOMAIN}
    homes = {c.name: c for c in world.entities("country")}
    for city in world.entities("city"):
        assert homes[city.attributes["country"]].attributes["continent"] == city.attributes["continent"]
    assert len(set(w[0] for w in world.spelling_words())) == 26


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind 'newz'"):
        next(world.generate(0, 1, ["newz"]))


def test_kinds_come_in_their_shares() -> None:
    counts = Counter(d.kind for d in world.documents(2000))
    for kind, (_, share) in KINDS.items():
        assert counts[kind] / 2000 == pytest.approx(share, abs=4 * math.sqrt(share / 2000))
    assert sum(share for _, share in KINDS.values()) == pytest.approx(1)


def test_surprisal_of_a_tiny_writer_equals_brute_force() -> None:
    """Every text of a small grammar: exp(-nll) is its probability, and the probabilities sum to one."""

    def tiny(w: Writer) -> None:
        for _ in range(w.count(1, 2)):
            w.pick(("a", "b", "c"))
            if w.flip(0.25):
                w.add("x")
        w.close_count()

    found: dict[tuple[str, ...], float] = {}
    for i in range(4000):
        w = Writer(random.Random(i))
        tiny(w)
        nll = sum(w.nll) + w.pending
        assert found.setdefault(tuple(w.tokens), nll) == pytest.approx(nll)
    parts = [(letter, *x) for letter in "abc" for x in ((), ("x",))]
    chance = {p: (1 / 3) * (0.25 if len(p) == 2 else 0.75) for p in parts}
    truth = {p: chance[p] / 2 for p in parts}
    truth |= {a + b: chance[a] * chance[b] / 2 for a, b in itertools.product(parts, repeat=2)}
    assert set(found) == set(truth)
    for text, p in truth.items():
        assert math.exp(-found[text]) == pytest.approx(p)
    assert sum(math.exp(-x) for x in found.values()) == pytest.approx(1)


def test_surprisal_of_a_question_is_the_number_of_questions() -> None:
    """A fact of 268 entities with three each, a place for the answer, and an ordered choice of wrong options."""
    entity = world.entities("beast")[0]
    for seed in range(8):
        w = Writer(random.Random(seed))
        options, _ = draw_options(w, entity, "class")
        ask(w, entity, "class", options)
        assert sum(w.nll) == pytest.approx(math.log(268 * 3) + math.log(4 * 5 * 4 * 3))


def test_a_hidden_rating_is_charged_as_its_reader_pays() -> None:
    """The surprisal of the signs is that of their sum over ratings; stating the rating adds its posterior."""
    for seed in range(20):
        w = Writer(random.Random(seed))
        rating = Rating(w)
        signs = [rating.positive() for _ in range(4)]
        likelihood = [0.2 * math.prod(p if s else 1 - p for s in signs) for p in POSITIVE_CHANCE]
        assert w.pending == pytest.approx(-math.log(sum(likelihood)))
        rating.state()
        assert sum(w.nll) == pytest.approx(-math.log(likelihood[rating.value]))
