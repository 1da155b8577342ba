"""Scores of the masks that RAVEL learns, added up by scoring entity so that averages stay ratios of sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saebench.metric import NotApplicable, Sums

from ._ravel_masks import Latents, firing, learn_mask, score
from ._ravel_pairs import Exchange, exchanges, named

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.inputs import EntityCodes, EntityModel

ERRORS = ("dropped", "kept")


@dataclass(frozen=True)
class Search:
    """How what is exchanged is learned: settings of every metric of the family.

    Attributes:
        pairs: Most scored pairs of each kind for an attribute.
        steps: Steps of the optimiser for a mask or subspace.
        batch: Pairs a step, half of them cause pairs.
        rate: Step size of Adam.
    """

    pairs: int = 64
    steps: int = 40
    batch: int = 24
    rate: float = 0.1


@dataclass(frozen=True)
class Fit(Search):
    """The same for masks over latents.

    Attributes:
        error: What becomes of the SAE's error: `kept`, `dropped` or both.
    """

    error: tuple[str, ...] = ERRORS


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
        ValueError: Another treatment of the error than `dropped` and `kept`.
    """
    error = (fit.error,) if isinstance(fit.error, str) else tuple(fit.error)
    bad = [name for name in error if name not in ERRORS]
    if bad or not error:
        raise ValueError(f"error is {', '.join(bad) or 'empty'}; it is kept, dropped or both: error: [dropped, kept]")

    def make() -> Masks:
        found, notes = known(e.model, fit.steps * fit.batch // 2, fit.pairs)
        learned: dict[str, list[Tensor]] = {}
        random: dict[str, list[Tensor]] = {}
        for name in error:
            both = [_exchanged(e, x, name == "kept", fit) for x in found]
            learned[f"error={name}"], random[f"error={name}"] = ([part[i] for part in both] for i in (0, 1))
        return Masks(sums(e.model, found, learned, notes), sums(e.model, found, random, notes))

    return e.once(("ravel", fit), make)


def _exchanged(e: EntityCodes, x: Exchange, keep_error: bool, fit: Fit) -> tuple[Tensor, Tensor]:
    """Which scoring pairs come out right with the learned latents, and with as many at random."""
    import torch

    latents = firing(e, x.fit)
    mask = learn_mask(Latents(e, latents, keep_error), len(latents), e.model, x.fit, batch=fit.batch, rate=fit.rate)
    drawn = named(e.model.prompts.seed, "ravel", x.name, "random mask").permutation(len(latents))[: int(mask.sum())]
    results = []
    for chosen in (latents[mask], latents[torch.from_numpy(drawn).to(latents.device)]):
        edit = Latents(e, chosen, keep_error)
        results.append(score(edit, torch.ones(len(chosen), device=latents.device), e.model, x.test))
    return results[0], results[1]


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

    drawn = named(model.prompts.seed, "ravel", name, "skyline").standard_normal((model.y.shape[1], k))
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
