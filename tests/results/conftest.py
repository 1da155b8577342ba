"""Small metrics with their sums, known to a registry of their own, and rows made from them."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saebench.errors import unknown
from saebench.metric import Array, Metric, Sums, Totals, metric
from saebench.results import Row, bootstrap, split_sums


class Input:
    """Stands for any input of a metric."""

    kind = "stream"


@metric(version=1, unit="x", better="higher")
def mean(a: Input) -> Sums:
    """Mean of x."""
    raise NotImplementedError


@metric(version=1, unit="x", better="lower")
def cost(a: Input) -> Sums:
    """Mean of x, where less is better."""
    raise NotImplementedError


@metric(version=1, unit="x", better="one")
def bias(a: Input) -> Sums:
    """Mean of x, which should be one."""
    raise NotImplementedError


@metric(version=1, unit="x", better="none")
def trait(a: Input) -> Sums:
    """Mean of x, which is neither good nor bad."""
    raise NotImplementedError


@metric(version=1, unit="x", better="lower", units="latents", bounds=(0.0, 1.0))
def dead(a: Input) -> Sums:
    """Share of latents."""
    raise NotImplementedError


@metric(version=1, unit="x", better="lower", units="none")
def shape(a: Input) -> Sums:
    """A number of the weights."""
    raise NotImplementedError


@mean.value
@cost.value
@bias.value
@trait.value
@dead.value
@shape.value
def _(s: Totals) -> Array:
    return s.x / s.n


METRICS: dict[str, Metric] = {m.name: m for m in (mean, cost, bias, trait, dead, shape)}


def sums_of(x: Any, n: Any = 1.0) -> dict[str, np.ndarray]:
    """The sums of the metrics above: x and its weight, `[units]` or `[units, slices]`."""
    values = np.asarray(x, np.float64)
    return {"x": values, "n": np.broadcast_to(np.asarray(n, np.float64), values.shape).copy()}


def make_rows(name: str, sums: dict[str, np.ndarray], *, slices: tuple[str, ...] = (), **facts: Any) -> list[Row]:
    """The rows that the engine would make of these sums."""
    m = METRICS[name]
    names = slices or ("",)
    base = {
        "sae": "sae-a", "model": "tiny", "model_hash": "m0", "hook_in": "blocks.0.hook_resid_post",
        "hook_out": "blocks.0.hook_resid_post", "corpus": "text", "corpus_hash": "c0", "tokens": 1000,
        "context": 16, "dtype": "float32", "seed": 0, "architecture": "topk", "d_sae": 64,
    } | facts  # fmt: skip
    signature = f"{name}@{base.get('version', 1)}|" + "|".join(f"{k}:{base[k]}" for k in sorted(base))
    declared = {
        "metric": name, "units": m.units, "unit": m.unit, "better": m.better, "bounds": m.bounds,
        "signature": signature, "slices_total": len(names),
    }  # fmt: skip
    common = {**declared, **base}
    estimate = bootstrap(m, sums, seed=0)
    return [
        Row(slice=s, sums=split_sums(sums, i, len(names)), **{**estimate.columns(i), **common})
        for i, s in enumerate(names)
    ]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Metric]:
    """Only the metrics above exist."""
    known = dict(METRICS)

    def get(name: str) -> Metric:
        if name not in known:
            raise unknown("metric", name, known)
        return known[name]

    monkeypatch.setitem(sys.modules, "saebench.registry", SimpleNamespace(get=get, metrics=lambda: dict(known)))
    return known


@pytest.fixture
def make() -> Any:
    """`make.rows(...)`, `make.sums(...)` and `make.metrics[...]`."""
    return SimpleNamespace(rows=make_rows, sums=sums_of, metrics=METRICS)
