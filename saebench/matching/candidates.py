"""The nearest neighbours of every row and column, from one product in blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

BUFFER, MOST_ROWS = 2**25, 1024
"""Entries and rows of the block of the product that is held at a time."""
GPU_BUFFER, GPU_MOST_ROWS = 2**28, 8192
"""The same on a GPU, which is only kept busy by more."""
_RUN = 64
"""Entries of a row whose maximum is taken."""


@dataclass(frozen=True)
class Candidates:
    """The largest similarities of each row and column, sorted downwards.

    Attributes:
        row_value, row_index: `[n, kr]`, the kr largest in each row and their columns.
        column_value, column_index: `[m, kc]`, the kc largest in each column and their rows.
        least: The least similarity of any pair, or something below it.
    """

    row_value: Tensor
    row_index: Tensor
    column_value: Tensor
    column_index: Tensor
    least: float = 0.0

    @property
    def row_bound(self) -> Tensor:
        """No pair of row i that is not listed in it exceeds this, `[n]`; minus infinity where all are listed."""
        return _bound(self.row_value, len(self.column_value))

    @property
    def column_bound(self) -> Tensor:
        """No pair of column j that is not listed in it exceeds this, `[m]`."""
        return _bound(self.column_value, len(self.row_value))


def _bound(values: Tensor, others: int) -> Tensor:
    last = values[:, -1]
    return torch.full_like(last, -torch.inf) if values.shape[1] >= others else last


def blocks(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Slices of rows whose product with all columns fills the device's buffer at most."""
    buffer, most = (BUFFER, MOST_ROWS) if device.type == "cpu" else (GPU_BUFFER, GPU_MOST_ROWS)
    step = max(16, min(most, buffer // max(1, columns)))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))


def candidates(a: Tensor, b: Tensor, *, signed: bool, rows: int, columns: int) -> Candidates:
    """The largest similarities by row and by column, never n x m in memory.

    Args:
        a: Unit rows `[n, d]`.
        b: Unit rows `[m, d]`.
        signed: Similarity is the cosine; else its absolute value.
        rows: Length of each row's list.
        columns: Length of each column's list.
    """
    kinds = CompiledLists if a.device.type == "cpu" else DeviceLists
    lists: Lists = kinds(len(a), len(b), min(rows, len(b)), min(columns, len(a)), a)
    buffer, least = a.new_empty(0), a.new_zeros(())
    for part in blocks(len(a), len(b), a.device):
        count = part.stop - part.start
        buffer = buffer if len(buffer) >= count else a.new_empty(count, len(b))
        block = torch.mm(a[part], b.T, out=buffer[:count])
        if signed:
            least = torch.minimum(least, block.amin())
        lists.add(block if signed else block.abs_(), part.start)
    return replace(lists.found(), least=float(least))


class Lists(Protocol):
    """The running lists of rows and columns while blocks of the product come by, from the first row to the last."""

    def add(self, block: Tensor, start: int) -> None:
        """Take the entries of rows `start` and on, `block [rows, m]`, that belong in a list."""
        ...

    def found(self) -> Candidates:
        """The lists of all blocks."""
        ...


class CompiledLists:
    """Lists kept by a compiled loop that looks once at each entry; `rows` and `columns` are how long they are."""

    def __init__(self, n: int, m: int, rows: int, columns: int, like: Tensor) -> None:
        kind = like.numpy().dtype
        self._rows = np.full((n, rows), -np.inf, kind), np.full((n, rows), -1, np.int32)
        self._columns = np.full((m, columns), -np.inf, kind), np.full((m, columns), -1, np.int32)

    def add(self, block: Tensor, start: int) -> None:
        """Take the entries of rows `start` and on, `block [rows, m]`, that belong in a list."""
        from saebench.matching.kernels import take

        value, index = (part[start : start + len(block)] for part in self._rows)
        value[:] = _below(block, value.shape[1]).numpy()
        take(block.numpy(), start, value, index, *self._columns)

    def found(self) -> Candidates:
        """The lists of all blocks."""
        row_value, row_index, column_value, column_index = map(torch.from_numpy, (*self._rows, *self._columns))
        return Candidates(row_value, row_index, column_value, column_index)


def _below(block: Tensor, k: int) -> Tensor:
    """Something that k entries of each row exceed, `[rows, 1]`: just less than the k-th largest maximum of its runs."""
    runs = block.shape[1] // _RUN
    if runs < k:
        return block.new_full((len(block), 1), -torch.inf)
    most = block[:, : runs * _RUN].unflatten(1, (runs, _RUN)).amax(2)
    least = most.topk(k, dim=1).values[:, -1:]
    return torch.nextafter(least, torch.full_like(least, -torch.inf))


class DeviceLists:
    """Lists kept by operations of a GPU.

    A row is whole in its block, so its list is that block's top-k. A column's list is kept between blocks, and only
    entries above its last value are looked at again: of rows in no particular order the b-th block brings but k/b of
    them, where a top-k of every block's transpose would cost a third of the product.
    """

    def __init__(self, n: int, m: int, rows: int, columns: int, like: Tensor) -> None:
        self._k, self._columns = rows, _Columns(m, columns, like)
        self._values: list[Tensor] = []
        self._indices: list[Tensor] = []

    def add(self, block: Tensor, start: int) -> None:
        """Take the entries of rows `start` and on, `block [rows, m]`, that belong in a list."""
        top = block.topk(self._k, dim=1)
        self._values.append(top.values)
        self._indices.append(top.indices.to(torch.int32))
        self._columns.add(block, start)

    def found(self) -> Candidates:
        """The lists of all blocks."""
        return Candidates(torch.cat(self._values), torch.cat(self._indices), self._columns.value, self._columns.index)


class _Columns:
    """Running lists of columns, sorted downwards."""

    def __init__(self, columns: int, k: int, like: Tensor) -> None:
        self.value = torch.full((columns, k), -torch.inf, dtype=like.dtype, device=like.device)
        self.index = torch.full((columns, k), -1, dtype=torch.int32, device=like.device)

    def add(self, block: Tensor, start: int) -> None:
        """Take the entries of rows `start` and on, `block [rows, columns]`, that belong in a list."""
        k = self.value.shape[1]
        if start == 0 and len(block) >= k:
            top = block.T.contiguous().topk(k, dim=1)
            self.value, self.index = top.values, top.indices.to(torch.int32)
            return
        flat = (block > self.value[:, -1]).view(-1).nonzero().view(-1)
        row, column = flat // block.shape[1], flat % block.shape[1]
        self._merge(column, (row + start).to(torch.int32), block.view(-1)[flat])

    def _merge(self, column: Tensor, row: Tensor, value: Tensor) -> None:
        """The k largest new entries of each column beside its old ones, and of those the k largest."""
        order = value.argsort(descending=True)
        order = order[column[order].argsort(stable=True)]
        column, row, value = column[order], row[order], value[order]
        touched, place, count = column.unique_consecutive(return_inverse=True, return_counts=True)
        rank = torch.arange(len(column), device=column.device) - (count.cumsum(0) - count)[place]
        k = self.value.shape[1]
        kept = rank < k
        fresh = self.value.new_full((len(touched), k), -torch.inf)
        where = self.index.new_full((len(touched), k), -1)
        fresh[place[kept], rank[kept]] = value[kept]
        where[place[kept], rank[kept]] = row[kept]
        top = torch.cat([self.value[touched], fresh], dim=1).topk(k, dim=1)
        self.value[touched] = top.values
        self.index[touched] = torch.cat([self.index[touched], where], dim=1).gather(1, top.indices)
