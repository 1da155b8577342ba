"""What absorption is measured with: probes of groups on the activation, and the latents that stand for a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from saebench.metric import Count, Positive, Share

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from scipy import sparse

    from saebench.data.words import Hierarchy
    from saebench.inputs import WordCodes

TOLERANCE = 1e-7
"""Gradient norm of the probes on the activation, relative to that of zero weights."""


@dataclass(frozen=True)
class Settings:
    """How the probes are fitted and what counts as a split; see `mean_absorption_fraction`.

    Attributes:
        c: Inverse strength of the L2 penalty of a group's probe on the activation.
        min_probe_f1: F1 below which that probe's group is left out.
        l1: Strength of the L1 probe that ranks latents.
        max_k: Most main latents.
        f1_jump: By how much a main latent must raise F1.
    """

    c: Positive = 10.0
    min_probe_f1: Share = 0.6
    l1: Positive = 0.05
    max_k: Count = 10
    f1_jump: Share = 0.03

    @property
    def min_groups(self) -> int:
        """Number of good groups below which there is no score."""
        return 1

    @property
    def key(self) -> tuple[object, ...]:
        """What the probes on the activation depend on."""
        return (self.c,)

    def good(self, f1: float) -> bool:
        """Whether a group's probe is good enough."""
        return f1 >= self.min_probe_f1

    def truth(self, w: WordCodes, h: Hierarchy) -> Truth:
        """The probes of a hierarchy's groups on the activation."""
        return truth(w, h, lambda train, member: _solved(train, member, self.c))

    def ranked(
        self, w: WordCodes, h: Hierarchy, x: sparse.csr_array, groups: list[int]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For some groups their latents, best first, and by what each latent's code is divided, from train codes."""
        from ._absorption_ranking import rank

        return rank(x.tocsc(), members(h)[:, groups][~h.test], self.l1, self.max_k)


class Recipe(Protocol):
    """How groups and latents are probed: solved (`Settings`), or trained as the reference does it."""

    @property
    def min_probe_f1(self) -> float: ...
    @property
    def min_groups(self) -> int: ...
    @property
    def max_k(self) -> int: ...
    @property
    def f1_jump(self) -> float: ...
    @property
    def key(self) -> tuple[object, ...]: ...
    def good(self, f1: float) -> bool: ...
    def truth(self, w: WordCodes, h: Hierarchy) -> Truth: ...
    def ranked(
        self, w: WordCodes, h: Hierarchy, x: sparse.csr_array, groups: list[int]
    ) -> list[tuple[np.ndarray, np.ndarray]]: ...


class Truth(NamedTuple):
    """One-vs-rest probes of the groups of a hierarchy on the activation; no SAE is involved.

    Attributes:
        direction: Unit weights, `[groups, d_out]`; NaN for a group without words to fit on.
        logits: Log-odds of the test items, `[n_test, groups]`.
        f1: On the test items, `[groups]`; NaN where a group has no words to fit or to score on.
    """

    direction: np.ndarray
    logits: np.ndarray
    f1: np.ndarray


class Mains(NamedTuple):
    """The latents that stand for each group.

    Attributes:
        latents: Latents by group, the best first.
        logits: Log-odds of the test items under the probe of a group's latents, by group, `[n_test]` each.
    """

    latents: dict[int, np.ndarray]
    logits: dict[int, np.ndarray]


def truths(w: WordCodes, how: Recipe) -> tuple[Truth, ...]:
    """The probes on the activation for every hierarchy, made once for all SAEs at a hook."""
    names = tuple((h.name, h.groups, len(h.items)) for h in w.words.hierarchies)
    key = ("absorption: truth", how.key, w.words.seed, names)
    return w.activations.once(key, lambda: tuple(how.truth(w, h) for h in w.words.hierarchies))


def truth(
    w: WordCodes, h: Hierarchy, solve: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> Truth:
    """The probes of a hierarchy's groups on the activation, by one recipe or the other.

    Args:
        solve: Weights `[groups, d_out]` and intercepts of the train activations `[n, d_out]` and members `[n, groups]`.
    """
    import numpy as np
    import torch

    y = w.y.detach().cpu().double()[torch.from_numpy(h.items)].numpy()
    member = members(h)
    weight, bias = solve(y[~h.test], member[~h.test])
    logits = y[h.test] @ weight.T + bias
    scores = [f1(z, m) for z, m in zip(logits.T, member[h.test].T, strict=True)]
    known = np.where(member[~h.test].any(0), scores, np.nan)
    return Truth(weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-12), logits, known)


def _solved(train: np.ndarray, member: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regressions with an L2 penalty, classes weighted to be equal, on activations of total variance one."""
    import torch

    from saebench.probes import Features, fit_wide

    from ._absorption_ranking import balanced

    spread = float(train.var(0).sum()) if len(train) else 0.0
    scale = spread**-0.5 if spread > 0 else 1.0
    features = Features(torch.from_numpy(train), scale)
    weight = torch.from_numpy(balanced(member))
    probe = fit_wide(features, torch.from_numpy(member), weight, c, tol=TOLERANCE)
    return (probe.coef * scale).numpy(), probe.intercept.numpy()


def members(h: Hierarchy) -> np.ndarray:
    """Which group each item belongs to, `[items, groups]` bool."""
    import numpy as np

    return h.label[:, None] == np.arange(len(h.groups))


def f1(logits: np.ndarray, positive: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN); NaN where no item is positive or the probe has no log-odds."""
    import numpy as np

    if not positive.any() or np.isnan(logits).any():
        return float("nan")
    said = logits > 0
    return float(2 * (said & positive).sum() / (said.sum() + positive.sum()))


def main_latents(w: WordCodes, codes: sparse.csr_array, h: Hierarchy, groups: list[int], how: Recipe) -> Mains:
    """The latents that stand for each group: those at the last jump of F1 as latents are added one by one.

    Latents are added in the order of the recipe; each set is probed by logistic regression (L2, C = 1, classes
    weighted to be equal, latents divided by what the recipe says) on train and scored on test.

    Args:
        w: The input.
        codes: Codes of the hierarchy's items, `[items, d_sae]`.
        h: The hierarchy.
        groups: Which groups.
        how: The recipe.
    """
    positive = members(h)[:, groups]
    ranked = how.ranked(w, h, codes[~h.test], groups)
    whole = codes.tocsc()
    parts = [whole[:, latents].toarray() / scale for latents, scale in ranked]
    mains = Mains({}, {})
    best = [-float("inf")] * len(groups)
    going = list(range(len(groups)))
    for k in range(1, how.max_k + 1):
        going = [g for g in going if parts[g].shape[1] >= k]
        if not going:
            break
        for g, logits in zip(going, _probed(parts, positive, h.test, going, k), strict=True):
            score = f1(logits[h.test], positive[h.test, g])
            if score > best[g] + how.f1_jump:
                best[g] = score
                mains.latents[groups[g]], mains.logits[groups[g]] = ranked[g][0][:k], logits[h.test]
        going = [g for g in going if len(mains.latents.get(groups[g], ())) == k]
    return mains


def _probed(
    parts: list[np.ndarray], positive: np.ndarray, test: np.ndarray, going: list[int], k: int
) -> list[np.ndarray]:
    """Log-odds of all items under probes of the first k latents of some groups, `[items]` each."""
    from saebench.probes import fit

    from ._absorption_ranking import Weighted, balanced, stacked

    weight = balanced(positive[~test])
    found = {}
    cases = [Weighted.of(parts[g][~test, :k], positive[~test, g], weight[:, g]) for g in going]
    for places, x, label, mask in stacked(cases):
        coef, intercept = (part.numpy() for part in fit(x, label, mask=mask))
        for place, w, b in zip(places, coef, intercept, strict=True):
            found[place] = parts[going[place]][:, :k] @ w + b
    return [found[place] for place in range(len(going))]
