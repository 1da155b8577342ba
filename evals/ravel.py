"""Whether one attribute of an entity can be exchanged in a SAE's latents without the entity's other attributes."""

from __future__ import annotations

from saebench.inputs import EntityCodes
from saebench.metric import Amount, Array, Sums, Totals, metric

from ._ravel_masks import Job, Subspace, learn_subspaces, score
from ._ravel_scores import FIT, SEARCH, Fit, Search, known, masks, start, sums


@metric(
    version=1,
    unit="share of pairs",
    better="higher",
    best=1.0,
    bounds=(0.0, 1.0),
    units="items",
    caution="With the error kept, a SAE whose latents move nothing scores 0.5: read it beside ravel_cause.",
)
def ravel_disentanglement(e: EntityCodes, *, fit: Fit = FIT) -> Sums:
    """Mean of cause and isolation: exchanging an entity's attribute, and nothing but it, through latents.

    For each attribute a mask over latents is learned (MDBM) such that decode((1 - m) f_base + m f_source) at the
    entity's last token makes a base prompt that asks for the attribute go on with the source's value (cause), and
    one that asks for another attribute go on with its own (isolation). The model is frozen and run on from the hook.
    Fitted and scored on different entities; mean over attributes, then over types. Doing nothing scores 0.5, and so
    does exchanging the whole activation, since pairs differ in what the base asks for. With `error=kept` what the
    SAE does not reconstruct of the base is added; `error=dropped` is the reference suite's protocol, in which poor
    reconstruction costs isolation. Intervals resample the entities of the base prompts. After Huang et al. 2024,
    RAVEL, and Karvonen et al. 2025, SAEBench.

    Args:
        fit: How the masks are learned and what becomes of the error.
    """
    return masks(e, fit).learned


@metric(version=1, unit="share of cause pairs", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def ravel_cause(e: EntityCodes, *, fit: Fit = FIT) -> Sums:
    """How often exchanging an attribute's latents makes the model state the other entity's value.

    Of the pairs of `ravel_disentanglement` whose base asks for the exchanged attribute, the share that goes on with
    the source's value. Doing nothing scores 0, exchanging the whole activation about 1.
    """
    return masks(e, fit).learned


@metric(version=1, unit="share of isolation pairs", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def ravel_isolation(e: EntityCodes, *, fit: Fit = FIT) -> Sums:
    """How often exchanging an attribute's latents leaves the entity's other attributes as they were.

    Of the pairs of `ravel_disentanglement` whose base asks for another attribute, the share that goes on with the
    base's own value. Doing nothing scores 1, exchanging the whole activation about 0.
    """
    return masks(e, fit).learned


@metric(version=1, unit="share of pairs", better="none", bounds=(0.0, 1.0), units="items")
def ravel_random_mask(e: EntityCodes, *, fit: Fit = FIT) -> Sums:
    """Disentanglement of as many latents as were learned, drawn at random: the null of `ravel_disentanglement`.

    Drawn among the latents that fire at the fitting entities, on the same pairs.
    """
    return masks(e, fit).random


@metric(version=1, unit="share of pairs", better="none", bounds=(0.0, 1.0), units="items")
def ravel_skyline(e: EntityCodes, *, search: Search = SEARCH, dims: Amount = 0) -> Sums:
    """Disentanglement of a subspace learned on the raw activation: about what a perfect dictionary could reach.

    As `ravel_disentanglement`, with y_base + (y_source - y_base) Q Q' for an orthonormal Q `[d_out, dims]` learned
    on the same pairs; the same for every SAE at a hook. What it lacks of 1 is mostly what does not carry over from the
    fitting entities to others: values that few of them have. Geiger et al. 2024, distributed alignment search.

    Args:
        search: How the subspace is learned.
        dims: Dimensions of the subspace; 0 for d_out over the type's number of attributes.
    """

    def make() -> Sums:
        model = e.model
        found, notes = known(model, search.steps * search.batch // 2, search.pairs)
        size = [len(model.prompts.types[x.type].attributes) for x in found]
        width = model.y.shape[1]
        begin = [start(model, x.name, min(width, dims or -(-width // n))) for x, n in zip(found, size, strict=True)]
        jobs = [Job(Subspace(model), x.fit, free) for x, free in zip(found, begin, strict=True)]
        bases = learn_subspaces(jobs, model, batch=search.batch, rate=search.rate)
        right = [score(Subspace(model), basis, model, x.test) for x, basis in zip(found, bases, strict=True)]
        return sums(model, found, {"": right}, notes)

    return e.model.once(("ravel", "skyline", search, dims), make)


@ravel_cause.value
def _(s: Totals) -> Array:
    return s.cause / s.cause_n


@ravel_isolation.value
def _(s: Totals) -> Array:
    return s.isolation / s.isolation_n


@ravel_disentanglement.value
@ravel_random_mask.value
@ravel_skyline.value
def _(s: Totals) -> Array:
    return (s.cause / s.cause_n + s.isolation / s.isolation_n) / 2
