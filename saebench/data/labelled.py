"""Labelled texts for sparse probing, TPP and SCR: distinct texts, and the tasks that split them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from saebench.data.draws import generator


class Binary(NamedTuple):
    """One binary problem: texts and labels (1 the positive class) for fitting and for scoring."""

    train: np.ndarray
    train_label: np.ndarray
    test: np.ndarray
    test_label: np.ndarray


@dataclass(frozen=True)
class Task:
    """One classification task; its split is frozen, the same for every SAE.

    Attributes:
        name: Such as `bias_in_bios_class_set1`.
        classes: Names of the classes.
        train: Texts to fit on, `[n_train]` int64 indices into the texts.
        train_label: Class of each, `[n_train]` int64.
        test: Texts to score on, `[n_test]`.
        test_label: Class of each.
        uses: Metric families the task is meant for: `probing`, `tpp`.
    """

    name: str
    classes: tuple[str, ...]
    train: np.ndarray
    train_label: np.ndarray
    test: np.ndarray
    test_label: np.ndarray
    uses: frozenset[str] = frozenset({"probing"})

    @property
    def problems(self) -> tuple[int, ...]:
        """Classes with a binary problem of their own: two classes have one, of class 1 against class 0."""
        return (1,) if len(self.classes) == 2 else tuple(range(len(self.classes)))

    def binary(self, c: int, seed: int) -> Binary:
        """The problem of class c against the others, with negatives that never change.

        Positives are all texts of the class. Of two classes the negatives are all texts of the other. Of more, they
        come in equal shares from the other classes, rounded up and then cut to as many as there are positives; a
        class too small for its share gives all it has. The draw depends on the seed, the task's name, the class's
        name and the part alone.
        """
        train, train_label = self._one_against_rest(self.train, self.train_label, c, seed, "train")
        test, test_label = self._one_against_rest(self.test, self.test_label, c, seed, "test")
        return Binary(train, train_label, test, test_label)

    def _one_against_rest(
        self, texts: np.ndarray, label: np.ndarray, c: int, seed: int, part: str
    ) -> tuple[np.ndarray, np.ndarray]:
        positive = texts[label == c]
        others = [texts[label == other] for other in range(len(self.classes)) if other != c]
        if len(others) == 1:
            negative = others[0]
        else:
            rng = generator(seed, self.name, self.classes[c], part)
            share = -(-len(positive) // len(others))
            negative = np.concatenate([rng.permutation(other)[:share] for other in others])
            negative = rng.permutation(negative)[: len(positive)]
        return np.concatenate([positive, negative]), np.repeat([1, 0], [len(positive), len(negative)]).astype(np.int64)


@dataclass(frozen=True)
class SpuriousPair:
    """Two classes and two values of an attribute that a probe may confuse with them (SCR).

    The texts are balanced over the four quadrants. Labels are 0 or 1, the index in `classes` and `attribute`.

    Attributes:
        name: Such as `bias_in_bios professor/nurse`.
        classes: The two classes.
        attribute: The two values of the spurious attribute, such as `("male", "female")`.
        train: Texts to fit on, `[n_train]`; `train_class` and `train_attribute` are `[n_train]`.
        test: Texts to score on, `[n_test]`; `test_class` and `test_attribute` are `[n_test]`.
    """

    name: str
    classes: tuple[str, str]
    attribute: tuple[str, str]
    train: np.ndarray
    train_class: np.ndarray
    train_attribute: np.ndarray
    test: np.ndarray
    test_class: np.ndarray
    test_attribute: np.ndarray


@dataclass(frozen=True)
class LabelledTexts:
    """Distinct texts with the tasks over them.

    Attributes:
        texts: Each text once, whatever the number of tasks that use it.
        tasks: For probing and TPP.
        pairs: For SCR.
        seed: Of the splits, and of the negatives that metrics draw.
        left_out: A sentence for each task or class that was left out, with the reason.
    """

    texts: tuple[str, ...]
    tasks: tuple[Task, ...]
    pairs: tuple[SpuriousPair, ...] = ()
    seed: int = 0
    left_out: tuple[str, ...] = ()
    source: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
