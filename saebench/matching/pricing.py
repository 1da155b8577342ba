"""The proof: whether any pair outside of the graph would beat the prices, from one more product in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.matching.candidates import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

MOST_A_ROW = 16
"""Pairs of a row that are looked at one by one where more come near."""


@dataclass(frozen=True)
class Prices:
    """What rows gain and columns cost: profit + price bounds the similarity of every pair if they are optimal.

    Attributes:
        profit: `[n]` float64.
        price: `[m]` float64.
    """

    profit: np.ndarray
    price: np.ndarray


@dataclass(frozen=True)
class Ruled:
    """What is known of the pairs that are not in the graph.

    Attributes:
        row_bound, column_bound: No such pair exceeds the smaller of the two, `[n]` and `[m]`.
        before: Prices at which all such pairs lay below profit + price - band, if there are any.
    """

    row_bound: np.ndarray
    column_bound: np.ndarray
    before: Prices | None = None


@dataclass(frozen=True)
class Suspects:
    """Pairs that may lie above profit + price - band, as far as the precision of the product can tell.

    Attributes:
        row, column: Each `[suspects]`.
        cut: Rows of which only the `MOST_A_ROW` worst are among them, `[cut]`.
        bound: The most by which any other pair of those rows can exceed profit + price, `[cut]`.
    """

    row: np.ndarray
    column: np.ndarray
    cut: np.ndarray
    bound: np.ndarray


def suspects(
    a: Tensor, b: Tensor, prices: Prices, ruled: Ruled, *, signed: bool, margin: float, band: float
) -> Suspects:
    """Every pair outside of the graph with a similarity above profit + price - band, and some inside of it.

    Only rows and columns are multiplied that hold a pair which what is ruled out leaves open: price < row
    bound - profit and profit < column bound - price (but for the band), and since the prices before profit
    and price must together have fallen by more than the band.

    Args:
        a: Unit rows `[n, d]`.
        b: Unit rows `[m, d]`.
        signed: Similarity is the cosine; else its absolute value.
        margin: Rounding of the product, less than `band`.
        band: How far below profit + price pairs are still reported.
    """
    found = [_NONE]
    u, v = (torch.from_numpy(part).to(a) for part in (prices.profit, prices.price))
    for rows, columns in _open(prices, ruled, band, 2 * margin):
        i, j = (torch.from_numpy(part).to(a.device) for part in (rows, columns))
        right = b if len(columns) == len(b) else b[j]
        for part in blocks(len(rows), len(columns), a.device):
            here = i[part]
            block = a[here] @ right.T
            block = block if signed else block.abs_()
            block = block.sub_(u[here, None]).sub_(v[j])
            found.append(_near(block, here.cpu().numpy(), columns, band, margin))
    return Suspects(*(np.concatenate(column) for column in zip(*map(_fields, found), strict=True)))


_NONE = Suspects(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _fields(part: Suspects) -> tuple[np.ndarray, ...]:
    return part.row, part.column, part.cut, part.bound


def _open(prices: Prices, ruled: Ruled, band: float, margin: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of rows with the columns that are not ruled out for them; rows alike stand together."""
    profit, price = prices.profit, prices.price
    slack = ruled.row_bound - profit + band + margin
    room = ruled.column_bound - price + band + margin
    before = ruled.before or Prices(np.full(len(profit), np.inf), price)
    row_fall = before.profit - profit - band + margin
    column_fall = before.price - price
    rows = (slack > price.min()) & (profit < room.max()) & (row_fall + column_fall.max() > 0)
    order = np.flatnonzero(rows)
    order = order[np.argsort(-(slack if ruled.before is None else row_fall)[order], kind="stable")]
    for group in np.array_split(order, max(1, len(order) // 1024)):
        if len(group):
            columns = (price < slack[group].max()) & (room > profit[group].min())
            columns = np.flatnonzero(columns & (column_fall + row_fall[group].max() > 0))
            if len(columns):
                yield group, columns


def _near(block: Tensor, rows: np.ndarray, columns: np.ndarray, band: float, margin: float) -> Suspects:
    """The entries of a block above -band; only the largest of each row where there are very many."""
    near = block > -band
    if int(near.sum()) <= MOST_A_ROW * len(rows) or block.shape[1] <= MOST_A_ROW:
        flat = near.view(-1).nonzero().view(-1).cpu().numpy()
        return Suspects(rows[flat // len(columns)], columns[flat % len(columns)], _NONE.cut, _NONE.bound)
    top = block.topk(MOST_A_ROW, dim=1)
    value, place = top.values.cpu().numpy(), top.indices.cpu().numpy()
    row, rank = np.nonzero(value > -band)
    cut = np.flatnonzero(value[:, -1] > -band)
    return Suspects(rows[row], columns[place[row, rank]], rows[cut], value[cut, -1].astype(np.float64) + margin)
