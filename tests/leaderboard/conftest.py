"""A realistic made-up frame of results: 25 SAEs, 6 architectures, nulls, baselines, an error and a gap."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saebench.leaderboard.site import build_site
from tests.helpers.site_rows import BOARD, site_rows

METRICS = {
    "l0": ("lower", "latents a token"),
    "loss_recovered": ("higher", "share of loss"),
    "ce_delta": ("lower", "nats a token"),
    "explained_variance": ("higher", "share of variance"),
    "cosine_similarity": ("higher", "cosine"),
    "dead_fraction": ("lower", "share of latents"),
    "l2_ratio": ("one", "ratio of norms"),
    "uniformity": ("none", "ratio"),
}
QUALITY = {"standard": 0.0, "topk": 1.0, "batchtopk": 1.3, "jumprelu": 1.2, "gated": 0.5, "matryoshka": 0.8}
DAMAGED = {"topk-untrained": (32, -5), "topk-shuffled": (25, -6), "topk-undertrained": (25, -0.7),
           "standard-half_dead": (40, -1)}  # fmt: skip
REFERENCES = {"null:random-32": (32, -7), "baseline:pca-32": (32, -2), "baseline:pca-96": (96, -1)}
IDENTITY = {"l0": 192, "loss_recovered": 1, "ce_delta": 0, "explained_variance": 1, "cosine_similarity": 1}

Make = Callable[..., dict[str, Any]]


def row(sae: str, metric: str, value: float | None, stderr: float | None = None, **more: Any) -> dict[str, Any]:
    """One row of a tidy frame, with the defaults of a small run."""
    better, unit = METRICS.get(metric, ("higher", ""))
    noisy = value is not None and stderr is not None
    return {
        "sae": sae, "architecture": "topk", "d_sae": 768, "role": "sae", "model": "world",
        "hook_in": "blocks.2.hook_resid_post", "hook_out": "blocks.2.hook_resid_post", "corpus": "text",
        "metric": metric, "version": 1, "slice": "", "status": "ok", "reason": "", "value": value, "stderr": stderr,
        "ci_low": value - 1.96 * stderr if noisy else None, "ci_high": value + 1.96 * stderr if noisy else None,
        "n": 400, "null": None, "baseline": None, "better": better, "unit": unit, "bounds": (None, None),
        "signature": f"{metric}@1|{sae}", "seconds": 0.25, **more,
    }  # fmt: skip


def scores(l0: float, quality: float, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Values and standard errors of the default metrics for a SAE of some sparsity and quality."""
    gap = 0.9 * l0**-0.75 * np.exp(-0.45 * quality + rng.normal(0, 0.05))
    missed = 1.6 * l0**-0.45 * np.exp(-0.25 * quality + rng.normal(0, 0.03))
    return {
        "l0": (l0, 0.01 * l0),
        "loss_recovered": (1 - gap, 0.03 * gap),
        "ce_delta": (4.1 * gap, 0.14 * gap),
        "explained_variance": (1 - 0.5 * missed, 0.02 * missed),
        "cosine_similarity": (1 - 0.28 * missed, 0.008 * missed),
        "dead_fraction": (abs(rng.normal(0.02, 0.02)), 0.003),
    }


def realistic() -> pd.DataFrame:
    """25 SAEs, four references, one failed row and one that is missing."""
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []

    def add(sae: str, l0: float, quality: float, **more: Any) -> None:
        rows.extend(row(sae, metric, *pair, **more) for metric, pair in scores(l0, quality, rng).items())

    for name, quality in QUALITY.items():
        for target in (8, 25, 80):
            l0 = target if name == "topk" else target * float(np.exp(rng.normal(0, 0.1)))
            add(f"{name}-l0_{target}", l0, quality, architecture=name)
    for seed in (1, 2, 3):
        add(f"topk-l0_25-seed_{seed}", 25, 1.0)
    for sae, (l0, quality) in DAMAGED.items():
        add(sae, l0, quality, architecture=sae.split("-")[0])
    for sae, (l0, quality) in REFERENCES.items():
        add(sae, l0, quality, architecture=sae.split(":")[1], role=sae.split(":")[0])
    identity = {"role": "baseline", "architecture": "identity", "d_sae": 192}
    rows += [row("baseline:identity", metric, value, 0, **identity) for metric, value in IDENTITY.items()]
    table = pd.DataFrame(rows)
    broken = (table["sae"] == "gated-l0_80") & (table["metric"] == "ce_delta")
    table.loc[broken, ["status", "reason", "value", "stderr"]] = ["error", "out of memory | batch 3", None, None]
    return table[~((table["sae"] == "standard-l0_8") & (table["metric"] == "cosine_similarity"))]


@pytest.fixture
def make_row() -> Make:
    return row


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return realistic()


@pytest.fixture(scope="session")
def rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a site."""
    return site_rows(frame)


@pytest.fixture(scope="session")
def site(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site."""
    folder = tmp_path_factory.mktemp("site")
    build_site(rows, folder, BOARD)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; without one the tests are skipped and say how to run them.

    Closed after each file: while it is open an event loop runs, in which a later file's judges would find themselves.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    found = [path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path]
    if not found:
        pytest.skip("no Chromium: `apt-get install chromium`, then `pytest tests/leaderboard`")
    with sync_api.sync_playwright() as play:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        running = play.chromium.launch(executable_path=found[0], args=["--no-sandbox"] if root else [])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page that fails the test on a console error, and on a request that leaves the folders of the tests."""
    context = browser.new_context(
        base_url=f"{site.as_uri()}/", viewport={"width": 1280, "height": 800}, color_scheme="light"
    )
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
    allowed = (tmp_path_factory.getbasetemp().as_uri(), "data:", "blob:")
    opened.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith(allowed) else None)
    yield opened
    context.close()
    assert not faults


@pytest.fixture
def small() -> pd.DataFrame:
    """Three SAEs and a null on two metrics, with an error, a gap and a value without a standard error."""
    null = {"role": "null", "architecture": "random", "d_sae": 768}
    return pd.DataFrame([
        row("a|b", "l0", 8.0, 0.04, architecture="topk"),
        row("a|b", "loss_recovered", 0.9012, 0.0004, architecture="topk"),
        row("<script>", "l0", 120.25, 1.3, architecture="gated"),
        row("<script>", "loss_recovered", 0.9613, 0.012, architecture="gated"),
        row("plain_one", "l0", 30.0, None, architecture="jumprelu"),
        row("plain_one", "loss_recovered", None, architecture="jumprelu", status="error", reason="50% _luck_"),
        row("random-32", "loss_recovered", -0.25, 0.02, **null),
    ])  # fmt: skip
