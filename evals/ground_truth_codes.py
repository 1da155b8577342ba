"""Whether latents fire as the true features do, where those are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from saebench.inputs import Activity, TrueDictionary, TrueFeatures
from saebench.metric import Array, NotApplicable, Share, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Families(NamedTuple):
    """Parents and children whose directions were both found: for each child, `[children]`.

    Attributes:
        child, parent: Their numbers.
        own, above: Latents of the child and of its parent.
        carries: Whether the child's latent holds the parent's direction too.
    """

    child: np.ndarray
    parent: np.ndarray
    own: np.ndarray
    above: np.ndarray
    carries: np.ndarray


@metric(version=1, unit="share of firings", better="lower", best=0.0, bounds=(0.0, 1.0))
def true_absorption(a: Activity, t: TrueFeatures, *, found: Share = 0.5, share: Share = 0.1) -> Sums:
    """How often a parent's latent stays silent though parent and child are there, because the child's latent stands in.

    Over tokens on which a child fires, and with it its parent: 1[the parent's latent is silent, the child's fires and
    holds the parent], latents by the matching of gt_mcc; it holds the parent if that makes up more than `share` of
    its decoder row: |c_p| / (|c_c| + |c_p|), d = c_c f_c + c_p f_p by least squares. `alone`: how often the parent's
    latent is silent where the parent fires without a child. Families with a cosine below `found` are left out. Feature
    absorption by construction: Chanin et al. 2024, A is for Absorption, section on toy models.
    """
    import torch

    known: Families = t.dictionary.once(("families", found, share), lambda: _families(t.dictionary, found, share))
    fires, stands_in = _fires(a, known.above), _fires(a, known.own)
    there = t.holds[:, known.child]
    carries = torch.from_numpy(known.carries).to(fires.device)
    absorbed = (there & ~fires & stands_in & carries).sum(1)
    parents, first = _unique(known.parent)
    alone = t.holds[:, parents].clone()
    for column, parent in enumerate(parents.tolist()):
        alone[:, column] &= ~t.holds[:, t.dictionary.parent == parent].any(1)
    missed = (alone & ~fires[:, first]).sum(1)
    return Sums(
        events=torch.stack([absorbed, missed], dim=1),
        chances=torch.stack([there.sum(1), alone.sum(1)], dim=1),
        slices=["", "alone"],
        notes=[f"{len(known.child)} children of {len(parents)} parents"],
    )


@true_absorption.value
def _(s: Totals) -> Array:
    return s.events / s.chances


def _families(t: TrueDictionary, found: float, share: float) -> Families:
    import numpy as np

    cosine = np.nan_to_num(t.match.cosine)
    child = np.flatnonzero((t.parent >= 0) & (cosine >= found))
    child = child[cosine[t.parent[child]] >= found]
    if not len(child):
        raise NotApplicable("no parent was found with one of its children; the truth to use is synthetic:hierarchical")
    parent = t.parent[child]
    own, above = t.match.partner[child], t.match.partner[parent]
    return Families(child, parent, own, above, t.mixture(child, own, parent) > share)


def _fires(a: Activity, latents: np.ndarray) -> Tensor:
    """Whether each of some latents fires, repeats allowed, `[tokens, latents]` bool."""
    import torch

    once, place = torch.from_numpy(latents).to(a.codes.latents.device).unique(return_inverse=True)
    return (a.codes.columns(once) != 0)[:, place]


def _unique(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each parent once, and where it stands first."""
    import numpy as np

    return np.unique(parent, return_index=True)
