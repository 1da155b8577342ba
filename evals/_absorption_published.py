"""Absorption's probes as the reference suite trains them: epochs of Adam on all groups at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench.metric import Count, Positive, Share

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse

    from saebench.data.words import Hierarchy
    from saebench.inputs import WordCodes

    from ._absorption_probes import Truth

EPOCHS = 50
RATES = (1e-2, 1e-5)
"""Step size of the first epoch, and the one that it would fall to after the last, by one factor an epoch."""


class Training(NamedTuple):
    """How a layer of one-vs-rest probes is trained."""

    batch: int
    decay: float
    l1: float = 0.0


TRUTH = Training(batch=64, decay=1e-4)
RANKING = Training(batch=4096, decay=1e-6)


@dataclass(frozen=True)
class Published:
    """The settings of SAEBench 0.6; see `mean_absorption_fraction@saebench`.

    Attributes:
        min_probe_f1: F1 that a group's probe on the activation must exceed.
        min_groups: Number of such groups below which the reference reports nothing.
        l1: Penalty of the probe that ranks latents.
        max_k: Most main latents.
        f1_jump: By how much a main latent must raise F1.
    """

    min_probe_f1: Share = 0.6
    min_groups: Count = 20
    l1: Positive = 0.01
    max_k: Count = 10
    f1_jump: Share = 0.03

    @property
    def key(self) -> tuple[object, ...]:
        """What the probes on the activation depend on."""
        return ("trained",)

    def good(self, f1: float) -> bool:
        """Whether a group's probe is good enough."""
        return f1 > self.min_probe_f1

    def truth(self, w: WordCodes, h: Hierarchy) -> Truth:
        """The probes of a hierarchy's groups on the activation."""
        from ._absorption_probes import truth

        names = (w.words.seed, h.name, "group probe")
        return truth(w, h, lambda train, member: trained(train, member, TRUTH, names))

    def ranked(
        self, w: WordCodes, h: Hierarchy, x: sparse.csr_array, groups: list[int]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The latents with the largest weights, signs kept, of a probe of all latents; codes are not scaled."""
        import numpy as np

        from ._absorption_probes import members

        how = RANKING._replace(l1=self.l1)
        weight, _ = trained(x, members(h)[~h.test], how, (w.words.seed, h.name, "ranking probe"))
        best = [np.argsort(-weight[g], kind="stable")[: self.max_k] for g in groups]
        return [(latents, np.ones(len(latents))) for latents in best]


def trained(x: Any, positive: np.ndarray, how: Training, names: tuple[int | str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[groups, features]` and intercepts of a layer of one-vs-rest probes after `EPOCHS` epochs of Adam.

    The loss is the mean over texts and groups of the log-loss, a group's own texts weighing as much as all others
    together, plus `l1` times the mean over groups of sum |w|. Start (uniform in +-1 / sqrt(features)) and orders are
    drawn by name.

    Args:
        x: Rows, dense or sparse, `[n, features]`.
        positive: Which of them belong to each group, `[n, groups]` bool.
        how: Batch size, weight decay (added to the gradient) and penalty.
        names: What the draws depend on.
    """
    import numpy as np
    from scipy.special import expit

    from saebench.probes import generator

    from ._trained_probes import Adam

    rng = generator(*names)
    (n, features), groups = x.shape, positive.shape[1]
    bound = features**-0.5
    weight, bias = rng.uniform(-bound, bound, (groups, features)), rng.uniform(-bound, bound, groups)
    count = positive.sum(0)
    more = (n - count) / np.maximum(count, 1)
    of_weight, of_bias = Adam(weight.shape), Adam(bias.shape)
    for epoch in range(EPOCHS):
        rate = RATES[0] * (RATES[1] / RATES[0]) ** (epoch / EPOCHS)
        order = rng.permutation(n)
        for start in range(0, n, how.batch):
            rows = order[start : start + how.batch]
            part, mine = x[rows], positive[rows]
            says = expit(part @ weight.T + bias)
            wrong = np.where(mine, -more * (1 - says), says) / says.size
            slope = (part.T @ wrong).T + how.decay * weight + how.l1 / groups * np.sign(weight)
            weight = weight - of_weight.step(slope, rate)
            bias = bias - of_bias.step(wrong.sum(0) + how.decay * bias, rate)
    return weight, bias
