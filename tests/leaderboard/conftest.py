"""A realistic made-up frame of results: 25 SAEs, 6 architectures, nulls, baselines, errors and gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

METRICS = {
    "l0": ("lower", "latents a token"),
    "loss_recovered": ("higher", "fraction"),
    "ce_delta": ("lower", "nats a token"),
    "explained_variance": ("higher", "fraction"),
    "cosine_similarity": ("higher", "cosine"),
    "dead_fraction": ("lower", "fraction"),
    "l2_ratio": ("one", "ratio"),
    "density_entropy": ("none", "nats"),
}
ARCHITECTURES = {"standard": 0.0, "topk": 1.0, "batchtopk": 1.3, "jumprelu": 1.2, "gated": 0.5, "matryoshka_batchtopk": 0.8}


def row(sae: str, metric: str, value: float | None, stderr: float | None = None, **more: Any) -> dict[str, Any]:
    """One row of a tidy frame, with the defaults of a small run."""
    better, unit = METRICS.get(metric, ("higher", ""))
    known = value is not None and stderr is not None
    return {
        "sae": sae, "architecture": "topk", "d_sae": 768, "role": "sae", "model": "world-4l", "hook_in": "blocks.2.hook_resid_post",
        "hook_out": "blocks.2.hook_resid_post", "corpus": "world:held_out", "metric": metric, "version": 1, "slice": "",
        "status": "ok", "reason": "", "value": value, "stderr": stderr, "ci_low": value - 1.96 * stderr if known else None,
        "ci_high": value + 1.96 * stderr if known else None, "n": 400, "null": None, "baseline": None, "better": better,
        "unit": unit, "bounds": (None, None), "signature": f"{metric}@1|{sae}", "seconds": 0.25, **more,
    }  # fmt: skip


def scores(l0: float, quality: float, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Values and standard errors of the default metrics for a SAE of some sparsity and quality."""
    gap = 0.9 * l0**-0.75 * np.exp(-0.45 * quality) * np.exp(rng.normal(0, 0.05))
    missed = 1.6 * l0**-0.45 * np.exp(-0.25 * quality) * np.exp(rng.normal(0, 0.03))
    return {
        "l0": (l0, 0.01 * l0),
        "loss_recovered": (1 - gap, 0.03 * gap),
        "ce_delta": (4.1 * gap, 0.14 * gap),
        "explained_variance": (1 - 0.5 * missed, 0.02 * missed),
        "cosine_similarity": (1 - 0.28 * missed, 0.008 * missed),
        "dead_fraction": (abs(rng.normal(0.02, 0.02)), 0.003),
    }


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    return row


@pytest.fixture
def frame() -> pd.DataFrame:
    return make_frame()


def make_frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for name, quality in ARCHITECTURES.items():
        for target in (8, 25, 80):
            sae = f"{name}-l0_{target}"
            l0 = target if name == "topk" else target * float(np.exp(rng.normal(0, 0.1)))
            rows += [row(sae, m, *pair, architecture=name) for m, pair in scores(l0, quality, rng).items()]
    for seed in (1, 2, 3):
        rows += [row(f"topk-l0_25-seed_{seed}", m, *pair) for m, pair in scores(25, 1.0, rng).items()]
    damaged = {"topk-untrained": (32, -5), "topk-shuffled": (25, -6), "topk-undertrained": (25, -0.7), "standard-half_dead": (40, -1)}
    for sae, (l0, quality) in damaged.items():
        rows += [row(sae, m, *pair, architecture=sae.split("-")[0]) for m, pair in scores(l0, quality, rng).items()]
    references = {"null:random-32": ("null", 32, -7), "baseline:pca-32": ("baseline", 32, -2), "baseline:pca-96": ("baseline", 96, -1)}
    for sae, (role, l0, quality) in references.items():
        rows += [row(sae, m, *pair, architecture=role, role=role) for m, pair in scores(l0, quality, rng).items()]
    identity = {"l0": (192, 0), "loss_recovered": (1, 0), "ce_delta": (0, 0), "explained_variance": (1, 0), "cosine_similarity": (1, 0)}
    rows += [row("baseline:identity", m, *p, role="baseline", architecture="identity", d_sae=192) for m, p in identity.items()]
    table = pd.DataFrame(rows)
    broken = (table["sae"] == "gated-l0_80") & (table["metric"] == "ce_delta")
    table.loc[broken, ["status", "reason", "value", "stderr"]] = ["error", "out of memory | at batch 3", None, None]
    return table[~((table["sae"] == "standard-l0_8") & (table["metric"] == "cosine_similarity"))].reset_index(drop=True)
