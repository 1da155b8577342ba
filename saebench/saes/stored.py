"""Where the values of each tensor lie in a file, and one tensor read straight to where it stays."""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import torch
from torch import Tensor

from saebench.errors import UserError

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Precisions by the names that safetensors has for them."""

Found = TypeVar("Found")

_NUMPY = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}
"""Precisions by numpy's names; it has none for bfloat16 and float8."""

_BLOCK = 2**19
"""Numbers read at a time, so that what is converted is still in the cache."""

_LONGEST_HEADER = 100_000_000
"""Bytes; a safetensors header that claims to be longer is damage."""


@dataclass(frozen=True)
class Stored:
    """A tensor on disk.

    Attributes:
        path: The file.
        offset: Byte at which its first number lies.
        dtype: Precision there.
        shape: Its shape.
        stride: Numbers from one entry to the next along each axis.
    """

    path: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor, half precision in single.

        Raises:
            OSError: The file cannot be read.
            ValueError: It ends before the tensor does.
        """
        span = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        values = _room(span if math.prod(self.shape) else 0, self._held)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            self._fill(values, file)
        return values.as_strided(self.shape, self.stride)

    def read_turned(self) -> Tensor | None:
        """A matrix with rows and columns exchanged, each new row in one piece; None for anything but a matrix by rows.

        Some rows are read at a time, so that the matrix never lies in memory twice.

        Raises:
            OSError: The file cannot be read.
            ValueError: It ends before the tensor does.
        """
        if len(self.shape) != 2 or not math.prod(self.shape) or self.stride != _row_major(self.shape):
            return None
        rows, columns = self.shape
        step = max(1, _BLOCK // columns)
        out = _room(rows * columns, self._held).view(columns, rows)
        block = torch.empty(step, columns, dtype=self._held)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for start in range(0, rows, step):
                part = block[: rows - start]
                self._fill(part.view(-1), file)
                out[:, start : start + step].copy_(part.T)
        return out

    @property
    def _held(self) -> torch.dtype:
        half = self.dtype.is_floating_point and self.dtype.itemsize < 4
        return torch.float32 if half else self.dtype

    def _fill(self, values: Tensor, file: BufferedReader) -> None:
        """Read the next numbers of a file, `[n]`, in the precision that they are held in."""
        block = _room(min(len(values), _BLOCK), self.dtype)
        for start in range(0, len(values), _BLOCK):
            part = values[start : start + _BLOCK]
            into = part if values.dtype == self.dtype else block[: len(part)]
            room = memoryview(into.view(torch.uint8).numpy())  # pyright: ignore[reportArgumentType]
            if file.readinto(room) < room.nbytes:
                raise ValueError("it ends in the middle of a tensor")
            if into is not part:
                part.copy_(into)


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, each read when it is asked for, and not kept."""

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        self.stored = stored

    def __getitem__(self, name: str) -> Tensor:
        return self._read(name, Stored.read)

    def turned(self, name: str) -> Tensor | None:
        """The transpose of a matrix, each row of it in one piece; None where it must be read as it lies."""
        return self._read(name, Stored.read_turned)

    def _read(self, name: str, how: Callable[[Stored], Found]) -> Found:
        one = self.stored[name]
        try:
            return how(one)
        except (OSError, ValueError) as error:
            raise UserError(f"Cannot read {name!r} in {one.path}: {error}. Download or save it again.") from error

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def in_safetensors(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such file, or is cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise ValueError("it has no header")
        described = json.loads(file.read(length))
    if not isinstance(described, dict):
        raise ValueError("its header is no JSON object")
    try:
        return {name: _described(path, 8 + length, size, **told)
                for name, told in described.items() if name != "__metadata__"}  # fmt: skip
    except (TypeError, KeyError) as error:
        raise ValueError("its header does not describe tensors") from error


def _described(path: Path, start: int, size: int, dtype: str, shape: list[int], data_offsets: list[int]) -> Stored:
    if dtype not in DTYPES:
        raise ValueError(f"it holds numbers of a precision {dtype!r} that is not known")
    begin, end = data_offsets
    if start + end > size:
        raise ValueError(f"it has {size:,} bytes of {start + end:,}")
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize or begin < 0 or min(shape, default=0) < 0:
        raise ValueError("the sizes in its header contradict each other")
    return Stored(path, start + begin, DTYPES[dtype], tuple(shape), _row_major(shape))


def in_npz(path: Path) -> dict[str, Stored] | None:
    """The arrays of an npz file, or None where one of them is compressed or cannot be read as it lies.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged.
        zipfile.BadZipFile: It is no such file, or is cut short.
    """
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                return None
            file.seek(info.header_offset + 26)
            lengths = [int.from_bytes(file.read(2), "little") for _ in range(2)]
            file.seek(sum(lengths), 1)
            shape, columns_first, numbers = npy_header(file)
            if not numbers.isnative or numbers.name not in _NUMPY:
                return None
            stride = _row_major(shape[::-1])[::-1] if columns_first else _row_major(shape)
            found[info.filename.removesuffix(".npy")] = Stored(path, file.tell(), _NUMPY[numbers.name], shape, stride)
    return found


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and numpy's name of the precision; the file is then at the first number."""
    version = np.lib.format.read_magic(file)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    return read[version[0]](file)


def in_pickle(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Stored] | None:
    """The tensors of a `.pt` file, or None where they do not lie in it as they are in memory.

    Args:
        path: The file.
        tensors: What `torch.load` makes of it on the device "meta", which says where the values lie.
    """
    if not as_in_memory(path):
        return None
    found = {}
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.dtype not in DTYPES.values():
            return None
        start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if start is None:
            return None
        offset = start + tensor.storage_offset() * tensor.dtype.itemsize
        found[name] = Stored(path, offset, tensor.dtype, tuple(tensor.shape), tensor.stride())
    return found


def as_in_memory(path: Path) -> bool:
    """Whether a `.pt` file is a zip file without compression, in this machine's order of bytes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        order = [archive.read(info) for info in archive.infolist() if info.filename.endswith("/byteorder")]
        stored = all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    return stored and order in ([], [sys.byteorder.encode()])


def _room(count: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised numbers, `[count]`; numpy asks for large pages, which take a third of the time to be touched."""
    bytes_of = np.empty(count * dtype.itemsize, np.uint8)
    return torch.from_numpy(bytes_of).view(dtype) if count else torch.empty(0, dtype=dtype)


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
