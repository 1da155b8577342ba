"""Labelled texts of the world, their negatives and sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from saebench.data import world
from saebench.data.datasets import digest
from saebench.data.labelled import LabelledTexts, Task
from saebench.data.labelled_reader import read_labelled
from saebench.data.labelled_world import task_names
from saebench.data.specs import LabelledSpec
from saebench.errors import UserError

SPEC = LabelledSpec(train=20, test=10)


@pytest.fixture(scope="module")
def labelled() -> LabelledTexts:
    """All tasks and pairs of the world, small."""
    return read_labelled("world", SPEC, seed=0)


def by_name(labelled: LabelledTexts, name: str) -> Task:
    """One task."""
    return next(task for task in labelled.tasks if task.name == name)


def test_tasks_are_balanced_and_labelled_as_the_generator_says(labelled: LabelledTexts) -> None:
    assert [task.name for task in labelled.tasks] == list(task_names())
    for task in labelled.tasks:
        assert Counter(task.train_label.tolist()) == dict.fromkeys(range(len(task.classes)), 20)
        assert Counter(task.test_label.tolist()) == dict.fromkeys(range(len(task.classes)), 10)
        assert task.uses == ({"probing", "tpp"} if len(task.classes) > 2 else {"probing"})
    truth = {}
    for i in range(4000):
        document = world.document(world.HELD_OUT_SEED, i, "biography")
        truth[document.text] = document.labels
    profession = by_name(labelled, "profession")
    assert len(profession.classes) == 24
    for text, label in zip(profession.test, profession.test_label, strict=True):
        assert truth[labelled.texts[text]]["profession"] == profession.classes[label]


def test_no_text_and_no_person_is_both_in_train_and_in_test(labelled: LabelledTexts) -> None:
    assert len(set(labelled.texts)) == len(labelled.texts)
    whole = (*labelled.tasks, *labelled.pairs)
    train = {i for task in whole for i in task.train.tolist()}
    test = {i for task in whole for i in task.test.tolist()}
    assert not train & test
    assert train | test == set(range(len(labelled.texts)))
    people = {}
    for i in range(4000):
        document = world.document(world.HELD_OUT_SEED, i, "biography")
        people[document.text] = document.labels["person"]
    profession = by_name(labelled, "profession")
    fitted, scored = ({people[labelled.texts[i]] for i in part} for part in (profession.train, profession.test))
    assert not fitted & scored
    assert "profession" in labelled.notes


def test_pairs_fill_their_quadrants_evenly(labelled: LabelledTexts) -> None:
    assert len(labelled.pairs) == 7
    assert {pair.attribute for pair in labelled.pairs} == {("male", "female"), ("low", "high")}
    for pair in labelled.pairs:
        train = Counter(zip(pair.train_class.tolist(), pair.train_attribute.tolist(), strict=True))
        test = Counter(zip(pair.test_class.tolist(), pair.test_attribute.tolist(), strict=True))
        assert train == {(c, a): 10 for c in (0, 1) for a in (0, 1)}
        assert test == {(c, a): 5 for c in (0, 1) for a in (0, 1)}


def texts_of(labelled: LabelledTexts, name: str) -> list[tuple[str, int]]:
    """Texts of a task's parts with their labels, in order."""
    task = by_name(labelled, name)
    texts = [labelled.texts[i] for i in (*task.train, *task.test)]
    return list(zip(texts, (*task.train_label.tolist(), *task.test_label.tolist()), strict=True))


def test_a_task_and_its_negatives_do_not_depend_on_the_other_tasks(labelled: LabelledTexts) -> None:
    alone = read_labelled("world:topic", SPEC, seed=0)
    assert [task.name for task in alone.tasks] == ["topic"]
    assert texts_of(alone, "topic") == texts_of(labelled, "topic")
    for c in (0, 3):
        one, other = by_name(alone, "topic").binary(c, 0), by_name(labelled, "topic").binary(c, 0)
        assert [alone.texts[i] for i in one.test] == [labelled.texts[i] for i in other.test]
        assert [alone.texts[i] for i in one.train] == [labelled.texts[i] for i in other.train]
    assert texts_of(read_labelled("world", SPEC.model_copy(update={"tasks": ["topic"]}), seed=0), "topic") == texts_of(
        alone, "topic"
    )
    assert texts_of(read_labelled("world:topic", SPEC, seed=1), "topic") != texts_of(alone, "topic")


def test_tasks_on_one_kind_share_their_texts(labelled: LabelledTexts) -> None:
    profession, field = by_name(labelled, "profession"), by_name(labelled, "field")
    assert set(field.train) <= set(profession.train)
    assert set(field.test) <= set(profession.test)


def test_unknown_tasks_are_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'profession'"):
        read_labelled("world:professions", SPEC, seed=0)
    with pytest.raises(UserError, match="Did you mean 'topic'"):
        read_labelled("world", SPEC.model_copy(update={"tasks": ["topics"]}), seed=0)


def a_task(sizes: list[int], name: str = "t") -> Task:
    """A task whose classes have these sizes in train, and half of them in test."""
    label = np.repeat(np.arange(len(sizes)), sizes)
    half = np.repeat(np.arange(len(sizes)), [n // 2 for n in sizes])
    texts = np.arange(len(label))
    classes = tuple(f"c{i}" for i in range(len(sizes)))
    return Task(name, classes, texts, label, 1000 + np.arange(len(half)), half)


def test_negatives_come_evenly_from_the_other_classes() -> None:
    task = a_task([10, 10, 10, 10])
    found = task.binary(1, seed=3)
    assert found.train_label.sum() == 10 and len(found.train) == 20
    positive, negative = found.train[found.train_label == 1], found.train[found.train_label == 0]
    assert sorted(positive) == list(range(10, 20))
    assert len(set(negative)) == 10
    drawn = Counter(task.train_label[negative].tolist())
    assert set(drawn) == {0, 2, 3} and max(drawn.values()) <= 4  # ceil(10 / 3)
    assert len(found.test) == 10 and found.test_label.sum() == 5


def test_negatives_are_frozen_by_seed_task_class_and_part() -> None:
    task = a_task([30, 30, 30])
    again = a_task([30, 30, 30])
    again.binary(2, 0)  # what was drawn before makes no difference
    for field in range(4):
        assert np.array_equal(task.binary(0, 0)[field], again.binary(0, 0)[field])
    assert not np.array_equal(task.binary(0, 0).train, task.binary(0, 1).train)
    assert not np.array_equal(task.binary(0, 0).train, a_task([30, 30, 30], "other").binary(0, 0).train)
    assert [int(task.binary(0, 0).train.sum()), int(task.binary(0, 0).test.sum())] == [2244, 30542]


def test_two_classes_are_one_problem() -> None:
    task = a_task([6, 9])
    assert task.problems == (1,)
    assert a_task([4, 4, 4]).problems == (0, 1, 2)
    found = task.binary(1, 0)
    assert sorted(found.train[found.train_label == 1]) == list(range(6, 15))
    assert sorted(found.train[found.train_label == 0]) == list(range(6))


def test_a_class_too_small_for_its_share_gives_all_it_has() -> None:
    found = a_task([12, 2, 2]).binary(0, 0)
    assert len(found.train[found.train_label == 0]) == 4


def test_the_last_token_protocol_balances_the_world() -> None:
    spec = LabelledSpec(protocol="last_token", train=30, test=20)
    found = read_labelled("world:rating,dialect", spec, seed=0)
    for task in found.tasks:
        assert len(set(Counter(task.train_label.tolist()).values())) == 1
        assert len(set(Counter(task.test_label.tolist()).values())) == 1
    assert found.pairs == ()


def test_the_content_hash_does_not_follow_the_order_of_a_set() -> None:
    """0 and 8 share a slot, so that the order of a small set of them is that of insertion."""
    first, second = frozenset([0, 8]), frozenset([8, 0])
    assert repr(first) != repr(second), "the case is to have two orders"
    assert digest((first,)) == digest((second,)) != digest((frozenset([0, 16]),))
