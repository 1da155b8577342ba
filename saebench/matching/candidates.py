"""The nearest neighbours of every row and column, from one product in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

BUFFER, MOST_ROWS = 2**25, 1024
"""Entries and rows of the block of the product that is held at a time."""
GPU_BUFFER, GPU_MOST_ROWS = 2**28, 8192
"""The same on a GPU, which is only kept busy by more."""


@dataclass(frozen=True)
class Candidates:
    """The largest similarities of each row and column, sorted downwards.

    Attributes:
        row_value, row_index: `[n, kr]`, the kr largest in each row and their columns.
        column_value, column_index: `[m, kc]`, the kc largest in each column and their rows.
    """

    row_value: Tensor
    row_index: Tensor
    column_value: Tensor
    column_index: Tensor

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

    A row is whole in its block, so its list is that block's top-k. A column's list is kept between
    blocks, and only entries above its last value are looked at again: of rows in no particular order
    the b-th block brings but k/b of them, where a top-k of every block's transpose would cost a third
    of the product.

    Args:
        a: Unit rows `[n, d]`.
        b: Unit rows `[m, d]`.
        signed: Similarity is the cosine; else its absolute value.
        rows: Length of each row's list.
        columns: Length of each column's list.
    """
    kr, kc = min(rows, len(b)), min(columns, len(a))
    lists = _Columns(len(b), kc, a)
    values, indices = [], []
    buffer = a.new_empty(0)
    for part in blocks(len(a), len(b), a.device):
        count = part.stop - part.start
        buffer = buffer if len(buffer) >= count else a.new_empty(count, len(b))
        block = torch.mm(a[part], b.T, out=buffer[:count])
        block = block if signed else block.abs_()
        top = block.topk(kr, dim=1)
        values.append(top.values)
        indices.append(top.indices.to(torch.int32))
        lists.add(block, part.start)
    return Candidates(torch.cat(values), torch.cat(indices), *lists.sorted())


class _Columns:
    """The running lists of the columns."""

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

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Values and rows, sorted downwards."""
        return self.value, self.index
