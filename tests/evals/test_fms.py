"""FMS equals trees grown in loops: one for a class that one latent holds, less where many do, a quarter for noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from saebench.evals.fms import fms
from sklearn.tree import DecisionTreeClassifier

from saebench.data.labelled import LabelledTexts, Task
from saebench.inputs import LabelledCodes
from saebench.inputs.labelled import Activations
from saebench.saes import Codes


def _texts(n: int = 400) -> tuple[LabelledTexts, np.ndarray]:
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    rows = rng.permutation(n)
    train, test = rows[: n // 2], rows[n // 2 :]
    task = Task("tone", ("sad", "glad"), train, label[train], test, label[test])
    return LabelledTexts(tuple(map(str, range(n))), (task,)), label


def _values(codes: np.ndarray, **settings: object) -> dict[str, float]:
    texts, _ = _texts(len(codes))
    given = LabelledCodes(texts, {"mean": Codes.from_dense(torch.tensor(codes, dtype=torch.float32))}, Activations({}))
    sums = fms.rows(given, **{**fms.settings, **settings})
    totals = {name: value.double().sum(0).numpy() for name, value in sums.fields.items()}
    return dict(zip(sums.slices, fms.compute(totals).tolist(), strict=True))


def _noise(n: int = 400, width: int = 20, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((n, width)) * (rng.random((n, width)) < 0.4)


def test_against_trees_in_loops() -> None:
    texts, label = _texts()
    codes = _noise()
    for i, strength in enumerate((0.5, 0.4, 0.3)):
        codes[:, i] += strength * label
    (task,) = texts.tasks

    def accuracy(columns: list[int], depth: int) -> tuple[float, int]:
        tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(
            codes[task.train][:, columns], task.train_label
        )
        return tree.score(codes[task.test][:, columns], task.test_label), columns[tree.tree_.feature[0]]

    left, roots = list(range(20)), []
    for _ in range(3):
        score, root = accuracy(left, 1)
        roots.append(score)
        left.remove(root)
    # Ties between equal splits may fall to another latent in another order of columns; these codes have none.
    many = np.mean([accuracy(list(range(20)), depth)[0] for depth in (1, 2)])
    found = _values(codes, p=(1, 2), depth=2)
    for p in (1, 2):
        expected = roots[0] * (2 * (roots[0] - roots[p]) + 1 - (many - roots[0])) / 2
        assert found[f"p={p}"] == pytest.approx(expected, abs=0.01)


def test_one_latent_that_holds_the_class_alone_scores_one() -> None:
    _, label = _texts()
    codes = _noise()
    codes[:, 7] = 2.0 * label
    alone = _values(codes)
    assert alone["p=1"] == pytest.approx(1, abs=0.08)
    spread = codes.copy()
    spread[:, 8:14] = 2.0 * label[:, None]
    assert _values(spread)["p=1"] == pytest.approx(0.5, abs=0.02)
    assert _values(spread)["p=5"] == pytest.approx(0.5, abs=0.02)


def test_noise_scores_a_quarter_and_a_dead_sae_too() -> None:
    assert _values(_noise(2000))["p=1"] == pytest.approx(0.25, abs=0.05)
    assert _values(np.zeros((400, 20)))["p=1"] == pytest.approx(0.25, abs=0.03)


def test_what_must_not_move_it_does_not() -> None:
    _, label = _texts()
    codes = _noise()
    codes[:, 3] += 0.5 * label
    order = np.random.default_rng(3).permutation(20)
    assert _values(4.0 * codes)["p=1"] == pytest.approx(_values(codes)["p=1"])
    assert _values(codes[:, order])["p=1"] == pytest.approx(_values(codes)["p=1"], abs=0.03)
