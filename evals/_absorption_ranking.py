"""In which order latents stand for a group: the weights of an L1 probe on all latents, solved exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse
    from torch import Tensor

ENTRANTS = 32
"""Most latents that enter a group's problem in a round."""
ROUNDS = 100
"""Most rounds; each lowers the objective, a few are enough."""
SLACK = 1e-6
"""How far the gradient of a latent with zero weight may exceed the penalty, relative to it."""


class Weighted(NamedTuple):
    """A weighted binary problem in which equal rows, those where nothing fires, have become one of each class."""

    x: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> Weighted:
        """The problem of rows `[n, k]`, labels `[n]` bool and weights `[n]`."""
        import numpy as np

        fires = (x != 0).any(1)
        silent = [weight[~fires & (positive == mark)].sum() for mark in (True, False)]
        return cls(
            np.concatenate([x[fires], np.zeros((2, x.shape[1]))]),
            np.concatenate([positive[fires], [True, False]]).astype(np.float64),
            np.concatenate([weight[fires], silent]),
        )


class _Latents:
    """Codes of the train items with the standard deviation of every latent under every group's weights."""

    def __init__(self, x: sparse.csc_array, positive: np.ndarray) -> None:
        import numpy as np

        self.x: Any = x.astype(np.float64)
        self.positive = positive
        self.weight = balanced(positive) / max(1, len(positive))
        mean = self.x.T @ self.weight
        square = self.x.power(2).T @ self.weight
        variance = square - mean**2
        self.scale = np.sqrt(np.where(variance > 1e-12 * square, variance, 1.0)).T

    def gradient(self, groups: list[int], logits: np.ndarray) -> np.ndarray:
        """Slope of each group's log-loss in the weight of each standardised latent, `[groups, d_sae]`."""
        import numpy as np

        wrong = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - self.positive[:, groups]
        return (self.x.T @ (self.weight[:, groups] * wrong)).T / self.scale[groups]


def rank(x: sparse.csc_array, positive: np.ndarray, l1: float, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Latents in the order of their weight in a sparse probe of a group, positive weights only.

    The probe minimises sum_i omega_i log(1 + exp(-s_i z_i)) + l1 |w|_1 over all latents, where omega gives the group
    and the rest half of the weight each, and each latent is divided by its standard deviation under omega. It is
    solved to its optimum on few latents at a time: those with weight, and those whose gradient exceeds `l1`,
    until there are none. Where no latent has positive weight, the one that best tells the group is given.

    Args:
        x: Codes of the train items, `[n, d_sae]`.
        positive: Which of them belong to each group, `[n, groups]` bool.
        l1: Strength of the penalty.
        most: Most latents for a group.

    Returns:
        For each group its latents, best first, and their standard deviations.
    """
    import numpy as np

    latents = _Latents(x, positive)
    groups = list(range(positive.shape[1]))
    first = latents.gradient(groups, np.zeros(positive.shape))
    chosen = [_worst(first[g], l1, np.empty(0, np.int64)) for g in groups]
    weights = [np.empty(0)] * len(groups)
    going = [g for g in groups if len(chosen[g])]
    for _ in range(ROUNDS):
        if not going:
            break
        logits = _solve(latents, going, chosen, weights, l1)
        slope = latents.gradient(going, logits)
        left = []
        for place, g in enumerate(going):
            entrants = _worst(slope[place], l1 * (1 + SLACK), chosen[g])
            if len(entrants):
                left.append(g)
                chosen[g] = np.concatenate([chosen[g][weights[g] != 0], entrants])
        going = left
    return [_ordered(chosen[g], weights[g], first[g], latents.scale[g], most) for g in groups]


def _worst(gradient: np.ndarray, limit: float, known: np.ndarray) -> np.ndarray:
    """The latents outside `known` whose gradient exceeds the limit most."""
    import numpy as np

    size = np.abs(gradient)
    size[known] = 0.0
    over = np.flatnonzero(size > limit)
    return over[np.argsort(-size[over], kind="stable")[:ENTRANTS]]


def _solve(
    latents: _Latents, going: list[int], chosen: list[np.ndarray], weights: list[np.ndarray], l1: float
) -> np.ndarray:
    """Solve some groups' problems on their chosen latents; sets `weights` and returns log-odds `[n, going]`."""
    import numpy as np

    from saebench.probes import fit_l1

    parts = [latents.x[:, chosen[g]].toarray() / latents.scale[g, chosen[g]] for g in going]
    cases = [
        Weighted.of(part, latents.positive[:, g], latents.weight[:, g]) for part, g in zip(parts, going, strict=True)
    ]
    logits = np.empty((latents.positive.shape[0], len(going)))
    for places, x, label, mask in stacked(cases):
        coef, intercept = (part.numpy() for part in fit_l1(x, label, mask=mask, c=1 / l1))
        for place, w, b in zip(places, coef, intercept, strict=True):
            weights[going[place]] = w[: parts[place].shape[1]]
            logits[:, place] = parts[place] @ weights[going[place]] + b
    return logits


def _ordered(
    chosen: np.ndarray, weight: np.ndarray, gradient: np.ndarray, scale: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    order = np.argsort(-weight, kind="stable")
    best = chosen[order[weight[order] > 0]][:most]
    best = best if len(best) else np.array([gradient.argmin()])
    return best, scale[best]


def stacked(cases: Sequence[Weighted]) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
    """Problems of similar size as one batch: their places, features `[problems, n, k]`, labels and weights."""
    import torch

    from saebench.probes.sparse import batches

    width = max((case.x.shape[1] for case in cases), default=0)
    for places in batches([len(case.label) for case in cases], width):
        n = len(cases[places[0]].label)
        x = torch.zeros(len(places), n, width, dtype=torch.float64)
        label, weight = torch.zeros(2, len(places), n, dtype=torch.float64)
        for row, place in enumerate(places):
            case = cases[place]
            x[row, : len(case.label), : case.x.shape[1]] = torch.from_numpy(case.x)
            label[row, : len(case.label)] = torch.from_numpy(case.label)
            weight[row, : len(case.label)] = torch.from_numpy(case.weight)
        yield places, x, label, weight


def balanced(positive: np.ndarray) -> np.ndarray:
    """Weights that give both classes half of all, and add up to the number of rows; `[n, problems]` for bool alike."""
    import numpy as np

    n, count = len(positive), positive.sum(0)
    return np.where(positive, n / (2 * np.maximum(count, 1)), n / (2 * np.maximum(n - count, 1)))
