"""Tensors read straight from their place in a file equal what the file's own library reads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.files import read_tensors
from saebench.saes.headers import header
from saebench.saes.stored import TensorFile

PRECISIONS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool)


def drawn(dtype: torch.dtype, *shape: int) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)


def expected(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def same(path: Path, tensors: dict[str, Tensor], *, direct: bool = True) -> None:
    read = read_tensors(path)
    assert isinstance(read, TensorFile) is direct and set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert name in read and header(path).shapes[name] == tuple(tensor.shape)
        torch.testing.assert_close(read[name], expected(tensor), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_safetensors_in_each_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {"a": drawn(dtype, 7, 5), "b": drawn(dtype, 3), "one": drawn(dtype), "none": drawn(dtype, 0, 4)}
    save_file(tensors, tmp_path / "x.safetensors")
    same(tmp_path / "x.safetensors", load_file(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_pickle_of_tensors_that_share_and_turn_their_storage(dtype: torch.dtype, tmp_path: Path) -> None:
    base = drawn(dtype, 7, 5)
    views = {"turned": base.T, "part": base[2:5, 1:4], "wide": base[:1, 0].expand(6), "one": base[0, 3]}
    tensors = {"a": base, **views}
    torch.save(tensors, tmp_path / "x.pt")
    same(tmp_path / "x.pt", tensors)


def test_more_numbers_than_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saebench.saes.stored._BLOCK", 8)
    tensors = {"a": drawn(torch.bfloat16, 7, 5), "b": drawn(torch.float32, 3, 8)}
    save_file(tensors, tmp_path / "x.safetensors")
    same(tmp_path / "x.safetensors", tensors)


def test_arrays_of_numpy_either_way_round(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {name: drawn(torch.float32, 7, 5).numpy() for name in ("a", "turned")}
    arrays |= {"turned": np.asfortranarray(arrays["turned"]), "half": arrays["a"].astype(np.float16), "k": np.array(3)}
    np.savez(tmp_path / "x.npz", **arrays)
    same(tmp_path / "x.npz", {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()})


def test_what_does_not_lie_in_the_file_as_in_memory_is_left_to_its_library(tmp_path: Path) -> None:
    a = drawn(torch.float32, 7, 5)
    np.savez_compressed(tmp_path / "compressed.npz", a=a.numpy())
    same(tmp_path / "compressed.npz", {"a": a}, direct=False)
    torch.save({"a": a}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    same(tmp_path / "old.pt", {"a": a}, direct=False)
    torch.save({"a": a}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as given, zipfile.ZipFile(tmp_path / "swapped.pt", "w") as made:
        for info in given.infolist():
            big = info.filename.endswith("/byteorder")
            made.writestr(info, b"big" if big else given.read(info))
    same(tmp_path / "swapped.pt", {"a": torch.from_numpy(a.numpy().byteswap())}, direct=False)


def test_file_that_shrank_after_its_header_was_read(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"a": drawn(torch.float32, 7, 5)}, file)
    read = read_tensors(file)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match="Cannot read 'a' in .*x.safetensors: it ends in the middle of a tensor"):
        read["a"]


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (1, 3), (3000, 400)], ids=str)
def test_a_matrix_is_turned_as_it_is_read(dtype: torch.dtype, shape: tuple[int, int], tmp_path: Path) -> None:
    matrix = drawn(dtype, *shape)
    save_file({"before": drawn(torch.float32, 3), "m": matrix}, tmp_path / "w.safetensors")
    read = read_tensors(tmp_path / "w.safetensors")
    assert isinstance(read, TensorFile)
    turned = read.turned("m")
    assert turned is not None and turned.is_contiguous()
    torch.testing.assert_close(turned, expected(matrix).T, rtol=0, atol=0)
    assert read.turned("before") is None


def test_a_matrix_by_columns_is_not_turned(tmp_path: Path) -> None:
    torch.save({"m": drawn(torch.float32, 5, 7).T}, tmp_path / "w.pt")
    read = read_tensors(tmp_path / "w.pt")
    assert isinstance(read, TensorFile) and read.turned("m") is None and read["m"].shape == (7, 5)


def test_a_matrix_that_is_cut_short_is_an_error_while_it_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"m": drawn(torch.float32, 50, 70)}, path)
    read = read_tensors(path)
    assert isinstance(read, TensorFile)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(UserError, match="Cannot read 'm' in .*ends in the middle"):
        read.turned("m")
