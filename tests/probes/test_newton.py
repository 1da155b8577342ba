"""Probes solved in the span of the texts against scikit-learn, and the choice of the way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from saebench.probes.newton import Few, Kernel, fit_dual
from saebench.probes.problems import Problem
from saebench.probes.span import Rows, Span
from saebench.probes.validation import WIDE_GRID, full_logits


def _texts(n: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(n, width)), 0) * (rng.random((n, width)) < 0.3) * np.exp(rng.normal(size=width))


@pytest.mark.parametrize("c", [0.01, 1.0, 1e3])
@pytest.mark.parametrize("way", ["kernel", "few"])
def test_coefficients_are_those_of_scikit_learn(c: float, way: str) -> None:
    x = _texts(90, 30 if way == "few" else 200)
    label = (x[:, 0] + np.random.default_rng(1).normal(size=90) > 0.4).astype(float)
    centred = x - x.mean(axis=0)
    products = Kernel.of(centred @ centred.T) if way == "kernel" else Few(centred)
    got = fit_dual(products, label, c, tol=1e-10)
    expected = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12).fit(centred, label)
    assert centred.T @ got.a == pytest.approx(expected.coef_[0], abs=1e-4)
    assert got.intercept == pytest.approx(expected.intercept_[0], abs=1e-4)


def test_a_start_does_not_move_the_optimum() -> None:
    x = _texts(60, 100)
    label = (np.arange(60) % 3 == 0).astype(float)
    products = Kernel.of(x @ x.T)
    cold = fit_dual(products, label, 100.0, tol=1e-10)
    warm = fit_dual(products, label, 100.0, fit_dual(products, label, 0.1), tol=1e-10)
    assert x.T @ warm.a == pytest.approx(x.T @ cold.a, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_steps_in_single_precision_do_not_move_the_optimum(scale: float) -> None:
    x = _texts(80, 200) * scale
    label = (np.arange(80) % 2).astype(float)
    x[:, 0] += label * scale
    k = x @ x.T
    k = k / k.trace() * len(k)
    single = fit_dual(Kernel.of(k), label, 1000.0, tol=1e-9)
    double = fit_dual(_Double(k), label, 1000.0, tol=1e-9)
    assert single.along + single.intercept == pytest.approx(double.along + double.intercept, abs=1e-5)


class _Double(Kernel):
    """A kernel that is never taken in single precision."""

    def __new__(cls, k: np.ndarray) -> _Double:
        return super().__new__(cls, k, k)


@pytest.mark.parametrize(("texts", "features", "way"), [(100, 300, "kernel"), (200, 60, "few"), (100, 80, "kernel")])
@pytest.mark.parametrize("stored", ["dense", "sparse"])
def test_every_way_gives_the_probe_of_scikit_learn(texts: int, features: int, way: str, stored: str) -> None:
    x = _texts(texts + 40, features)
    rng = np.random.default_rng(3)
    label = (x[:, 0] - x[:, 1] + rng.normal(size=len(x)) > 0).astype(np.int64)
    train, test = np.arange(texts), np.arange(texts, texts + 40)
    table = sparse.csr_array(x) if stored == "sparse" else x
    assert Rows(table, train).suits(texts) == way
    problem = Problem("t", "c", True, train, label[train], test, label[test])
    [got] = full_logits(table, [problem], grid=(10.0,))
    spread = np.sqrt(x[train].var(axis=0).sum())
    expected = LogisticRegression(C=10.0, tol=1e-12, max_iter=100_000).fit(x[train] / spread, label[train])
    assert got == pytest.approx(expected.decision_function(x[test] / spread), abs=1e-4)


def test_the_ways_agree_and_choose_the_same_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    x = _texts(160, 120)
    label = (x[:, 0] - x[:, 1] + np.random.default_rng(3).normal(size=160) > 0).astype(np.int64)
    rows = np.arange(160)
    problems = [Problem("t", "c", False, r[:120], label[r[:120]], r[120:], label[r[120:]]) for r in (rows, rows[::-1])]
    problems = [p for p in problems if p.posed]
    found = {}
    for way in ("kernel", "few", ""):
        monkeypatch.setattr(Rows, "suits", lambda *_, way=way: way)
        found[way] = full_logits(sparse.csr_array(x), problems)
    for one, few, features in zip(*found.values(), strict=True):
        assert one == pytest.approx(few, abs=1e-6)
        assert one == pytest.approx(features, abs=1e-2)


def test_inner_products_are_the_same_in_blocks_and_for_each_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    x = sparse.csr_array(_texts(30, 200))
    some = np.array([3, 1, 20])
    whole = Rows(x, np.arange(25)).gram(some)
    monkeypatch.setattr("saebench.probes.span.BLOCK", 90)
    assert Rows(x, np.arange(25)).gram(some) == pytest.approx(whole)
    monkeypatch.setattr("saebench.probes.span.SHARED", 5)
    assert Rows(x, np.arange(25)).gram(some) == pytest.approx(whole)
    assert whole == pytest.approx((x @ x.T).toarray()[np.ix_(some, some)])


def test_rows_that_are_all_the_same_say_how_often_the_class_occurs() -> None:
    x = np.ones((40, 60))
    label = (np.arange(40) % 4 == 0).astype(np.int64)
    problem = Problem("t", "c", True, np.arange(30), label[:30], np.arange(30, 40), label[30:])
    [got] = full_logits(x, [problem])
    share = label[:30].mean()
    assert got == pytest.approx(np.full(10, np.log(share / (1 - share))), abs=1e-3)
    assert Span(Rows(x, np.arange(30)), np.arange(30)).products.times(np.ones(30)) == pytest.approx(np.zeros(30))


def test_features_that_are_not_finite_give_no_score() -> None:
    x = _texts(40, 60)
    x[3, 2] = np.nan
    label = (np.arange(40) % 2).astype(np.int64)
    problem = Problem("t", "c", True, np.arange(30), label[:30], np.arange(30, 40), label[30:])
    assert np.isnan(full_logits(x, [problem])[0]).all()
    assert len(WIDE_GRID) == 4
