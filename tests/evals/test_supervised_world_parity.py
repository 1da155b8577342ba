"""Probing, TPP and SCR of a shipped SAE equal slow loops over single texts: no batch, no padding, no engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import saebench as sb
from saebench.data.datasets import Dataset, load_dataset, spec_types
from saebench.models import load_model
from tests.helpers import scr_tpp_by_hand as by_hand

HOOK = "blocks.1.hook_resid_post"
DATA = {"source": "world:dialect,category", "train": 24, "test": 24}
METRICS = ({"sparse_probing": {"k": [1, 3]}}, {"tpp": {"n": [5, 50]}}, {"scr": {"n": [5, 50]}})


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], float | None]:
    """The rows of the metrics, by name and slice."""
    suite = {"metric": list(METRICS), "data": {"probing": DATA}, "references": {"null": None, "baseline": None}}
    return {(row.metric, row.slice): row.value for row in sb.evaluate("world:topk-mid", suite, model="world").rows}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("probing", DATA["source"], spec_types()["probing"](**DATA), load_model("world"), seed=0)


@pytest.fixture(scope="module")
def texts(data: Dataset) -> by_hand.Texts:
    """Activations and codes of each text's tokens behind BOS, each text run by itself."""
    model, sae = load_model("world"), sb.load_sae("world:topk-mid")
    y, codes = [], []
    with torch.no_grad():
        for i in range(data.corpus.rows):
            row = torch.from_numpy(np.asarray(data.corpus.row(i), dtype=np.int64))[None]
            acts = model.forward(row, [HOOK], final=False).acts[HOOK][0, 1:]
            y.append(acts.double().numpy())
            codes.append(sae.encode(acts).dense().double().numpy())
    assert sae.W_dec is not None
    return by_hand.Texts(y, codes, sae.W_dec.double().numpy())


def test_probing_is_that_of_scikit_learn(found: dict, data: Dataset, texts: by_hand.Texts) -> None:
    x = texts.mean_codes
    for task in data.items.tasks:
        for c, name in enumerate(task.classes):
            p = task.binary(c, 0)
            sides = [x[p.train[p.train_label == mark]].mean(0) for mark in (1, 0)]
            best = np.argsort(-np.abs(sides[0] - sides[1]), kind="stable")
            for k in (1, 3):
                probe = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=10_000))
                probe.fit(x[p.train][:, best[:k]], p.train_label)
                expected = float(np.mean(probe.predict(x[p.test][:, best[:k]]) == p.test_label))
                assert found["sparse_probing", f"k={k}/{task.name}={name}"] == pytest.approx(expected), (name, k)


def test_tpp_is_that_of_ablating_token_by_token(found: dict, data: Dataset, texts: by_hand.Texts) -> None:
    task = next(task for task in data.items.tasks if task.name == "dialect")
    for n in (5, 50):
        falls = by_hand.tpp(texts, task, n)
        for name, intended, unintended in zip(task.classes, falls["intended"], falls["unintended"], strict=True):
            assert found["tpp", f"n={n}/dialect={name}"] == pytest.approx(intended - unintended), (name, n)
    assert any(found["tpp", f"n=50/dialect={name}"] for name in task.classes)


def test_scr_is_that_of_ablating_token_by_token(found: dict, data: Dataset, texts: by_hand.Texts) -> None:
    for n in (5, 50):
        scores = {pair.name: by_hand.scr(texts, pair, n) for pair in data.items.pairs}
        for name, score in scores.items():
            value = found["scr", f"n={n}/{name}"]
            assert (np.nan if value is None else value) == pytest.approx(score["scr"], nan_ok=True), (name, n)
        for way in ("dir1", "dir2"):
            expected = np.nanmean([score[way] for score in scores.values()])
            assert found["scr", f"n={n}/{way}"] == pytest.approx(expected), (way, n)
        assert np.isfinite([score["scr"] for score in scores.values()]).any()
