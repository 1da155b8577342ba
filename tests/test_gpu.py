"""On a GPU the same numbers come out as on the CPU; skipped where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saebench as sb

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device, or not asked for: make test-gpu")

SAES = ("world:topk-mid", "world:gated-mid", "world:jumprelu-mid", "world:transcoder-mid")
TEXT = {"source": "world", "tokens": 8000, "context": 128}
PROBING = {"source": "world:profession,gender", "train": 40, "test": 30}
SMALL: dict[str, dict[str, Any]] = {
    "core": {"text": TEXT},
    "structure": {"text": TEXT, "random_tokens": {"tokens": 4000}, "probing": PROBING},
    "probing": {"probing": PROBING, "last_token": {**PROBING, "protocol": "last_token"}},
    "ci": {"text": TEXT, "probing": PROBING, "words": {"source": "world:first_letter", "words": 600}},
    "consistency": {"text": TEXT},
}
"""Suites on little data. A mapping of settings stands for a data source as it does in a suite's file."""

CHOOSES = {"amortisation_gap", "connectivity", "max_phi", "negative_interference", "fms"}
"""Built on choices between near ties, which rounding may turn; they are held by their standard error only."""


def _scored(suite: str, device: str) -> pd.DataFrame:
    chosen = sb.load_suite(suite)
    saes = () if suite == "consistency" else SAES
    results = sb.evaluate(saes, _with(chosen, SMALL[suite]), model="world", device=device, dtype="float32")
    return results.frame().set_index(["sae", "metric", "slice"]).sort_index()


def _with(suite: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The suite as a mapping, on other data."""
    return {"extends": suite.name, "name": suite.name, "data": data}


@pytest.mark.parametrize("suite", list(SMALL))
def test_rows_of_cpu_and_gpu_agree(suite: str) -> None:
    cpu, gpu = _scored(suite, "cpu"), _scored(suite, "cuda")
    assert list(cpu.index) == list(gpu.index)
    assert (cpu.status == gpu.status).all()
    scored = cpu[cpu.status == "ok"].join(gpu[["value"]], rsuffix="_gpu")
    room = np.maximum(0.1 * scored.stderr.fillna(0), 2e-3 * scored.value.abs() + 1e-4)
    loose = scored.index.get_level_values("metric").isin(CHOOSES)
    room = np.where(loose, np.maximum(room, scored.stderr.fillna(0)), room)
    off = scored[(scored.value - scored.value_gpu).abs() > room]
    assert off.empty, off[["value", "value_gpu", "stderr"]].to_string()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near(dtype: str) -> None:
    full = sb.evaluate(SAES, "quick", model="world", device="cuda", dtype="float32").board()
    half = sb.evaluate(SAES, "quick", model="world", device="cuda", dtype=dtype).board()
    assert np.allclose(full["explained_variance"], half["explained_variance"], atol=0.02)
    assert np.allclose(full["l0"], half["l0"], rtol=0.05)


def test_a_model_spread_over_gpu_and_cpu_has_the_same_numbers() -> None:
    accelerate = pytest.importorskip("accelerate")
    whole = sb.evaluate(SAES, "quick", model="world", device="cpu", dtype="float32").board()
    model = sb.load_model("world", device="cpu", dtype="float32").model
    places = {name: 0 for name, part in model.named_children() if name != "model"}
    places |= {f"model.{name}": "cpu" for name, _ in model.model.named_children() if name != "layers"}
    places |= {f"model.layers.{i}": 0 if i % 2 else "cpu" for i in range(len(model.model.layers))}
    spread = accelerate.dispatch_model(model, device_map=places, main_device="cpu", force_hooks=True)
    board = sb.evaluate(SAES, "quick", model=spread).board()
    pd.testing.assert_frame_equal(board, whole, rtol=2e-3, atol=1e-4)


def test_saes_by_turns_have_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from saebench.engine import rooms

    free = sb.evaluate(SAES, "quick", model="world", device="cuda", dtype="float32").board()
    largest = max(rooms.size_of(sb.load_sae(ref, device="cpu")) for ref in SAES)
    monkeypatch.setattr(rooms, "sae_budget", lambda device: 1.5 * largest)
    turns = sb.evaluate(SAES, "quick", model="world", device="cuda", dtype="float32").board()
    pd.testing.assert_frame_equal(turns, free, rtol=1e-4, atol=1e-5)


def test_too_little_memory_halves_the_batch_and_moves_no_number() -> None:
    free = sb.evaluate(SAES[:1], "quick", model="world", device="cuda", dtype="float32").frame()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 150 * 2**20) / total)
    try:
        tight = sb.evaluate(SAES[:1], "quick", model="world", device="cuda", dtype="float32").frame()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (tight.status == "ok").all()
    assert np.allclose(free.value, tight.value, rtol=1e-4)
