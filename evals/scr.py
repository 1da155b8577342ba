"""Spurious correlation removal: can latents undo a probe's reliance on an attribute that it was trained to confuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from saebench.inputs import LabelledEffects
from saebench.metric import Array, Count, Positive, Sums, Totals, metric

from ._latent_ablation import Ablation, Column, averaged, best, directions, effects, fields
from ._scr_probes import Biased, biased, notes, pairs, trained_biased

if TYPE_CHECKING:
    import numpy as np

    from saebench.data.labelled import SpuriousPair

SIZES = (2, 5, 10, 20, 50, 100, 500)
CAUTION = "An audit (arXiv 2605.18229) found SCR unreliable: see its noise across reseeds before trusting a difference."


@metric(version=1, unit="share of the gap", better="higher", best=1.0, units="items", caution=CAUTION)
def scr(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES, c: Positive = 100.0) -> Sums:
    """How much of a probe's lost accuracy comes back when the latents of a spurious attribute are ablated.

    An audit (arXiv 2605.18229) found TPP and SCR unreliable: reseed noise is as large as what they should show.

    Of a pair of classes and two values of an attribute: a probe of the class and one of the attribute, fitted on
    balanced texts, and a biased one, fitted where the two always agree (L2, strength `c` on activations of total
    variance one). A latent's effect on a probe is |(mean_pos s_i - mean_neg s_i) (w . d_i)|, s_i its mean code on
    balanced train texts. dir1 ablates the n latents with the largest effects on the attribute probe and scores the
    biased probe on class labels; dir2 the other way round. Score: (after - before) / (clean - before), accuracies on
    one balanced set of test texts, clean that of the probe of the label scored; not clipped. A pair's score is that of
    the labels on which the biased probe does worse; it is undefined where it does equally well, or where there is
    less than 0.001 to win (see `scr_undefined`). Mean over pairs. How much a biased probe relies on the attribute
    depends on its fitting: here it is the optimum under the penalty, in the reference 20 epochs in batches of 16.
    After Karvonen et al. 2024, Evaluating Sparse Autoencoders on Targeted Concept Erasure.
    """
    return _sums(e, n, lambda pair: biased(e, pair, c), ("scr", c), averaged, each=True)


@metric(
    version=1, unit="share of the gap", better="higher", best=1.0, units="items", name="scr@saebench", caution=CAUTION
)
def scr_saebench(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES) -> Sums:
    """How much of a probe's lost accuracy comes back, by SAEBench 0.6's protocol.

    As `scr`, but: probes of the activation are trained, not solved (AdamW with step size 0.001 and weight decay 0.01,
    log-loss plus 0.001 |w|_1, 20 epochs of batches of 16), and the epoch with the best *test* accuracy is kept, on
    the probe's own test texts (for the biased one those where class and attribute agree); a direction with less than
    0.001 to win scores 0 and counts in the mean. How much a biased probe relies on the attribute, and so the score,
    depends on that training. A pair on whose labels the biased probe is equally accurate is dropped, as there.

    What cannot be followed: the reference draws starts and orders from the global generator, after whatever ran
    before (here they are drawn by name, the same for every SAE); it trains the biased probe on twice as many texts
    as a quadrant has here; and in padded positions it ablates whatever a SAE fires on a zero vector, which depends on
    the length of the padding, not on the text. Probes are trained in float64, not in the model's precision.
    """
    return _sums(e, n, lambda pair: trained_biased(e, pair), ("scr@saebench",), averaged, each=True)


@metric(version=1, unit="share of the gap", better="higher", best=1.0, units="items", caution=CAUTION)
def scr_median(e: LabelledEffects, *, n: tuple[Count, ...] = SIZES, c: Positive = 100.0) -> Sums:
    """Median over pairs of how much of a probe's lost accuracy comes back.

    The scores of `scr`, which are ratios with heavy tails, by their median over pairs that have one. The interval
    holds the pairs in the middle fixed.
    """
    return _sums(e, n, lambda pair: biased(e, pair, c), ("scr", c), _median, each=False)


@metric(version=1, unit="pairs", better="none", bounds=(0.0, None), units="none")
def scr_undefined(e: LabelledEffects, *, c: Positive = 100.0) -> Sums:
    """Number of pairs without a score of spurious correlation removal; they are in no average.

    For `scr` and for each direction: pairs where the biased probe has less than 0.001 accuracy to win, or (for `scr`)
    does equally well on both labels, or that lack texts to fit on. None of it depends on the SAE.
    """
    import torch

    runs = [biased(e, pair, c) for pair in pairs(e)]
    counts = [[run.chosen is None, *(gap is None for gap in run.gaps)] for run in runs]
    return Sums(count=torch.tensor(counts, dtype=torch.float64), slices=("scr", "dir1", "dir2"), notes=notes(runs))


def _scores(e: LabelledEffects, run: Biased, n: tuple[int, ...]) -> list[list[Column]]:
    """Score of each direction and size, over the pair's test texts; NaN where undefined."""
    import numpy as np

    from saebench.probes import mean_differences

    difference = mean_differences(effects(e), run.problems[:2])
    along = directions(e, run.weight)
    effect = np.abs(difference * along[:2])
    tests = run.problems[0].test
    ablation = Ablation(e, tests, run.weight[2:], along[2:])
    every = np.ones(len(tests), dtype=bool)
    found = []
    for scored, ablated in ((0, 1), (1, 0)):
        gap = run.gaps[scored]
        if gap is None:
            found.append([Column(run.unwinnable, every, np.zeros(len(tests)))] * len(n))
            continue
        logits = run.logits - ablation.falls(best(effect[ablated], n[-1]), n)[..., 0]
        won = ((logits > 0) == run.label[scored]) - run.before[scored]
        value = won.mean(1) / gap.mean()
        influence = (won - value[:, None] * gap) / gap.sum()
        found.append([Column(float(v), every, part) for v, part in zip(value, influence, strict=True)])
    return found


def _sums(
    e: LabelledEffects,
    n: tuple[int, ...],
    probes: Callable[[SpuriousPair], Biased],
    key: tuple[object, ...],
    middle: Callable[[Sequence[Column]], Column],
    *,
    each: bool,
) -> Sums:
    """Slices by size: over pairs, then each direction over pairs, then each pair if asked for."""
    import numpy as np

    from saebench.probes import sizes

    n = tuple(sorted(sizes(n, "n")))
    runs = [probes(pair) for pair in pairs(e)]
    scores = e.once((*key, n), lambda: [_scores(e, run, n) for run in runs])
    items = np.unique(np.concatenate([run.problems[0].test for run in runs]))
    levels: list[dict[str, Column]] = [{}, {}, {}]
    for place, size in enumerate(n):
        ways = [
            [_spread(run, items, part[way][place]) for run, part in zip(runs, scores, strict=True)] for way in (0, 1)
        ]
        chosen = [_chosen(run, both) for run, both in zip(runs, zip(*ways, strict=True), strict=True)]
        levels[0][f"n={size}"] = middle(chosen)
        levels[1] |= {f"n={size}/dir{way + 1}": middle(columns) for way, columns in enumerate(ways)}
        levels[2] |= {f"n={size}/{run.pair}": column for run, column in zip(runs, chosen, strict=True) if each}
    columns = {name: column for level in levels for name, column in level.items()}
    return Sums(**fields(list(columns.values())), slices=tuple(columns), notes=notes(runs))


def _spread(run: Biased, items: np.ndarray, column: Column) -> Column:
    """A column over a pair's test texts as one over the test texts of all pairs."""
    import numpy as np

    place = np.searchsorted(items, run.problems[0].test)
    takes_part, influence = np.zeros(len(items), dtype=bool), np.zeros(len(items))
    takes_part[place], influence[place] = column.takes_part, column.influence
    return Column(column.value, takes_part, influence)


def _chosen(run: Biased, ways: Sequence[Column]) -> Column:
    return ways[0]._replace(value=float("nan")) if run.chosen is None else ways[run.chosen]


def _median(columns: Sequence[Column]) -> Column:
    """The median of some slices with the influences of those in the middle; undefined ones are left out."""
    import numpy as np

    kept = sorted((column for column in columns if np.isfinite(column.value)), key=lambda column: column.value)
    if not kept:
        return averaged(columns)
    between = averaged(kept[(len(kept) - 1) // 2 : len(kept) // 2 + 1])
    return between._replace(takes_part=np.any([column.takes_part for column in kept], axis=0))


@scr.value
@scr_median.value
@scr_saebench.value
def _(s: Totals) -> Array:
    return s.psi / s.n


@scr_undefined.value
def _(s: Totals) -> Array:
    return s.count
