"""Linear probes trained as the reference suite trains them: some epochs of Adam in small batches, not an optimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from saebench.inputs import LabelledEffects
    from saebench.probes import Problem

RATE, BATCH, EPOCHS, L1, DECAY = 1e-3, 16, 20, 1e-3, 0.01
"""Step size, batch size, epochs and penalty of SAEBench's SCR and TPP, and AdamW's default weight decay."""
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """Adam's running moments for one array."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        import numpy as np

        self._first, self._second, self._steps = np.zeros(shape), np.zeros(shape), 0

    def step(self, gradient: np.ndarray, rate: float) -> np.ndarray:
        """What to subtract."""
        import numpy as np

        self._steps += 1
        self._first += (1 - BETAS[0]) * (gradient - self._first)
        self._second += (1 - BETAS[1]) * (gradient**2 - self._second)
        second = np.sqrt(self._second / (1 - BETAS[1] ** self._steps)) + EPSILON
        return rate * self._first / (1 - BETAS[0] ** self._steps) / second


class Fitted(NamedTuple):
    """Weights `[d]` and intercept of one probe."""

    weight: np.ndarray
    intercept: float


def trained(y: np.ndarray, problem: Problem, seed: int) -> Fitted:
    """A probe after the epoch with the best accuracy on test texts, the first among equals.

    AdamW on the mean log-loss of a batch plus L1 sum |w|; weights begin uniform in +-1 / sqrt(d). The start and the
    order of texts are drawn by the problem's name, so that they are the same for every SAE and run.

    Args:
        y: Activations of all texts, `[texts, d]` float64.
        problem: With rows of `y`.
        seed: Of the draws.
    """
    import numpy as np
    from scipy.special import expit

    from saebench.probes import generator

    rng = generator(seed, problem.task, problem.positive, "trained probe")
    x, label = y[problem.train], problem.train_label.astype(np.float64)
    test, wanted = y[problem.test], problem.test_label == 1
    bound = y.shape[1] ** -0.5
    theta = rng.uniform(-bound, bound, y.shape[1] + 1)
    x, test = (np.concatenate([part, np.ones((len(part), 1))], axis=1) for part in (x, test))
    penalty = np.append(np.full(y.shape[1], L1), 0.0)
    adam, best, kept = Adam(theta.shape), -1.0, theta
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            wrong = expit(x[rows] @ theta) - label[rows]
            gradient = wrong @ x[rows] / len(rows) + penalty * np.sign(theta)
            theta = theta * (1 - RATE * DECAY) - adam.step(gradient, RATE)
        accuracy = float(((test @ theta > 0) == wanted).mean())
        if accuracy > best:
            best, kept = accuracy, theta
    return Fitted(kept[:-1], float(kept[-1]))


def trained_probes(e: LabelledEffects, problems: Sequence[Problem]) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[problems, d_out]` and intercepts of trained probes; NaN where a problem lacks a class."""
    import numpy as np

    from ._latent_ablation import activations

    y = activations(e)
    missing = Fitted(np.full(y.shape[1], np.nan), float("nan"))
    found = [trained(y, p, e.texts.seed) if p.posed else missing for p in problems]
    return np.stack([probe.weight for probe in found]), np.array([probe.intercept for probe in found])
