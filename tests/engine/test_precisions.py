"""The model in one precision and the SAE in another: each computes in its own, and sums are in double."""

from __future__ import annotations

import pytest
import torch

import saebench as sb
from saebench.saes.architectures import ReLU
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

SUITE = {"name": "m", "metric": ["ce_clean", "ce_delta", "mse", "l0", "explained_variance"]}


def coder() -> ReLU:
    """A small SAE in single precision."""
    toy = ToySAE()
    weights = {name: getattr(toy, name).detach() for name in ("W_dec", "W_enc", "b_enc", "b_dec")}
    return ReLU(**weights, hook_in=HOOK, hook_out=HOOK, name="toy")


def values(model: torch.dtype, sae: torch.dtype) -> dict[str, float | None]:
    """Numbers of the SAE by metric."""
    placed = coder().to(dtype=sae)
    rows = sb.evaluate(placed, SUITE, model=tiny_llama().to(model), data={"text": token_rows()}).rows
    assert all(row.status == "ok" for row in rows)
    return {row.metric: row.value for row in rows if row.role == "sae"}


@pytest.mark.parametrize("sae", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model", [torch.float32, torch.bfloat16, torch.float16])
def test_every_pair_stays_near_single_precision(model: torch.dtype, sae: torch.dtype) -> None:
    full, got = values(torch.float32, torch.float32), values(model, sae)
    coarse = max(torch.finfo(model).eps, torch.finfo(sae).eps)
    for metric, value in full.items():
        assert got[metric] == pytest.approx(value, rel=64 * coarse, abs=1e-6), metric
    assert coarse < 1e-6 or got != full


def test_an_activation_is_read_in_the_saes_precision() -> None:
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert coder().encode(x).values.dtype == torch.float32
    assert torch.equal(coder().encode(x).dense(), coder().encode(x.float()).dense())
