"""One-vs-rest problems of labelled texts, with the texts they use brought into one table a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.labelled import LabelledTexts


@dataclass(frozen=True)
class Problem:
    """One class against the rest; labels are 1 for the class and 0 for the rest.

    Attributes:
        task: Name of the task.
        positive: Name of the class.
        only: Whether it is the task's only problem.
        train: Rows to fit on, `[n_train]`.
        train_label: `[n_train]`.
        test: Rows to score on, `[n_test]`.
        test_label: `[n_test]`.
    """

    task: str
    positive: str
    only: bool
    train: np.ndarray
    train_label: np.ndarray
    test: np.ndarray
    test_label: np.ndarray

    @property
    def posed(self) -> bool:
        """Whether both classes have texts to fit on and texts to score on; else every score is NaN."""
        return all(0 < label.sum() < len(label) for label in (self.train_label, self.test_label))

    def within(self, rows: np.ndarray) -> Problem:
        """The same problem with places in `rows` (ascending) instead of the rows themselves."""
        train, test = np.searchsorted(rows, self.train), np.searchsorted(rows, self.test)
        return Problem(self.task, self.positive, self.only, train, self.train_label, test, self.test_label)


def problems(texts: LabelledTexts, use: str = "probing") -> tuple[Problem, ...]:
    """The one-vs-rest problems of every task meant for a use; of two classes the second against the first.

    Raises:
        UserError: No task is meant for it.
    """
    found = []
    for task in texts.tasks:
        if use not in task.uses:
            continue
        for c in task.problems:
            binary = task.binary(c, texts.seed)
            found.append(Problem(task.name, task.classes[c], len(task.problems) == 1, *binary))
    if not found:
        raise UserError(f"The labelled texts hold no task for {use}: they have {len(texts.tasks)} tasks in all.")
    return tuple(found)


def by_task(given: Iterable[Problem]) -> Iterator[tuple[np.ndarray, list[Problem]]]:
    """For each task the rows it uses (ascending), and its problems with places in them."""
    tasks: dict[str, list[Problem]] = {}
    for problem in given:
        tasks.setdefault(problem.task, []).append(problem)
    for group in tasks.values():
        rows = np.unique(np.concatenate([part for p in group for part in (p.train, p.test)]))
        yield rows, [problem.within(rows) for problem in group]


def sizes(k: int | Iterable[int], name: str = "k") -> tuple[int, ...]:
    """Numbers of features to probe, in the order given and without repeats.

    Raises:
        UserError: A number that is not a whole number above zero.
    """
    given = [k] if isinstance(k, (int, float, str)) else list(k)
    for number in given:
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UserError(f"Setting {name}: {number!r} is not a number of latents; give whole numbers above 0.")
    if not given:
        raise UserError(f"Setting {name} is empty: give at least one number of latents, such as [1, 2, 5].")
    return tuple(dict.fromkeys(given))
