"""From numbers of pairs to sums per SAE of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from saebench.inputs import SeedPairs
from saebench.metric import Sums

if TYPE_CHECKING:
    import numpy as np


def sums(pairs: SeedPairs, table: np.ndarray, *, names: Sequence[str] = ("",), notes: Sequence[str] = ()) -> Sums:
    """The sums of one SAE: its mean over its pairs, its group's mean over all pairs, and each partner.

    Units are the SAEs of the group. The group's mean U over all pairs is a U-statistic whose pairs share
    SAEs, so a unit's sum there is its jackknife pseudo-value R U - (R - 1) U_(i), U_(i) the mean over the
    pairs without SAE i (Arvesen 1969). Their mean is U, and resampling them gives the variance of the
    delete-one-SAE jackknife. The mean over one SAE's own pairs has no interval of its own.

    Args:
        pairs: The SAE in its group of R.
        table: A number of each pair, `[R, R]`, or one for each of `names`, `[R, R, names]`.
        names: What the numbers are called; "" for one that needs no name.
        notes: What a reader of the rows should know.
    """
    import numpy as np
    import torch

    table = table.reshape(*table.shape[:2], -1)
    size, partners = len(table), [i for i in range(len(table)) if i != pairs.own]
    slices: list[str] = []
    values, counts = [], []
    for column, name in enumerate(names):
        own = table[pairs.own, :, column]
        parts = [("", _one(size, own[partners].mean())), ("group", _group(table[:, :, column]))]
        parts += [(f"with={pairs.names[j]}", _one(size, own[j], j)) for j in partners]
        for part, (value, count) in parts:
            slices.append("/".join(filter(None, (name, part))))
            values.append(value)
            counts.append(count)
    fields: dict[str, Any] = {
        name: torch.from_numpy(np.stack(arrays, axis=1)) for name, arrays in (("total", values), ("pairs", counts))
    }
    return Sums(**fields, slices=slices, notes=[*notes, *_few(size)])


def _one(size: int, value: float, place: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A number that is one unit's alone."""
    import numpy as np

    mark = (np.arange(size) == place).astype(np.float64)
    return mark * value, mark


def _group(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo-values of the mean over all pairs, `[R]`; of one pair there is nothing to leave out."""
    import numpy as np

    size = len(table)
    off = ~np.eye(size, dtype=bool)
    mean = table[off].mean()
    if size < 3:
        return _one(size, mean)
    kept = [np.delete(np.arange(size), i) for i in range(size)]
    without = np.array([table[np.ix_(keep, keep)][off[1:, 1:]].mean() for keep in kept])
    return size * mean - (size - 1) * without, np.ones(size)


def _few(size: int) -> list[str]:
    if size == 2:
        return ["the group has two SAEs, so one pair: its mean has no interval"]
    if size < 6:
        return [f"the group's interval rests on {size} SAEs: it is wide, and its width itself uncertain"]
    return []
