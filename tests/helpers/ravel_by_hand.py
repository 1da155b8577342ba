"""A model that states attributes of entities, made by hand, and RAVEL's interventions in slow loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from saebench.data.facts import EntityPrompts, EntityType
from saebench.inputs import EntityCodes, EntityModel
from saebench.saes import SparseCoder

KINDS = {"city": {"country": 4, "language": 3}, "beast": {"class": 3, "diet": 2, "habitat": 2}}
SPARE, TEMPLATES, COPIES = 4, 2, 3
VALUES = [f"{a} {i}" for kind in KINDS.values() for a, n in kind.items() for i in range(n)]
WIDTH = len(VALUES) + SPARE
FIRST_TOKEN = 3


class Stating(torch.nn.Module):
    """Reads the asked attribute's values off orthogonal directions of the entity's activation.

    Args:
        deaf: Attributes that are answered from the prompt whatever the activation is.
    """

    at_once = 100

    def __init__(self, prompts: EntityPrompts, directions: Tensor, deaf: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.directions = torch.nn.Parameter(directions)
        ask = [asked(prompts, i) for i in range(len(prompts.rows))]
        self._asked = torch.tensor([[name.startswith(f"{a} ") for name in VALUES] for a in ask])
        self._deaf = torch.tensor([a in deaf for a in ask])
        self._own = torch.tensor([VALUES.index(truth(prompts, i)) for i in range(len(prompts.rows))])

    def first(self, prompt: Tensor, value: Tensor) -> Tensor:
        read = 8 * torch.tanh(2 * value @ self.directions.T)[:, : len(VALUES)]
        said = torch.where(self._deaf[prompt, None], 8.0 * torch.eye(len(VALUES))[self._own[prompt]], read)
        said = said.masked_fill(~self._asked[prompt], -8.0)
        return torch.cat([torch.full((len(prompt), FIRST_TOKEN), -8.0), said], dim=1)

    def completes(self, prompt: Tensor, value: Tensor, label: list[str]) -> Tensor:
        guess = self.first(prompt, value).argmax(-1)
        return guess == torch.tensor([FIRST_TOKEN + VALUES.index(name) for name in label])


def asked(p: EntityPrompts, prompt: int) -> str:
    """The attribute that a prompt asks for."""
    return list(p.types[p.type[prompt]].attributes)[p.attribute[prompt]]


def truth(p: EntityPrompts, prompt: int, attribute: str | None = None) -> str:
    """The value of a prompt's entity for an attribute, or for the one that is asked for."""
    return p.types[p.type[prompt]].attributes[attribute or asked(p, prompt)][p.entity[prompt]]


def toy_prompts(seed: int = 0) -> EntityPrompts:
    """Every combination of values as several entities, every third of them for scoring."""
    types, rows = [], []
    for number, (name, attributes) in enumerate(KINDS.items()):
        combinations = list(product(*(range(n) for n in attributes.values()))) * COPIES
        values = {a: tuple(f"{a} {c[i]}" for c in combinations) for i, a in enumerate(attributes)}
        scored = np.random.default_rng(5).permutation(len(combinations)) % 3 == 0
        types.append(EntityType(name, tuple(f"{name} {i}" for i in range(len(combinations))), values, scored))
        rows += [(number, e, a, t) for e in range(len(combinations)) for a in range(len(attributes)) for t in range(2)]
    table = np.array(rows)
    return EntityPrompts(
        types=tuple(types),
        rows=tuple(np.array([1, 2]) for _ in rows),
        type=table[:, 0],
        entity=table[:, 1],
        attribute=table[:, 2],
        position=np.ones(len(rows), dtype=np.int64),
        template=table[:, 3],
        labels={name: (FIRST_TOKEN + i,) for i, name in enumerate(VALUES)},
        boundary=np.ones(FIRST_TOKEN + len(VALUES), dtype=bool),
        seed=seed,
    )


def toy_directions() -> Tensor:
    """Orthonormal directions `[WIDTH, WIDTH]`, the first of them the values' in the order of VALUES."""
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))).Q


def toy_model(*, deaf: tuple[str, ...] = (), unknown: tuple[str, ...] = (), seed: int = 0) -> EntityModel:
    """The model on its prompts; what is `unknown` it completes wrongly."""
    p, directions = toy_prompts(seed), toy_directions()
    y = 0.05 * torch.randn(len(p.rows), WIDTH, generator=torch.Generator().manual_seed(2))
    for i in range(len(p.rows)):
        for attribute in p.types[p.type[i]].attributes:
            y[i] += directions[VALUES.index(truth(p, i, attribute))]
    right = torch.tensor([asked(p, i) not in unknown for i in range(len(p.rows))])
    return EntityModel(p, y, right, Stating(p, directions, deaf))


def entity_codes(model: EntityModel, sae: SparseCoder) -> EntityCodes:
    """The model with a SAE's codes of its entities."""
    codes = sae.encode(model.y)
    return EntityCodes(model, codes, sae.reconstruct(model.y), sae)


def exchanged_by_hand(e: EntityCodes, base: int, source: int, latents: dict[int, float], *, keep_error: bool) -> Tensor:
    """The activation of one pair: latent by latent, then the whole decoder on the dense codes."""
    mine, theirs = e.sae.encode(e.model.y[base][None]), e.sae.encode(e.model.y[source][None])
    codes, other = mine.dense(), theirs.dense()
    for latent, strength in latents.items():
        codes[0, latent] = (1 - strength) * codes[0, latent] + strength * other[0, latent]
    value = e.sae.decode(codes, ctx=mine.ctx)[0]
    return value + e.model.y[base] - e.sae.reconstruct(e.model.y[base][None])[0] if keep_error else value
