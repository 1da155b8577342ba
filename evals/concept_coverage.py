"""How many concepts have a latent of their own: the best F1 that one latent has for a programmatic token label."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench.inputs import Activity, OtherCodes, TokenLabels
from saebench.metric import Array, Count, NotApplicable, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Fields = dict[str, np.ndarray]

_THRESHOLDS = 10
_BLOCK = 2048


class Detectors(NamedTuple):
    """For each label that can be scored its place in the scored text's labels, its latent and its threshold."""

    names: tuple[str, ...]
    place: Tensor
    latent: Tensor
    threshold: Tensor
    notes: tuple[str, ...]


@metric(version=1, unit="F1", better="higher", best=1.0, bounds=(0.0, 1.0))
def concept_coverage(a: Activity, l: TokenLabels, o: OtherCodes, *, least: Count = 10) -> Sums:  # noqa: E741
    """Mean over token labels of the F1 of the one latent and threshold that detect the label best.

    C = mean over labels g of F1(1[|f_i| > t max |f_i|], g), where i, t in {0, 0.1 ... 0.9} and the maximum are chosen
    for the highest F1 on text that is not scored. Labels are the generator's on the world; on any other text what the
    token's string and place show (casing, digits, punctuation, length, first letter, ending, word class, script, code,
    position). Labels on fewer than `least` tokens of the other text, or on none of the scored text, are left out and
    named. Slices: `f1`, `precision` (0 where the detector never fires), `recall`, and `f1/FAMILY`. The interval is over
    documents, by the influence of each on the mean. After Karvonen et al. 2024, Measuring Progress in Dictionary
    Learning with Board Games (coverage), and InterPLM (Simon & Zou 2024); with the choice held out.
    """
    import torch

    chosen: Detectors = o.once(("concept coverage", least), lambda: _chosen(l, o, least))
    latents, column = torch.unique(chosen.latent.to(a.codes.latents.device), return_inverse=True)
    strength = a.codes.columns(latents).abs()[:, column]
    fires = strength > chosen.threshold.to(strength.device)
    holds = l.holds[:, chosen.place.to(l.holds.device)]
    family = torch.tensor([*_families(chosen.names).values()], dtype=torch.float64)
    notes = (f"{len(chosen.names)} labels from {l.source}", *chosen.notes)
    return Sums(
        hit=fires & holds, fires=fires, holds=holds, family=family.expand(len(holds), -1), tokens=1,
        slices=_slices(chosen.names), notes=notes,
    )  # fmt: skip


@concept_coverage.finish
def _(f: Fields) -> Fields:
    """From counts `[documents, labels]` to the mean F1 with each document's influence, `[documents, slices]`."""
    import numpy as np

    hit, fires, holds = f["hit"], f["fires"], f["holds"]
    tokens = f["tokens"][:, 0]
    sizes = np.rint(f["family"].sum(0) / max(1.0, tokens.sum())).astype(int)
    parts = [_mean(2 * hit, fires + holds, tokens), _mean(hit, fires, tokens), _mean(hit, holds, tokens)]
    for end, size in zip(sizes.cumsum(), sizes, strict=True):
        inside = slice(end - size, end)
        parts.append(_mean(2 * hit[:, inside], (fires + holds)[:, inside], tokens))
    there = (tokens > 0)[:, None]
    return {"psi": np.stack(parts, axis=1) * there, "n": np.repeat(there, len(parts), axis=1)}


@concept_coverage.value
def _(s: Totals) -> Array:
    return s.psi / s.n


def _mean(above: np.ndarray, below: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Mean over labels of a ratio of sums, plus each document's influence on it, `[documents]`; 0 / 0 counts 0."""
    import numpy as np

    total = below.sum(0)
    safe = np.where(total > 0, total, 1.0)
    ratio = np.where(total > 0, above.sum(0) / safe, 0.0)
    return ratio.mean() + (tokens > 0).sum() * ((above - ratio * below) / safe).mean(1)


def _chosen(l: TokenLabels, o: OtherCodes, least: int) -> Detectors:  # noqa: E741
    """The best latent and threshold for each label, on the other text."""
    import torch

    if o.labels is None or not l.names:
        raise NotApplicable("the text has no strings to take labels from: give text, or a model with a tokenizer")
    enough = o.labels.holds.sum(0) >= least
    usable = {name: i for i, name in enumerate(o.labels.names) if bool(enough[i])}
    kept = [i for i, name in enumerate(l.names) if name in usable and l.total[i]]
    if not kept:
        raise NotApplicable(f"no label holds on {least} tokens of the text that latents are chosen on")
    names = tuple(l.names[i] for i in kept)
    holds = o.labels.holds[:, [usable[name] for name in names]]
    latent, threshold = _best(o, holds.cpu())
    never = [name for name, count in zip(l.names, l.total, strict=True) if not count]
    rare = [name for name, count in zip(l.names, l.total, strict=True) if count and name not in usable]
    notes = (*_named("never occur", never), *_named(f"occur on fewer than {least} tokens of the text chosen on", rare))
    return Detectors(names, torch.tensor(kept), latent, threshold, notes)


def _best(o: OtherCodes, holds: Tensor) -> tuple[Tensor, Tensor]:
    """Latent and threshold with the highest F1 for each label, both `[labels]`; the first of equals."""
    import numpy as np
    import torch
    from scipy.sparse import csr_matrix

    codes = o.codes.to("cpu", torch.float32)
    size = codes.values.abs()
    top = size.new_zeros(codes.width).scatter_reduce_(0, codes.latents, size, "amax")
    # An entry lies above the thresholds 0 ... level / 10; only its own maximum has 10 tenths of it, and lies above 9.
    level = (size / top[codes.latents] * _THRESHOLDS).ceil().clamp(1, _THRESHOLDS).long() - 1
    tokens, latents, levels = codes.tokens.numpy(), codes.latents.numpy(), level.numpy()
    label = csr_matrix(holds.numpy().T.astype(np.float32))
    count = holds.sum(0).numpy()[:, None, None]
    best, where = np.full(holds.shape[1], -1.0), np.zeros((2, holds.shape[1]), dtype=np.int64)
    for start in range(0, codes.width, _BLOCK):
        inside = (latents >= start) & (latents < start + _BLOCK)
        wide = min(_BLOCK, codes.width - start)
        cell = (latents[inside] - start) * _THRESHOLDS + levels[inside]
        shape = (codes.n, wide * _THRESHOLDS)
        entries = csr_matrix((np.ones(len(cell), np.float32), (tokens[inside], cell)), shape=shape)
        joint: Any = label @ entries
        hit = _above(joint.toarray().reshape(-1, wide, _THRESHOLDS))
        fires = _above(np.bincount(cell, minlength=wide * _THRESHOLDS).reshape(1, wide, _THRESHOLDS))
        score = (2 * hit / (fires + count)).reshape(len(hit), -1)
        place = score.argmax(1)
        better = np.take_along_axis(score, place[:, None], 1)[:, 0] > best
        best = np.where(better, score.max(1), best)
        where = np.where(better, [start + place // _THRESHOLDS, place % _THRESHOLDS], where)
    latent = torch.from_numpy(where[0])
    return latent, torch.from_numpy(where[1]).to(torch.float32) / _THRESHOLDS * top[latent]


def _above(counts: np.ndarray) -> np.ndarray:
    """Counts by level as counts at this level or a higher one."""
    return counts[..., ::-1].cumsum(-1)[..., ::-1]


def _named(what: str, names: list[str], most: int = 10) -> list[str]:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{len(names)} labels {what}: {', '.join(names[:most])}{more}"] if names else []


def _families(names: tuple[str, ...]) -> dict[str, int]:
    """Labels of each family; those of one follow each other."""
    return dict(Counter(name.partition("=")[0] for name in names))


def _slices(names: tuple[str, ...]) -> list[str]:
    return ["f1", "precision", "recall", *(f"f1/{family}" for family in _families(names))]
