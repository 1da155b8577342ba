"""The published model organism: TopK seeds agree far above chance, ReLU seeds less, and agreement tracks the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

import saebench as sb
from saebench.data.synthetic import Synthetic, recipe
from saebench.errors import UserError
from saebench.saes.toy import Training, train

ORGANISM = "synthetic:organism"
AT = (0, 40, 120, 300)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, int, str], float]:
    """Means over three seeds by architecture, step and metric."""
    suite = {"name": "t", "metric": ["gt_mcc", "pw_mcc", "pw_mcc_null"], "references": {"null": None, "baseline": None}}
    truth = Synthetic(recipe(ORGANISM))
    values: dict[tuple[str, int, str], float] = {}
    for architecture in ("topk", "relu"):
        made = train(truth, Training(architecture=architecture, steps=AT[-1]), at=AT)
        for step, saes in made.items():
            frame = sb.evaluate(saes, suite, model=ORGANISM, groups={architecture: saes}).frame()
            frame = frame[frame.slice.isin(["", "group"])]
            for name, part in frame.groupby("metric"):
                own = part if name == "gt_mcc" else part[part.slice == "group"]
                values[architecture, step, str(name)] = float(own.value.mean())
    return values


def test_topk_agrees_far_above_its_null_and_relu_less(found: dict[tuple[str, int, str], float]) -> None:
    """Song et al. 2025: about 0.8 and more for TopK, ReLU clearly below."""
    last = AT[-1]
    topk, relu, null = (found[kind, last, name] for kind, name in
                        (("topk", "pw_mcc"), ("relu", "pw_mcc"), ("topk", "pw_mcc_null")))  # fmt: skip
    assert topk > 0.8 and topk - null > 0.25
    assert relu < topk - 0.15


def test_agreement_of_seeds_tracks_agreement_with_the_truth(found: dict[tuple[str, int, str], float]) -> None:
    truth = [v for (_, _, name), v in sorted(found.items()) if name == "gt_mcc"]
    seeds = [v for (_, _, name), v in sorted(found.items()) if name == "pw_mcc"]
    assert pearsonr(truth, seeds).statistic > 0.95
    for architecture in ("topk", "relu"):
        path = [found[architecture, step, "gt_mcc"] for step in AT]
        assert path == sorted(path), "training moves towards the truth"


def test_seeds_differ_and_are_the_same_again() -> None:
    truth = Synthetic(recipe(ORGANISM))
    one, again = (train(truth, Training(steps=5), seeds=(0, 1))[5] for _ in range(2))
    assert [sae.fingerprint for sae in one] == [sae.fingerprint for sae in again]
    assert one[0].fingerprint != one[1].fingerprint
    x = torch.from_numpy(truth.draw(np.arange(200)).activations)
    assert one[0].encode(x).l0.max() <= 3
    with pytest.raises(UserError, match="topk"):
        train(truth, Training(architecture="gated"))  # type: ignore[arg-type]
