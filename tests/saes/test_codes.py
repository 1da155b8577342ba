"""Codes: round trips, counts, selection, and the product with a matrix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from saebench.saes import Codes


def sparse(n: int = 9, width: int = 20, share: float = 0.2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, width, generator=generator)
    kept = torch.rand(n, width, generator=generator) < share
    kept[3] = False  # a token on which nothing fires
    return values * kept


@pytest.fixture
def dense() -> Tensor:
    return sparse()


@pytest.fixture
def codes(dense: Tensor) -> Codes:
    return Codes.from_dense(dense, {"scale": torch.arange(9.0)[:, None]})


def test_dense_round_trip_is_exact(codes: Codes, dense: Tensor) -> None:
    assert torch.equal(codes.dense(), dense)
    assert codes.shape == dense.shape and len(codes) == codes.n == 9
    assert bool((codes.values != 0).all())


def test_tokens_are_in_order_and_name_the_row_of_each_entry(codes: Codes, dense: Tensor) -> None:
    assert torch.equal(codes.tokens, dense.nonzero()[:, 0])
    assert torch.equal(codes.latents, dense.nonzero()[:, 1])
    assert codes.offsets[0] == 0 and codes.offsets[-1] == len(codes.values)


def test_counts_take_negative_codes_as_firing(codes: Codes, dense: Tensor) -> None:
    assert bool((dense < 0).any())
    assert torch.equal(codes.l0, (dense != 0).sum(1))
    assert torch.equal(codes.fires, (dense != 0).sum(0))
    torch.testing.assert_close(codes.l1, dense.abs().sum(1))


@pytest.mark.parametrize("zeros", [False, True])
def test_from_topk_drops_zeros_only(dense: Tensor, zeros: bool) -> None:
    top = dense.abs().topk(4, dim=1)
    values = dense.gather(1, top.indices) if zeros else torch.ones_like(top.values)
    codes = Codes.from_topk(values, top.indices, dense.shape[1])
    expected = torch.zeros_like(dense).scatter(1, top.indices, values)
    assert torch.equal(codes.dense(), expected)
    assert torch.equal(codes.l0, (expected != 0).sum(1))


@pytest.mark.parametrize(
    "rows",
    [slice(2, 7), slice(None), slice(5, 2), slice(0, 9, 2), [4, 0, 0, 3], torch.arange(9) % 2 == 0],
    ids=["run", "all", "none", "step", "numbers", "mask"],
)
def test_rows_are_selected_with_their_context(codes: Codes, dense: Tensor, rows: object) -> None:
    part = codes[rows]  # type: ignore[index]
    assert torch.equal(part.dense(), dense[rows])  # type: ignore[index]
    assert torch.equal(part.ctx["scale"], codes.ctx["scale"][rows])  # type: ignore[index]


def test_concatenation_undoes_selection(codes: Codes, dense: Tensor) -> None:
    again = Codes.cat([codes[:4], codes[4:5], codes[5:]])
    assert torch.equal(again.dense(), dense)
    assert torch.equal(again.ctx["scale"], codes.ctx["scale"])
    assert torch.equal(again.offsets, codes.offsets)


def test_columns_and_ablation(codes: Codes, dense: Tensor) -> None:
    wanted = torch.tensor([7, 0, 19])
    assert torch.equal(codes.columns(wanted), dense[:, wanted])
    ablated = dense.clone()
    ablated[:, wanted] = 0
    assert torch.equal(codes.without(wanted).dense(), ablated)
    assert torch.equal(codes.without([7]).dense()[:, 7], torch.zeros(9))


def test_with_values_keeps_the_invariant_that_entries_fire(codes: Codes, dense: Tensor) -> None:
    rectified = codes.with_values(codes.values.relu())
    assert torch.equal(rectified.dense(), dense.relu())
    assert torch.equal(rectified.l0, (dense > 0).sum(1))


def test_padded_pairs_decode_to_the_same(codes: Codes, dense: Tensor) -> None:
    values, latents = codes.padded()
    assert values.shape == (9, int(codes.l0.max()))
    assert torch.equal(torch.zeros_like(dense).scatter_add(1, latents, values), dense)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_product_equals_the_dense_one(share: float, dtype: torch.dtype) -> None:
    dense = sparse(31, 40, share).to(dtype)
    matrix = torch.randn(40, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    tolerance = {"rtol": 5e-2, "atol": 5e-2} if dtype is torch.bfloat16 else {}
    torch.testing.assert_close(Codes.from_dense(dense) @ matrix, dense @ matrix, **tolerance)


def test_product_carries_gradients_of_the_codes() -> None:
    values = torch.rand(4, 3, requires_grad=True)
    indices = torch.tensor([[0, 5, 9]] * 4)
    matrix = torch.randn(40, 8)
    (Codes.from_topk(values, indices, 40) @ matrix).sum().backward()
    torch.testing.assert_close(values.grad, matrix.sum(1)[indices])


def test_no_tokens_and_no_latents() -> None:
    for shape in ((0, 5), (5, 0), (0, 0)):
        codes = Codes.from_dense(torch.zeros(shape))
        assert codes.shape == shape and codes.dense().shape == shape
        assert codes.l0.tolist() == [0] * shape[0] and codes.fires.tolist() == [0] * shape[1]
        assert (codes @ torch.zeros(shape[1], 3)).shape == (shape[0], 3)


def test_moving_to_another_dtype_moves_the_context(codes: Codes) -> None:
    moved = codes.to(dtype=torch.float64)
    assert moved.values.dtype is moved.ctx["scale"].dtype is torch.float64
    assert moved.latents.dtype is torch.long
    assert "9 tokens x 20 latents" in repr(moved)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Number of torch's threads, set for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("bar", [0.0, "each"])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
@pytest.mark.usefixtures("threads")
def test_compiled_pass_keeps_what_the_mask_keeps(bar: float | str, share: float) -> None:
    """Large enough for the compiled pass in as many threads, with rows of few and of many entries, and NaN."""
    values = torch.randn(3100, 1024, generator=torch.Generator().manual_seed(3))
    values -= values.flatten()[:50_000].quantile(1 - share)
    values[5] = -1
    values[6] = 1
    values[7, :40] = torch.nan
    bars = torch.rand(1024, generator=torch.Generator().manual_seed(4)) if bar == "each" else 0.0
    found, wanted = Codes.above(values, bars), Codes.from_mask(values > bars, values)
    for name in ("offsets", "latents", "values"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert found.width == wanted.width


def test_a_large_batch_is_passed_over_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(3100, 1024, generator=torch.Generator().manual_seed(3)) - 2
    wanted = Codes.from_mask(values > 0, values)
    monkeypatch.setattr("saebench.saes.codes.MOST", 2**19)
    found = Codes.above(values)
    for name in ("offsets", "latents", "values"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name


def test_encoding_some_rows_at_a_time_changes_nothing(threads: int) -> None:
    from saebench.saes.architectures import BLOCK, JumpReLU

    n, width, d = 3 * threads * BLOCK // 4096 + 7, 4096, 8
    W = torch.randn(d, width, generator=torch.Generator().manual_seed(1))
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(2))
    coder = JumpReLU(W_enc=W, b_enc=W[0], W_dec=W.T.contiguous(), b_dec=W[:, 0], threshold=W[1].abs() + 3)
    codes, pre = coder.encode(x), x @ W + W[0]
    torch.testing.assert_close(codes.dense(), pre * (pre > coder.threshold), rtol=1e-5, atol=1e-5)
