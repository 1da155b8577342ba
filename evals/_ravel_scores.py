"""Scores of the masks that RAVEL learns, added up by scoring entity so that averages stay ratios of sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from saebench.metric import Count, NotApplicable, Positive, Sums

from ._ravel_masks import Job, Latents, firing, learn_masks, score
from ._ravel_pairs import Exchange, exchanges

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.inputs import EntityCodes, EntityModel

Error = Literal["dropped", "kept"]
"""What becomes of the SAE's error when latents are exchanged."""
ERRORS: tuple[Error, ...] = ("dropped", "kept")


@dataclass(frozen=True)
class Search:
    """How what is exchanged is learned: settings of every metric of the family.

    Attributes:
        pairs: Most scored pairs of each kind for an attribute.
        steps: Steps of the optimiser for a mask or subspace. On three SAEs of the world half as many, at twice the
            rate, took two thirds of the time and scored 0.01 less on average, 0.02 at most.
        batch: Pairs a step, half of them cause pairs.
        rate: Step size of Adam.
    """

    pairs: Count = 64
    steps: Count = 40
    batch: Count = 24
    rate: Positive = 0.1


@dataclass(frozen=True)
class Fit(Search):
    """The same for masks over latents.

    Attributes:
        error: What becomes of the SAE's error: `kept`, `dropped` or both.
    """

    error: tuple[Error, ...] = ERRORS


SEARCH, FIT = Search(), Fit()


@dataclass(frozen=True)
class Masks:
    """The sums of the learned masks, and those of random masks of their size."""

    learned: Sums
    random: Sums


def masks(e: EntityCodes, fit: Fit) -> Masks:
    """Learn a mask for each attribute and treatment of the error; shared by the metrics of one SAE.

    Raises:
        NotApplicable: The model knows none of the attributes, or none is at the entity's last token.
    """
    error = fit.error

    def make() -> Masks:
        found, notes = known(e.model, fit.steps * fit.batch // 2, fit.pairs)
        keeps = [name == "kept" for name in error]
        latents = [firing(e, x.fit) for x in found]
        chosen = _learned(e, found, latents, keeps, fit)
        drawn = [
            [_drawn(e, x, own, mask) for x, own, mask in zip(found, latents, part, strict=True)] for part in chosen
        ]
        made = []
        for kind in (chosen, drawn):
            right = {
                f"error={name}": [
                    _scored(e, x, own[mask], keep) for x, own, mask in zip(found, latents, part, strict=True)
                ]
                for name, keep, part in zip(error, keeps, kind, strict=True)
            }
            made.append(sums(e.model, found, right, notes))
        return Masks(*made)

    return e.once(("ravel", fit), make)


def _learned(
    e: EntityCodes, found: Sequence[Exchange], latents: Sequence[Tensor], keeps: Sequence[bool], fit: Fit
) -> list[list[Tensor]]:
    """The mask of every attribute by treatment of the error, all learned side by side."""
    import torch

    jobs = [
        Job(Latents(e, own, keep), x.fit, torch.zeros(len(own)))
        for keep in keeps
        for x, own in zip(found, latents, strict=True)
    ]
    masks = learn_masks(jobs, e.model, batch=fit.batch, rate=fit.rate)
    return [masks[i : i + len(found)] for i in range(0, len(masks), len(found))]


def _drawn(e: EntityCodes, x: Exchange, latents: Tensor, mask: Tensor) -> Tensor:
    """As many of an attribute's latents as were learned, drawn at random."""
    import torch

    from saebench.probes import generator

    drawn = generator(e.model.prompts.seed, "ravel", x.name, "random mask").permutation(len(latents))[: int(mask.sum())]
    return torch.from_numpy(drawn).to(latents.device)


def _scored(e: EntityCodes, x: Exchange, latents: Tensor, keep_error: bool) -> Tensor:
    """Which scoring pairs come out right when some latents are exchanged."""
    import torch

    edit = Latents(e, latents, keep_error)
    return score(edit, torch.ones(len(latents), device=latents.device), e.model, x.test)


def known(model: EntityModel, fit: int, test: int) -> tuple[list[Exchange], tuple[str, ...]]:
    """The attributes that the model knows; shared by all SAEs at a hook."""
    found, notes = model.once(("ravel", "pairs", fit, test), lambda: exchanges(model, fit, test))
    if not found:
        right = model.right.double().mean().item() if len(model.right) else 0.0
        raise NotApplicable(
            f"No attribute can be exchanged; the model completes {right:.1%} of {len(model.right)} prompts with the "
            f"right value: {'; '.join(notes)}."
        )
    return found, notes


def start(model: EntityModel, name: str, k: int) -> Tensor:
    """Where the search for an attribute's subspace begins: a random `[d_out, k]`."""
    import torch

    from saebench.probes import generator

    drawn = generator(model.prompts.seed, "ravel", name, "skyline").standard_normal((model.y.shape[1], k))
    return torch.from_numpy(drawn).float()


def sums(
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
