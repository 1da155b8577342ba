"""Scores equal scikit-learn's; their influences give the standard errors of DeLong and of a direct bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from saebench.probes import Problem, Score, accuracy, auroc, f1, scored, sliced, weighted_f1

SCORERS = {
    "accuracy": (accuracy, lambda z, y: metrics.accuracy_score(y, z > 0)),
    "auroc": (auroc, lambda z, y: metrics.roc_auc_score(y, z)),
    "f1": (f1, lambda z, y: metrics.f1_score(y, z > 0, zero_division=0)),
    "weighted_f1": (weighted_f1, lambda z, y: metrics.f1_score(y, z > 0, average="weighted", zero_division=0)),
}


def _draw(n: int, seed: int, positive: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (np.arange(n) < positive * n).astype(int)
    return np.round(rng.normal(size=n) + 1.2 * label - 0.6, 1) + 0.05, label


@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_those_of_scikit_learn_and_influences_sum_to_nothing(name: str) -> None:
    scorer, reference = SCORERS[name]
    for seed in range(5):
        z, y = _draw(101 + seed, seed)
        got = scorer(z, y)
        assert got.value == pytest.approx(reference(z, y), abs=1e-12)
        assert got.influence.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", SCORERS)
def test_the_standard_error_is_that_of_a_direct_bootstrap(name: str) -> None:
    scorer, reference = SCORERS[name]
    z, y = _draw(1500, 1)
    rng = np.random.default_rng(2)
    drawn = [scorer(z[rows], y[rows]).value for rows in rng.integers(0, len(y), (4000, len(y)))]
    got = np.sqrt((scorer(z, y).influence ** 2).sum()) / len(y)
    assert got == pytest.approx(np.std(drawn), rel=0.05)


def test_the_standard_error_of_the_auroc_is_delongs() -> None:
    z, y = _draw(300, 3)
    pos, neg = z[y == 1], z[y == 0]
    kernel = np.array([[(a > b) + 0.5 * (a == b) for b in neg] for a in pos], dtype=float)
    delong = kernel.mean(1).var(ddof=1) / len(pos) + kernel.mean(0).var(ddof=1) / len(neg)
    got = (auroc(z, y).influence ** 2).sum() / len(y) ** 2
    assert np.sqrt(got) == pytest.approx(np.sqrt(delong), rel=0.02)


def _problems() -> tuple[list[Problem], list[np.ndarray]]:
    """Two tasks; the first has three classes whose test parts overlap."""
    rng = np.random.default_rng(5)
    found, logits = [], []
    for task, name, size in [("a", "x", 40), ("a", "y", 60), ("a", "z", 50), ("b", "yes", 30)]:
        pool = np.arange(150) if task == "a" else np.arange(150, 200)
        label = (np.arange(size) < size // 2).astype(int)
        test = rng.permutation(pool)[:size]
        found.append(Problem(task, name, task == "b", test, label, test, label))
        logits.append(rng.normal(size=size) + label)
    return found, logits


@pytest.mark.parametrize("most", [7, 128, 10_000])
def test_slices_average_classes_then_tasks(most: int) -> None:
    problems, logits = _problems()
    got = sliced(problems, {"k=1": scored(problems, logits, auroc)}, most)
    assert got.names == ("k=1", "k=1/a", "k=1/b", "k=1/a=x", "k=1/a=y", "k=1/a=z")
    value = got.psi.sum(0) / got.n.sum(0)
    each = [metrics.roc_auc_score(p.test_label, z) for p, z in zip(problems, logits, strict=True)]
    assert value == pytest.approx([(np.mean(each[:3]) + each[3]) / 2, np.mean(each[:3]), each[3], *each[:3]])
    items = [
        len(np.unique(np.concatenate([p.test for p in problems if p.task in tasks]))) for tasks in ("ab", "a", "b")
    ]
    assert list(got.n.sum(0)) == [*items, 40, 60, 50]
    assert len(got.psi) == min(most, items[0])


def test_the_overall_variance_counts_a_shared_text_once() -> None:
    """Two problems on the same texts with the same influences do not halve the variance."""
    label = np.array([1, 0] * 20)
    z = np.random.default_rng(0).normal(size=40) + label
    one = Problem("a", "x", False, np.arange(40), label, np.arange(40), label)
    two = Problem("a", "y", False, np.arange(40), label, np.arange(40), label)
    got = sliced([one, two], {"k=1": scored([one, two], [z, z], accuracy)}, 10_000)
    spread = got.psi[:, 0].std()
    assert spread == pytest.approx(np.sqrt(accuracy(z, label).value * (1 - accuracy(z, label).value)))


def test_a_problem_without_a_score_is_nan_alone_and_in_no_average() -> None:
    problems, logits = _problems()
    problems[1] = Problem("a", "y", False, *[problems[1].train, problems[1].train_label * 0] * 2)
    scores = scored(problems, logits, auroc)
    assert isinstance(scores[1], Score) and np.isnan(scores[1].value)
    got = sliced(problems, {"k=1": scores})
    with np.errstate(invalid="ignore"):
        value = got.psi.sum(0) / got.n.sum(0)
    assert np.isnan(value[got.names.index("k=1/a=y")]) and np.isfinite(np.delete(value, 4)).all()
    assert value[1] == pytest.approx((scores[0].value + scores[2].value) / 2)
