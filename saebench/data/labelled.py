"""Labelled texts for sparse probing, TPP and SCR: distinct texts, and the tasks that split them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


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
