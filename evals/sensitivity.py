"""Whether texts like those a latent fires on make it fire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import SampledLatents, Sampling
from saebench.metric import Amount, Count, Sums, metric

from ._autointerp import SAMPLING, mean, means

if TYPE_CHECKING:
    import numpy as np

    from saebench.inputs import LatentContexts


@metric(version=1, unit="share of texts", better="higher", best=1.0, bounds=(0.0, 1.0), units="latents")
def sensitivity(
    s: SampledLatents,
    *,
    before: tuple[Amount, ...] = (1, 0, 2),
    fewest: Count = 1,
    sampling: Sampling = SAMPLING,
) -> Sums:
    """Share of held-out texts like a latent's examples in which it fires; what detection does not ask.

    A text is like an example if it holds the example's peak token with the same tokens before it: one (`before=1`),
    none (`before=0`) or two. Examples are the windows shown to an explainer that fire most strongly and those drawn by
    the square of their activation; texts are windows drawn at random from the other half of the documents. Mean over
    latents of the share of like texts in which it fires; those with fewer than `fewest` are left out, and counted.
    `random` is the share of all those windows in which it fires: what a high score means nothing next to. After Tian et
    al. 2025, Measuring Sparse Autoencoder Feature Sensitivity, where a language model writes the like texts.
    """
    d = s.of(sampling)
    ids, _ = d.pool()
    found = d.once(("sensitivity", before, fewest), lambda: [_shares(one, ids, before, fewest) for one in d.latents])
    names = [f"before={count}" for count in before]
    columns = {name: lambda shares, name=name: shares[name] for name in [*names, "random"]}
    left = [
        f"{sum(shares[name] is None for shares in found)} of {len(found)} latents have fewer than {fewest} held-out "
        f"texts like their examples ({name})"
        for name in names
        if any(shares[name] is None for shares in found)
    ]
    return means(found, columns, (*d.notes, *left))


sensitivity.value(mean)


def _shares(latent: LatentContexts, ids: np.ndarray, before: tuple[int, ...], fewest: int) -> dict[str, float | None]:
    """Share of like windows in which the latent fires, by the number of tokens before the peak that must agree."""
    fires = latent.held_out.pool.strength > 0
    shares: dict[str, float | None] = {"random": float(fires.mean()) if len(fires) else None}
    for count in before:
        peaks = {peak for kept in (latent.shown.top, latent.shown.weighted) for peak in kept.peaks(count)}
        alike = _alike(ids, [peak for peak in peaks if -1 not in peak], count)
        shares[f"before={count}"] = float(fires[alike].mean()) if alike.sum() >= fewest else None
    return shares


def _alike(ids: np.ndarray, peaks: list[tuple[int, ...]], before: int) -> np.ndarray:
    """Windows that hold one of the peaks, tokens before it included, `[windows]` bool."""
    import numpy as np

    base = int(ids.max(initial=0)) + 2
    code = np.zeros(ids[:, before:].shape, dtype=np.int64)
    for back in range(before + 1):
        code = code * base + ids[:, before - back : ids.shape[1] - back] + 1
    wanted = []
    for peak in peaks:
        number = 0
        for token in peak:
            number = number * base + token + 1
        wanted.append(number)
    inside = np.all([ids[:, before - back : ids.shape[1] - back] >= 0 for back in range(before + 1)], axis=0)
    return (np.isin(code, wanted) & inside).any(1)
