"""Which features tell a class from the rest: top-k by the difference of class means, one sparse pass for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy import sparse

from saebench.probes.problems import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import Codes

Table = sparse.csr_array | np.ndarray
"""Features of texts, `[texts, features]`: in compressed rows, or dense."""


def table(features: Codes | Tensor) -> Table:
    """Sparse codes or a dense tensor `[texts, features]` as a table on the CPU, without a copy where possible."""
    if isinstance(features, torch.Tensor):
        return features.detach().cpu().float().numpy()
    parts = (features.values.detach().float(), features.latents, features.offsets)
    return sparse.csr_array(tuple(part.cpu().numpy() for part in parts), shape=features.shape)


def shape_of(x: Table) -> tuple[int, int]:
    """Texts and features of a table."""
    return cast("tuple[int, int]", x.shape)


def mean_differences(x: Table, problems: Sequence[Problem], *, normalised: bool = False) -> np.ndarray:
    """mean_pos - mean_neg of every feature on the train part of every problem.

    Args:
        x: Features, `[texts, features]`.
        problems: With rows of `x`.
        normalised: Divide by the feature's mean |value| where it is not zero, plus 1e-6, over the problem's
            train part (the ranking of the sae-probes protocol).

    Returns:
        `[problems, features]` float64; zero where a class has no train texts.
    """
    share = [_shares(p.train_label) for p in problems]
    difference = _dense(_weights(problems, share, shape_of(x)[0]) @ x)
    if not normalised:
        return difference
    rows = _weights(problems, [np.ones(len(p.train)) for p in problems], shape_of(x)[0])
    size, count = _dense(rows @ abs(x)), _dense(rows @ (x != 0))
    return difference / (size / np.maximum(count, 1) + 1e-6)


def top(difference: np.ndarray, k: int) -> np.ndarray:
    """The k features with the largest absolute difference, largest first, `[problems, min(k, features)]`."""
    size = torch.from_numpy(np.abs(difference))
    return size.topk(min(k, size.shape[1]), dim=1).indices.numpy()


def columns(x: Table, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense values of the chosen features.

    Args:
        x: Features, `[texts, features]`.
        chosen: `[problems, k]`.

    Returns:
        Values of the distinct ones among them, `[texts, distinct]`, and the place of each chosen one, `[problems, k]`.
    """
    distinct, place = np.unique(chosen, return_inverse=True)
    if isinstance(x, np.ndarray):
        return x[:, distinct].astype(np.float64), place.reshape(chosen.shape)
    shape = (shape_of(x)[1], len(distinct))
    pick = sparse.csr_array((np.ones(len(distinct)), (distinct, np.arange(len(distinct)))), shape=shape)
    return _dense(x @ pick), place.reshape(chosen.shape)


def _shares(label: np.ndarray) -> np.ndarray:
    """+1/n_pos for positives and -1/n_neg for negatives; zero where one of them is missing."""
    positive = label.sum()
    if not 0 < positive < len(label):
        return np.zeros(len(label))
    return np.where(label == 1, 1 / positive, -1 / (len(label) - positive))


def _dense(product: Any) -> np.ndarray:
    return product if isinstance(product, np.ndarray) else product.toarray()


def _weights(problems: Sequence[Problem], weight: Sequence[np.ndarray], texts: int) -> sparse.csr_array:
    """A matrix `[problems, texts]` with a weight for each train text of each problem."""
    starts = np.cumsum([0, *(len(p.train) for p in problems)])
    parts = (np.concatenate(weight), np.concatenate([p.train for p in problems]), starts)
    return sparse.csr_array(parts, shape=(len(problems), texts))
