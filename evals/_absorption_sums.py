"""Scores of prompts as sums over words: for each hierarchy its mean over groups, then each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ._absorption_groups import Group, word_rows
from ._absorption_probes import members

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from saebench.inputs import WordCodes

    from ._absorption_probes import Mains


class Slices(NamedTuple):
    """Names of the slices, and the share of each scored group in each of them, `[groups, slices]`.

    A group that is left out has a slice like any other, of which nothing has a share: its value is NaN.
    """

    names: tuple[str, ...]
    share: Tensor


class Fields(NamedTuple):
    """Sums by field, `[words, slices]` each, and the names of the slices."""

    sums: dict[str, Any]
    names: tuple[str, ...]


def slices(w: WordCodes, groups: Sequence[tuple[int, int]]) -> Slices:
    """The slices for groups given by hierarchy and place; a hierarchy's own comes before those of its groups."""
    import torch

    names = [part for h in w.words.hierarchies for part in (h.name, *(f"{h.name}/{group}" for group in h.groups))]
    share = torch.zeros(len(groups), len(names), dtype=torch.float64)
    starts = [0]
    for h in w.words.hierarchies:
        starts.append(starts[-1] + 1 + len(h.groups))
    count = [sum(number == n for n, _ in groups) for number in range(len(starts) - 1)]
    for row, (number, place) in enumerate(groups):
        share[row, starts[number]] = 1 / count[number]
        share[row, starts[number] + 1 + place] = 1.0
    return Slices(tuple(names), share)


def over_words(w: WordCodes, groups: Sequence[Group], **values: Sequence[Tensor]) -> Fields:
    """Sums over each word's true positives.

    Args:
        w: The input.
        groups: The scored groups.
        **values: By field, a value of each true positive of each group, `[n]`.

    Returns:
        Fields `[words, slices]`. A prompt weighs one over the true positives of its group, and in the mean over
        groups one over the number of groups as well.
    """
    import torch

    table = slices(w, [(g.hierarchy, g.place) for g in groups])
    words = 1 + max(int(rows.max()) for rows in word_rows(w) if len(rows))
    sums = {name: torch.zeros(words, len(table.names), dtype=torch.float64) for name in values}
    for name, parts in values.items():
        for g, part, share in zip(groups, parts, table.share, strict=True):
            by_word = torch.zeros(words, dtype=torch.float64).index_add_(0, torch.from_numpy(g.word), part.double())
            sums[name] += by_word[:, None] * (share / max(1, len(part)))
    return Fields(sums, table.names)


def mean_f1(w: WordCodes, found: Sequence[Mains]) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """F1 of the probes of main latents, and its mean over groups, as psi and n `[words, slices]` with psi / n.

    psi sums value + influence over a word's test prompts, of which there are n.
    """
    import torch

    from saebench.probes import f1

    rows = word_rows(w)
    words = 1 + max(int(part.max()) for part in rows if len(part))
    keys = [(number, g) for number, part in enumerate(found) for g in part.logits]
    table = slices(w, keys)
    psi, n = torch.zeros(2, words, len(table.names), dtype=torch.float64)
    for (number, g), share in zip(keys, table.share, strict=True):
        h = w.words.hierarchies[number]
        score = f1(found[number].logits[g], members(h)[h.test][:, g].astype("int64"))
        prompts = torch.from_numpy(_count(rows[number], words))
        influence = torch.from_numpy(_count(rows[number], words, score.influence))
        psi += (score.value * prompts + influence)[:, None] * share
        n += prompts[:, None] * share
    return psi, n, table.names


def _count(row: np.ndarray, words: int, value: np.ndarray | None = None) -> np.ndarray:
    """Sum of a value, or the number of prompts, of each word, `[words]`."""
    import numpy as np

    return np.bincount(row, weights=np.ones(len(row)) if value is None else value, minlength=words)
