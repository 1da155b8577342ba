"""Pairs of prompts for interchange interventions, drawn by name, with fitting and scoring on different entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from saebench.inputs import EntityModel

FEWEST = 4
"""Prompts of an attribute that the model must complete on each side of the split, or it is left out."""
REACHED = 0.5
"""Share of cause pairs that exchanging the whole activation must turn, or the attribute is not at the entity."""
TRIED = 64


@dataclass(frozen=True)
class Pairs:
    """Interventions and what the model should go on with after them.

    Attributes:
        base: Prompt that is edited, `[n]`.
        source: Prompt whose entity's activation is put in, `[n]`.
        label: Value that should follow: the source's where the pair is a cause pair, else the base's own.
        cause: Whether the base asks for the attribute that is to be exchanged, `[n]` bool.
    """

    base: Tensor
    source: Tensor
    label: tuple[str, ...]
    cause: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Exchange:
    """One attribute to be exchanged without the others, with pairs for fitting and for scoring.

    Attributes:
        type: Entity type, as its place in the prompts' `types`.
        name: Such as `city/country`.
        fit: Pairs of fitting entities, a cause pair and an isolation pair in turn.
        test: Pairs of scoring entities.
    """

    type: int
    name: str
    fit: Pairs
    test: Pairs


def exchanges(model: EntityModel, fit: int, test: int) -> tuple[list[Exchange], tuple[str, ...]]:
    """The attributes that the model knows, with their pairs, and a sentence for each that it does not.

    Base and source are prompts that the unedited model completes with the right value, and are on the same side
    of the split over entities. They differ in the exchanged attribute A and in what the base asks for, so that
    doing nothing fails every cause pair and exchanging everything fails every isolation pair. An attribute that the
    exchange of the whole activation does not carry over (names of several tokens, a hook above the one where the
    model has read the entity) is left out too: there no dictionary could do it.

    Args:
        fit: Fitting pairs of each kind; repeated where there are fewer.
        test: Most scoring pairs of each kind.
    """
    found, notes = [], []
    for number, kind in enumerate(model.prompts.types):
        for place, attribute in enumerate(kind.attributes):
            side = _Side(model, number, place)
            fitting, scoring = side.pairs(False, fit), side.pairs(True, test)
            name = f"{kind.name}/{attribute}"
            if fitting is None or scoring is None:
                notes.append(f"{name} is left out: {side.known()}, too few for pairs on both sides of the split")
            elif (carried := _carried(model, fitting[0])) < REACHED:
                notes.append(
                    f"{name} is left out: exchanging the whole activation at the entity's last token makes the model "
                    f"state the other value in {carried:.0%} of the pairs, so that the attribute is not there"
                )
            else:
                found.append(Exchange(number, name, _in_turn(fitting, fit), _joined(*scoring)))
    return found, tuple(notes)


def _carried(model: EntityModel, cause: Pairs) -> float:
    """Share of cause pairs that come out right when the whole activation is exchanged."""
    n = min(TRIED, len(cause))
    right = model.completes(cause.base[:n], model.y[cause.source[:n]], list(cause.label[:n]))
    return right.double().mean().item()


class _Side:
    """Draws the pairs that exchange one attribute of one type."""

    def __init__(self, model: EntityModel, type: int, attribute: int) -> None:
        import numpy as np

        p = model.prompts
        self._prompts, self._type, self._attribute = p, type, attribute
        self._kind = p.types[type]
        self._values = [np.array(values) for values in self._kind.attributes.values()]
        self._right = (p.type == type) & model.right.cpu().numpy()
        self._test = np.zeros(len(p.type), dtype=bool)
        self._test[p.type == type] = np.asarray(self._kind.test)[p.entity[p.type == type]]

    def known(self) -> str:
        """How many of the attribute's prompts the model completes, in words."""
        asked = (self._prompts.type == self._type) & (self._prompts.attribute == self._attribute)
        right = asked & self._right
        share = right.sum() / max(1, asked.sum())
        return (
            f"the model completes {right.sum()} of {asked.sum()} prompts ({share:.1%}), "
            f"{(right & self._test).sum()} of them about entities for scoring"
        )

    def pairs(self, scoring: bool, n: int) -> tuple[Pairs, Pairs] | None:
        """At most n cause pairs and n isolation pairs of one side of the split; None where there are too few."""
        import numpy as np

        from saebench.probes import generator

        names = list(self._kind.attributes)
        ask = (self._kind.name, names[self._attribute], "test" if scoring else "fit")
        usable = self._right & (self._test == scoring)
        sources = np.flatnonzero(usable & (self._prompts.attribute == self._attribute))
        if len(sources) < FEWEST:
            return None
        others = [other for other in range(len(names)) if other != self._attribute]
        cause = self._draw(usable, sources, self._attribute, n, ask)
        isolation = [self._draw(usable, sources, other, -(-n // len(others)), ask) for other in others]
        mixed = generator(self._prompts.seed, "ravel", *ask, "order").permutation(np.concatenate(isolation))[:n]
        return (self._pairs(cause, True), self._pairs(mixed, False)) if len(cause) and len(mixed) else None

    def _draw(self, usable: np.ndarray, sources: np.ndarray, asked: int, n: int, ask: Sequence[str]) -> np.ndarray:
        """Base and source `[at most n, 2]`, no pair twice, the bases as equally often as can be."""
        import numpy as np

        from saebench.probes import generator

        p, exchanged, wanted = self._prompts, self._values[self._attribute], self._values[asked]
        rng = generator(p.seed, "ravel", *ask, list(self._kind.attributes)[asked])
        bases = rng.permutation(np.flatnonzero(usable & (p.attribute == asked)))[:n]
        each = -(-n // max(1, len(bases)))
        drawn = []
        for base, entity in zip(bases, p.entity[bases], strict=True):
            other = p.entity[sources]
            fine = sources[(exchanged[other] != exchanged[entity]) & (wanted[other] != wanted[entity])]
            chosen = rng.choice(fine, min(each, len(fine)), replace=False)
            drawn += [(turn, base, source) for turn, source in enumerate(chosen)]
        drawn.sort(key=lambda pair: pair[0])
        return np.array([pair[1:] for pair in drawn[:n]], dtype=np.int64).reshape(-1, 2)

    def _pairs(self, drawn: np.ndarray, cause: bool) -> Pairs:
        import torch

        p = self._prompts
        asks = drawn[:, 1] if cause else drawn[:, 0]
        label = tuple(str(self._values[a][e]) for a, e in zip(p.attribute[asks], p.entity[asks], strict=True))
        base, source = torch.from_numpy(drawn.T.copy())
        return Pairs(base, source, label, torch.full((len(label),), cause))


def _joined(first: Pairs, second: Pairs) -> Pairs:
    import torch

    base, source, cause = (torch.cat([getattr(x, k) for x in (first, second)]) for k in ("base", "source", "cause"))
    return Pairs(base, source, first.label + second.label, cause)


def _in_turn(parts: tuple[Pairs, Pairs], n: int) -> Pairs:
    """n cause pairs and n isolation pairs in turn, each repeated as often as needed."""
    import torch

    whole = _joined(*parts)
    cause = torch.arange(n) % len(parts[0])
    isolation = len(parts[0]) + torch.arange(n) % len(parts[1])
    order = torch.stack([cause, isolation], dim=1).reshape(-1)
    label = tuple(whole.label[i] for i in order.tolist())
    return Pairs(whole.base[order], whole.source[order], label, whole.cause[order])
