"""The quick selection of the k largest on a CPU against `torch.topk`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saebench.saes.architectures import TopK, _above_kth
from saebench.saes.codes import Codes

F = 512


def _sae(k: int) -> TopK:
    return TopK(W_dec=torch.eye(F), W_enc=torch.eye(F), b_dec=torch.zeros(F), k=k, name="t")


def _by_topk(pre: Tensor, k: int) -> Tensor:
    top = pre.topk(k, dim=-1)
    return Codes.from_topk(top.values.relu(), top.indices, F).dense()


@pytest.mark.parametrize("k", [1, 8, 20, 200, F - 1, F])
def test_the_same_entries_as_topk(k: int) -> None:
    pre = torch.randn(50, F, generator=torch.Generator().manual_seed(k))
    pre[3] = -pre[3].abs()
    pre[4, 1:] = -1.0
    pre[5, 20:] = -2.0
    assert torch.equal(_sae(k).encode(pre).dense(), _by_topk(pre, k))


def test_equal_values_at_the_bar_leave_k_entries() -> None:
    pre = torch.ones(3, F)
    assert _above_kth(pre, 20) is None
    assert _sae(20).encode(pre).l0.tolist() == [20, 20, 20]


@pytest.mark.parametrize("k", [20, 200])
def test_the_quick_way_decides_where_all_values_differ(k: int) -> None:
    assert _above_kth(torch.randn(50, F, generator=torch.Generator().manual_seed(k)), k) is not None


def test_zeros_at_the_bar_do_not_fire() -> None:
    pre = torch.zeros(2, F)
    pre[0, 3] = 2.0
    assert _sae(20).encode(pre).l0.tolist() == [1, 0]


def test_not_a_number_is_not_hidden() -> None:
    pre = torch.randn(2, F)
    pre[1, 7] = float("nan")
    assert _sae(20).encode(pre).values.isnan().any()
