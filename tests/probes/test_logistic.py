"""The batched solvers find scikit-learn's optimum, whatever the columns and whoever shares the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from saebench.probes import Features, fit, fit_l1, fit_wide

COLUMNS = ["one", "plain", "tiny", "large", "equal", "zero", "constant", "separable", "unbalanced"]


def _problem(kind: str, seed: int = 0, n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, COLUMNS.index(kind)])
    x = np.maximum(rng.normal(size=(n, 1 if kind == "one" else 4)), 0)
    y = (rng.normal(size=n) + 2 * x[:, 0] > (3 if kind == "unbalanced" else 1)).astype(int)
    if kind in ("tiny", "large"):
        x *= {"tiny": 1e-5, "large": 1e3}[kind]
    elif kind == "equal":
        x[:, 1] = x[:, 0]
    elif kind == "zero":
        x[:, 1] = 0
    elif kind == "constant":
        x[:, 1] = 7
    elif kind == "separable":
        y = (x[:, 0] > 0.5).astype(int)
    return x, y


def _sklearn(x: np.ndarray, y: np.ndarray, c: float = 1.0) -> LogisticRegression:
    return LogisticRegression(C=c, tol=1e-10, max_iter=100_000, solver="newton-cholesky").fit(x, y)


@pytest.mark.parametrize("c", [0.01, 1.0, 1000.0])
@pytest.mark.parametrize("kind", COLUMNS)
def test_coefficients_and_predictions_are_those_of_scikit_learn(kind: str, c: float) -> None:
    x, y = _problem(kind)
    got = fit(torch.tensor(x)[None], torch.tensor(y)[None], c=c)
    expected = _sklearn(x, y, c)
    size = max(1.0, np.abs(expected.coef_).max())
    assert got.coef[0].numpy() == pytest.approx(expected.coef_[0], abs=1e-4 * size)
    assert float(got.intercept[0]) == pytest.approx(expected.intercept_[0], abs=1e-4 * size)
    assert np.array_equal((got.logits(torch.tensor(x)[None])[0] > 0).numpy(), expected.predict(x) == 1)


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_gradient_vanishes(kind: str) -> None:
    x, y = _problem(kind)
    got = fit(torch.tensor(x)[None], torch.tensor(y)[None])
    wrong = 1 / (1 + np.exp(-(x @ got.coef[0].numpy() + float(got.intercept[0])))) - y
    gradient = np.r_[x.T @ wrong + got.coef[0].numpy(), wrong.sum()]
    start = np.r_[x.T @ (y.mean() - y), 1.0]
    assert np.linalg.norm(gradient) < 1e-8 * np.linalg.norm(start)


@pytest.mark.parametrize("solve", [fit, fit_l1])
def test_a_problem_does_not_see_its_batch(solve) -> None:
    """Problems of several sizes, padded with rubbish that the mask hides, are as they are alone."""
    parts = [_problem(kind, n=n) for kind, n in zip(("plain", "equal", "separable"), (60, 90, 120), strict=True)]
    x, y, mask = torch.full((3, 120, 4), 9.0), torch.ones(3, 120), torch.zeros(3, 120)
    for i, (rows, label) in enumerate(parts):
        x[i, : len(rows)], y[i, : len(rows)] = torch.tensor(rows), torch.tensor(label).float()
        mask[i, : len(rows)] = 1
    strengths = torch.tensor([1.0, 10.0, 0.1])
    together = solve(x, y, mask=mask, c=strengths)
    for i, (rows, label) in enumerate(parts):
        alone = solve(torch.tensor(rows).float()[None], torch.tensor(label)[None], c=float(strengths[i].double()))
        fitted = alone.logits(torch.tensor(rows)[None])[0]
        assert torch.allclose(together.logits(x.double())[i, : len(rows)], fitted, atol=1e-6)


def test_one_class_has_no_probe_and_harms_no_other() -> None:
    x, y = _problem("plain")
    both = fit(torch.tensor(np.stack([x, x])), torch.tensor(np.stack([y, np.ones_like(y)])))
    assert both.coef[1].isnan().all() and both.intercept[1].isnan()
    assert both.coef[0].numpy() == pytest.approx(_sklearn(x, y).coef_[0], abs=1e-6)


@pytest.mark.parametrize("c", [1e-5, 0.01, 0.3, 1.0, 1e5])
@pytest.mark.parametrize("kind", COLUMNS)
def test_l1_meets_the_conditions_of_optimality(kind: str, c: float) -> None:
    """KKT: slope -sign(w) where w is not zero, at most one where it is, zero for the intercept."""
    x, y = _problem(kind)
    got = fit_l1(torch.tensor(x)[None], torch.tensor(y)[None], c=c)
    w, b = got.coef[0].numpy(), float(got.intercept[0])
    wrong = c * (1 / (1 + np.exp(-(x @ w + b))) - y)
    slope = x.T @ wrong
    gap = np.where(w != 0, np.abs(slope + np.sign(w)), np.maximum(np.abs(slope) - 1, 0))
    assert gap.max() < 1e-6
    assert abs(wrong.sum()) < 1e-6


@pytest.mark.filterwarnings("ignore")
def test_l1_is_that_of_saga() -> None:
    x, y = _problem("plain")
    got = fit_l1(torch.tensor(x)[None], torch.tensor(y)[None], c=0.2)
    saga = LogisticRegression(C=0.2, l1_ratio=1.0, penalty="l1", solver="saga", tol=1e-9, max_iter=100_000).fit(x, y)
    assert got.coef[0].numpy() == pytest.approx(saga.coef_[0], abs=1e-4)
    assert float(got.intercept[0]) == pytest.approx(saga.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("width", [20, 300])
@pytest.mark.parametrize("stored", ["dense", "sparse"])
def test_probes_on_many_features_are_those_of_scikit_learn(width: int, stored: str) -> None:
    rng = np.random.default_rng(width)
    n = 150
    x = np.maximum(rng.normal(size=(n, width)), 0) * (rng.random((n, width)) < 0.3) * np.exp(rng.normal(size=width))
    label = (rng.normal(size=(n, 3)) + x[:, :3] > 0.5).astype(float)
    mask = (rng.random((n, 3)) < 0.8).astype(float)
    strengths = torch.tensor([1.0, 0.1, 100.0])
    features = Features(sparse.csr_array(x) if stored == "sparse" else torch.tensor(x))
    got = fit_wide(features, torch.tensor(label), torch.tensor(mask), strengths)
    for i in range(3):
        inside = mask[:, i] > 0
        expected = _sklearn(x[inside], label[inside, i], float(strengths[i].double()))
        assert got.coef[i].numpy() == pytest.approx(expected.coef_[0], abs=1e-4)
        assert float(got.intercept[i]) == pytest.approx(expected.intercept_[0], abs=1e-4)


def test_a_wide_problem_of_one_class_has_no_probe() -> None:
    x = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    label = torch.stack([torch.ones(30), (x[:, 0] > 0).float()], 1)
    got = fit_wide(Features(x), label, torch.ones(30, 2))
    assert got.coef[0].isnan().all() and got.coef[1].isfinite().all()
