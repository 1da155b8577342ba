"""Whether one attribute of an entity can be exchanged in a SAE's latents without the entity's other attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saebench.inputs import EntityCodes
from saebench.metric import Array, NotApplicable, Sums, Totals, metric

from ._ravel_masks import Latents, Subspace, firing, learn_mask, learn_subspace, score
from ._ravel_pairs import Exchange, exchanges, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from saebench.inputs import EntityModel

ERRORS = ("kept", "dropped")


@metric(version=1, unit="share of pairs", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def ravel_disentanglement(
    e: EntityCodes,
    *,
    error: tuple[str, ...] = ERRORS,
    pairs: int = 64,
    steps: int = 40,
    batch: int = 24,
    rate: float = 0.1,
) -> Sums:
    """Mean of cause and isolation: exchanging an entity's attribute, and nothing but it, through latents.

    For each attribute a mask over latents is learned (MDBM) such that decode((1 - m) f_base + m f_source) at the
    entity's last token makes a base prompt that asks for the attribute go on with the source's value (cause), and
    one that asks for another attribute go on with its own (isolation). The model is frozen and run on from the hook.
    Fitted and scored on different entities; mean over attributes, then over types. Doing nothing scores 0.5, and so
    does exchanging the whole activation, since pairs differ in what the base asks for. With `error=kept` what the
    SAE does not reconstruct of the base is added; `error=dropped` is the reference suite's protocol, in which poor
    reconstruction costs isolation. Intervals resample the entities of the base prompts. After Huang et al. 2024,
    RAVEL, section 4 (MDAS on latents), and Karvonen et al. 2025, SAEBench.

    Args:
        error: `kept`, `dropped` or both.
        pairs: Most scored pairs of each kind for an attribute.
        steps: Steps of the optimiser for a mask.
        batch: Pairs a step, half of them cause pairs.
        rate: Step size of Adam.
    """
    return _masks(e, error, pairs, steps, batch, rate).learned


@metric(version=1, unit="share of cause pairs", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def ravel_cause(
    e: EntityCodes,
    *,
    error: tuple[str, ...] = ERRORS,
    pairs: int = 64,
    steps: int = 40,
    batch: int = 24,
    rate: float = 0.1,
) -> Sums:
    """How often exchanging an attribute's latents makes the model state the other entity's value.

    Of the pairs of `ravel_disentanglement` whose base asks for the exchanged attribute, the share that goes on with
    the source's value. Doing nothing scores 0, exchanging the whole activation about 1.
    """
    return _masks(e, error, pairs, steps, batch, rate).learned


@metric(version=1, unit="share of isolation pairs", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def ravel_isolation(
    e: EntityCodes,
    *,
    error: tuple[str, ...] = ERRORS,
    pairs: int = 64,
    steps: int = 40,
    batch: int = 24,
    rate: float = 0.1,
) -> Sums:
    """How often exchanging an attribute's latents leaves the entity's other attributes as they were.

    Of the pairs of `ravel_disentanglement` whose base asks for another attribute, the share that goes on with the
    base's own value. Doing nothing scores 1, exchanging the whole activation about 0.
    """
    return _masks(e, error, pairs, steps, batch, rate).learned


@metric(version=1, unit="share of pairs", better="none", bounds=(0.0, 1.0), units="items")
def ravel_random_mask(
    e: EntityCodes,
    *,
    error: tuple[str, ...] = ERRORS,
    pairs: int = 64,
    steps: int = 40,
    batch: int = 24,
    rate: float = 0.1,
) -> Sums:
    """Disentanglement of as many latents as were learned, drawn at random: the null of `ravel_disentanglement`.

    Drawn among the latents that fire at the fitting entities, on the same pairs.
    """
    return _masks(e, error, pairs, steps, batch, rate).random


@metric(version=1, unit="share of pairs", better="none", bounds=(0.0, 1.0), units="items")
def ravel_skyline(
    e: EntityCodes, *, pairs: int = 64, steps: int = 40, batch: int = 24, rate: float = 0.02, dims: int = 0
) -> Sums:
    """Disentanglement of a subspace learned on the raw activation: about what a perfect dictionary could reach.

    As `ravel_disentanglement`, with y_base + (y_source - y_base) Q Q' for an orthonormal Q `[d_out, dims]` learned
    on the same pairs; the same for every SAE at a hook. Geiger et al. 2024, distributed alignment search.

    Args:
        dims: Dimensions of the subspace; 0 for d_out over the type's number of attributes.
    """

    def make() -> Sums:
        model = e.model
        found, notes = _known(model, steps * batch // 2, pairs)
        right = []
        for x in found:
            k = min(model.y.shape[1], dims or -(-model.y.shape[1] // len(model.prompts.types[x.type].attributes)))
            start = _start(model, x.name, k)
            basis = learn_subspace(start, model, x.fit, batch=batch, rate=rate)
            right.append(score(Subspace(model), basis, model, x.test))
        return _sums(model, found, {"": right}, notes)

    return e.model.once(("ravel", "skyline", pairs, steps, batch, rate, dims), make)


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


@dataclass(frozen=True)
class _Masks:
    """The sums of the learned masks, and those of random masks of their size."""

    learned: Sums
    random: Sums


def _masks(e: EntityCodes, error: Sequence[str], pairs: int, steps: int, batch: int, rate: float) -> _Masks:
    bad = [name for name in error if name not in ERRORS]
    if bad or not error:
        raise ValueError(f"error is {', '.join(bad) or 'empty'}; it is kept, dropped or both: error: [kept, dropped]")

    def make() -> _Masks:
        found, notes = _known(e.model, steps * batch // 2, pairs)
        learned: dict[str, list[Tensor]] = {}
        random: dict[str, list[Tensor]] = {}
        for name in error:
            both = [_exchanged(e, x, name == "kept", batch, rate) for x in found]
            learned[f"error={name}"], random[f"error={name}"] = ([part[i] for part in both] for i in (0, 1))
        return _Masks(_sums(e.model, found, learned, notes), _sums(e.model, found, random, notes))

    return e.once(("ravel", tuple(error), pairs, steps, batch, rate), make)


def _exchanged(e: EntityCodes, x: Exchange, keep_error: bool, batch: int, rate: float) -> tuple[Tensor, Tensor]:
    """Which scoring pairs come out right with the learned latents, and with as many at random."""
    import torch

    latents = firing(e, x.fit)
    mask = learn_mask(Latents(e, latents, keep_error), len(latents), e.model, x.fit, batch=batch, rate=rate)
    drawn = named(e.model.prompts.seed, "ravel", x.name, "random mask").permutation(len(latents))[: int(mask.sum())]
    results = []
    for chosen in (latents[mask], latents[torch.from_numpy(drawn).to(latents.device)]):
        edit = Latents(e, chosen, keep_error)
        results.append(score(edit, torch.ones(len(chosen), device=latents.device), e.model, x.test))
    return results[0], results[1]


def _known(model: EntityModel, fit: int, test: int) -> tuple[list[Exchange], tuple[str, ...]]:
    """The attributes that the model knows; shared by all SAEs at a hook."""
    found, notes = model.once(("ravel", "pairs", fit, test), lambda: exchanges(model, fit, test))
    if not found:
        right = model.right.double().mean().item() if len(model.right) else 0.0
        raise NotApplicable(
            f"The model completes {right:.1%} of {len(model.right)} prompts with the right value, so there is no "
            f"attribute to exchange: {'; '.join(notes)}."
        )
    return found, notes


def _start(model: EntityModel, name: str, k: int) -> Tensor:
    import torch

    drawn = named(model.prompts.seed, "ravel", name, "skyline").standard_normal((model.y.shape[1], k))
    return torch.from_numpy(drawn).float()


def _sums(
    model: EntityModel, found: Sequence[Exchange], right: Mapping[str, Sequence[Tensor]], notes: tuple[str, ...]
) -> Sums:
    """A row a scoring entity and a slice an average, with each pair weighed so that attributes and types count equally.

    Args:
        right: Which scoring pairs came out right, an entry an exchange; by the first part of the slices' names.
    """
    import torch

    types = model.prompts.types
    at, rows = _rows(model)
    slices = {"": list(range(len(found)))}
    for number, kind in enumerate(types):
        mine = [i for i, x in enumerate(found) if x.type == number]
        slices |= ({kind.name: mine} if mine else {}) | {found[i].name: [i] for i in mine}
    width = len(slices) * len(right)
    fields: dict[str, Any] = {
        name: torch.zeros(rows, width, dtype=torch.float64) for name in ("cause", "cause_n", "isolation", "isolation_n")
    }
    names = [(prefix, name) for prefix in right for name in slices if not name]
    names += [(prefix, name) for prefix in right for name in slices if name]
    for column, (prefix, name) in enumerate(names):
        for i in slices[name]:
            test = found[i].test
            siblings = sum(found[j].type == found[i].type for j in slices[name])
            for kind, chosen in (("cause", test.cause), ("isolation", ~test.cause)):
                entity = at[test.base[chosen]]
                weight = 1 / (siblings * int(chosen.sum()))
                share = right[prefix][i][chosen].double() * weight
                fields[kind][:, column].index_add_(0, entity, share)
                fields[f"{kind}_n"][:, column].index_add_(0, entity, torch.full_like(share, weight))
    labels = tuple("/".join(part for part in pair if part) or "all" for pair in names)
    return Sums(slices=labels, notes=notes, **fields)


def _rows(model: EntityModel) -> tuple[Tensor, int]:
    """The scoring entity of each prompt as a row, `[prompts]`, and the number of rows."""
    import torch

    p = model.prompts
    at = torch.zeros(len(p.type), dtype=torch.long)
    rows = 0
    for number, kind in enumerate(p.types):
        test = torch.as_tensor(kind.test)
        place = rows + test.long().cumsum(0) - 1
        here = torch.from_numpy(p.type == number)
        at[here] = place[torch.from_numpy(p.entity)[here]]
        rows += int(test.sum())
    return at, rows
