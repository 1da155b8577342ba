"""Whether a latent merely detects a token: how much less is known of the token than before, once it fires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import Activity, SampledLatents, Sampling, TokenInfo
from saebench.metric import Array, Count, Share, Sums, Totals, metric

from ._autointerp import SAMPLING, mean, means

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    Fields = dict[str, np.ndarray]

_SEED = 0


@metric(version=1, unit="ratio", better="none", bounds=(0.0, None), units="latents")
def lexicality(
    a: Activity,
    t: TokenInfo,
    *,
    below: tuple[Share, ...] = (0.1, 0.25, 0.5),
    least: Count = 20,
    latents: Count = 2048,
    buckets: Count = 4096,
) -> Sums:
    """Mean over latents of the entropy of the tokens on which one fires, over the entropy of all tokens.

    mean over i of H(token | f_i != 0) / H(token): 0 for a latent that fires on one token only, about 1 for one that
    fires whatever the token. The slices `below=` are shares of latents with a smaller ratio. Latents that fire on fewer
    than `least` tokens are left out: few firings hold few tokens, which looks lexical. Memory is `latents` x `buckets`
    counts: of a wider SAE a subset drawn by its width is looked at, and ids of a larger vocabulary share half of the
    buckets, all but the most frequent, which have one each; both entropies are then those of buckets, which moves the
    ratio somewhat towards one. After Heap et al. 2025, Sparse Autoencoders Can Interpret Randomly Initialized
    Transformers, who take the entropy of a latent's tokens.
    """
    import torch

    row, rows = _rows(a.codes.width, latents, a.codes.latents.device)
    bucket, width = _buckets(t, buckets)
    own = row[a.codes.latents]
    cell = own[own >= 0] * width + bucket[a.codes.tokens[own >= 0]]
    counts = torch.bincount(cell, minlength=rows * width).view(rows, width)
    counts = torch.cat([counts, torch.bincount(bucket, minlength=width)[None]])
    settings = torch.tensor([float(least), *below], device=counts.device)
    notes = [f"a subset of {rows} of its {a.codes.width} latents"] if rows < a.codes.width else []
    notes += (
        [f"token ids share {width} buckets, the more frequent half of them one each"] if width < t.vocabulary else []
    )
    slices = ["mean", *(f"below={limit:g}" for limit in below)]
    return Sums(counts=counts, batches=torch.ones(1), settings=settings[None], slices=slices, notes=notes)


@lexicality.finish
def _(f: Fields) -> Fields:
    import numpy as np

    least, *below = f["settings"][0] / f["batches"][0]
    fires = f["counts"][:-1].sum(1)
    entropy = _entropy(f["counts"])
    ratio = entropy[:-1] / entropy[-1]
    counted = fires >= least
    values = np.stack([ratio, *(ratio < limit for limit in below)], axis=1)
    return {
        "value": np.where(counted[:, None], values, 0.0),
        "latents": np.repeat(counted[:, None], values.shape[1], 1),
    }


@lexicality.value
def _(s: Totals) -> Array:
    return s.value / s.latents


@metric(version=1, unit="share of peaks", better="none", bounds=(0.0, 1.0), units="latents")
def input_score(s: SampledLatents, *, lens: Count = 20, sampling: Sampling = SAMPLING) -> Sums:
    """Share of a latent's peak tokens that are among those its own direction promotes: near one for a token detector.

    S_in: of the windows in which a latent fires most strongly, the share whose strongest token is among the `lens`
    tokens with the highest logits of its decoder row through the final norm and the head (its logit lens). Mean over
    latents. After Arad et al. 2025, SAEs Are Good for Steering, if You Select the Right Features (input score), on the
    strongest windows of both halves of the documents.
    """
    d = s.of(sampling)
    promoted = d.logit_lens([one.latent for one in d.latents], lens)
    shares: list[float | None] = []
    for one, tokens in zip(d.latents, promoted, strict=True):
        peaks = [peak for half in (one.shown, one.held_out) for (peak,) in half.top.peaks(0)]
        own = set(tokens.tolist())
        shares.append(sum(peak in own for peak in peaks) / len(peaks) if peaks else None)
    return means(shares, {"": lambda share: share}, d.notes)


input_score.value(mean)


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of each row's shares in nats, `[rows]`; an empty row has none."""
    import numpy as np

    total = np.maximum(counts.sum(1), 1.0)
    weighted = (counts * np.log(np.maximum(counts, 1.0))).sum(1)
    return np.log(total) - weighted / total


def _rows(width: int, most: int, device: torch.device) -> tuple[Tensor, int]:
    """The row of each latent, -1 for those not looked at, and the number of rows."""
    import torch

    if width <= most:
        return torch.arange(width, device=device), width
    drawn = torch.randperm(width, generator=torch.Generator().manual_seed(_SEED))[:most].sort().values
    row = torch.full((width,), -1)
    row[drawn] = torch.arange(most)
    return row.to(device), most


def _buckets(t: TokenInfo, most: int) -> tuple[Tensor, int]:
    """The bucket of each token, and their number: one an id, or one each for the most frequent and the rest shared."""
    if t.vocabulary <= most:
        return t.ids, t.vocabulary
    half = most // 2
    shared = half + t.ids * 2654435761 % 2**32 % (most - half)
    return t.rank.where(t.rank < half, shared), most
