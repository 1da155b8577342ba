"""Activations with a known dictionary: sparse sums of true features, drawn by number, the same on every machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from saebench.data.draws import generator
from saebench.errors import UserError, unknown

SCHEME = "synthetic"
KINDS = ("flat", "hierarchical", "correlated", "organism")
CHUNK = 1024
"""Draws that are made together."""
ROOM = 2**25
"""Coefficients that are kept, for passes that read them again."""
VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """A dictionary and how its features fire.

    Attributes:
        kind: `flat` (independent), `hierarchical` (a child fires with its parent alone), `correlated` (pairs that
            fire together), `organism` (the published one: 16 dimensions, 32 features, 3 at a time, |N(0, 1)|).
        d: Dimensions of the activations.
        n: True features.
        l0: Features that fire on a draw, in the mean.
        k: Features that fire on every draw, exactly; 0 for as many as chance has it.
        zipf: Exponent by which the chance to fire falls with a feature's rank.
        mean: Mean of a coefficient before its absolute value is taken.
        spread: Its standard deviation.
        noise: Standard deviation of the noise in each dimension.
        children: Children of each parent.
        brood: Chance that a parent that fires has a child that fires, one of them.
        rho: Chance that a feature fires when its partner does.
        orthogonal: Orthogonal directions, for no more features than dimensions.
        samples: Draws there are.
        seed: Of the directions and the draws.
    """

    kind: str = "flat"
    d: int = 64
    n: int = 128
    l0: float = 4.0
    k: int = 0
    zipf: float = 0.5
    mean: float = 1.0
    spread: float = 0.25
    noise: float = 0.0
    children: int = 3
    brood: float = 0.75
    rho: float = 0.6
    orthogonal: int = 0
    samples: int = 2**18
    seed: int = 0

    @property
    def name(self) -> str:
        """Kind and every setting that is not the kind's own, as a reference."""
        own = PRESETS.get(self.kind, {})
        changed = [
            f"{f.name}={getattr(self, f.name):g}"
            for f in dataclasses.fields(self)
            if f.name != "kind" and getattr(self, f.name) != own.get(f.name, f.default)
        ]
        return f"{SCHEME}:{self.kind}" + (f"?{'&'.join(changed)}" if changed else "")


PRESETS: dict[str, dict[str, Any]] = {
    "organism": {"d": 16, "n": 32, "k": 3, "l0": 3.0, "zipf": 0.0, "mean": 0.0, "spread": 1.0}
}
"""What a kind sets otherwise than `Recipe` (organism: Song et al. 2025, section on the synthetic model organism)."""


def recipe(reference: str) -> Recipe:
    """The recipe of a reference such as `synthetic:hierarchical?d=64&n=256`.

    Raises:
        UserError: A kind or setting that does not exist, or one that is out of range.
    """
    kind, _, rest = reference.removeprefix(f"{SCHEME}:").partition("?")
    if kind not in KINDS:
        raise unknown("kind of synthetic data", kind, KINDS)
    known = {f.name: type(f.default) for f in dataclasses.fields(Recipe) if f.name != "kind"}
    given = dict(PRESETS.get(kind, {}))
    for key, text in parse_qsl(rest, keep_blank_values=True):
        if key not in known:
            raise unknown(f"setting of {reference!r}", key, known)
        try:
            given[key] = known[key](text)
        except ValueError as error:
            raise UserError(f"{reference!r}: {key} is {text!r}, which is no {known[key].__name__}.") from error
    return _checked(Recipe(kind=kind, **given), reference)


def _checked(made: Recipe, reference: str) -> Recipe:
    limits = {
        "d": (1, 2**16), "n": (1, 2**20), "l0": (1e-9, made.n), "k": (0, made.n), "zipf": (0, 10), "spread": (0, 1e6),
        "noise": (0, 1e6), "children": (1, made.n), "brood": (0, 1), "rho": (0, 1), "samples": (CHUNK, 2**31 - 1),
    }  # fmt: skip
    for key, (low, high) in limits.items():
        if not low <= getattr(made, key) <= high:
            raise UserError(f"{reference!r}: {key} is {getattr(made, key):g}; it lies between {low:g} and {high:g}.")
    if made.orthogonal and made.n > made.d:
        raise UserError(f"{reference!r}: {made.n} features cannot be orthogonal in {made.d} dimensions; lower n.")
    if made.k and made.kind not in ("flat", "organism"):
        raise UserError(f"{reference!r}: k features at a time are drawn for flat ones alone; give l0 instead.")
    return made


@dataclass(frozen=True)
class Draws:
    """A chunk of draws.

    Attributes:
        coefficients: Of every feature, 0 where it does not fire, `[CHUNK, n]` float32.
        activations: `[CHUNK, d]` float32.
    """

    coefficients: np.ndarray
    activations: np.ndarray


@dataclass
class Synthetic:
    """True features and the draws that are made of them.

    Attributes:
        recipe: What it is made by.
    """

    recipe: Recipe
    _chunks: dict[int, Draws] = field(default_factory=dict, repr=False)

    @cached_property
    def directions(self) -> np.ndarray:
        """Unit rows, `[n, d]` float32."""
        r = self.recipe
        rows = generator(SCHEME, VERSION, r.seed, "directions", r.d, r.n).standard_normal((r.n, r.d))
        if r.orthogonal:
            rows = np.linalg.qr(rows.T)[0].T
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    @cached_property
    def parent(self) -> np.ndarray:
        """Parent of each feature, -1 for none, `[n]`; parents come first, each with its children behind the last."""
        r = self.recipe
        found = np.full(r.n, -1)
        if r.kind == "hierarchical":
            roots = self.roots
            found[roots:] = (np.arange(r.n - roots) // r.children).clip(max=roots - 1)
        return found

    @property
    def roots(self) -> int:
        """Features without a parent."""
        r = self.recipe
        return -(-r.n // (1 + r.children)) if r.kind == "hierarchical" else r.n

    @cached_property
    def partner(self) -> np.ndarray:
        """The feature that each one is correlated with, -1 for none, `[n]`."""
        r = self.recipe
        if r.kind != "correlated":
            return np.full(r.n, -1)
        other = np.arange(r.n) ^ 1
        return np.where(other < r.n, other, -1)

    @cached_property
    def chance(self) -> np.ndarray:
        """Chance to fire of the features that depend on no parent, `[roots]`; both of a pair have the same."""
        r = self.recipe
        rank = np.arange(self.roots) // (2 if r.kind == "correlated" else 1)
        shape = (rank + 1.0) ** -r.zipf
        families = 1 + (r.brood if r.kind == "hierarchical" else 0)
        return np.minimum(shape * r.l0 / (shape.sum() * families), 0.5)

    def draw(self, numbers: np.ndarray) -> Draws:
        """The draws of some numbers, each from 0 to `samples` - 1."""
        numbers = np.asarray(numbers)
        coefficients = np.empty((len(numbers), self.recipe.n), np.float32)
        activations = np.empty((len(numbers), self.recipe.d), np.float32)
        for chunk in np.unique(numbers // CHUNK):
            here = numbers // CHUNK == chunk
            made = self._chunk(int(chunk))
            coefficients[here] = made.coefficients[numbers[here] % CHUNK]
            activations[here] = made.activations[numbers[here] % CHUNK]
        return Draws(coefficients, activations)

    def rows(self, context: int) -> Iterator[tuple[int, ...]]:
        """The numbers of all draws in order, `context` at a time."""
        for start in range(0, self.recipe.samples - context + 1, context):
            yield tuple(range(start, start + context))

    def _chunk(self, number: int) -> Draws:
        if number not in self._chunks:
            if (len(self._chunks) + 1) * CHUNK * self.recipe.n > ROOM and self._chunks:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[number] = self._made(number)
        return self._chunks[number]

    def _made(self, number: int) -> Draws:
        r = self.recipe
        rng = generator(SCHEME, VERSION, r.name, "chunk", number)
        size = np.abs(r.mean + r.spread * rng.standard_normal((CHUNK, r.n), dtype=np.float32))
        coefficients = size * self._firing(rng)
        activations = coefficients @ self.directions
        if r.noise:
            activations += r.noise * rng.standard_normal(activations.shape, dtype=np.float32)
        return Draws(coefficients, activations)

    def _firing(self, rng: np.random.Generator) -> np.ndarray:
        """Which features fire, `[CHUNK, n]` bool."""
        r = self.recipe
        luck = rng.random((CHUNK, r.n), dtype=np.float32)
        if r.k:
            fires = np.zeros((CHUNK, r.n), dtype=bool)
            np.put_along_axis(fires, luck.argpartition(r.k - 1, axis=1)[:, : r.k], True, axis=1)
            return fires
        if r.kind == "hierarchical":
            return self._families(luck)
        if r.kind == "correlated":
            return self._pairs(luck)
        return luck < self.chance

    def _families(self, luck: np.ndarray) -> np.ndarray:
        """A child fires with its parent alone, and no two children of one parent at once."""
        parents = luck[:, : self.roots] < self.chance
        order = np.arange(self.recipe.n - self.roots) - np.searchsorted(
            self.parent[self.roots :], self.parent[self.roots :]
        )
        own = luck[:, : self.roots] / self.chance  # even between 0 and 1 where the parent fires
        count = np.bincount(self.parent[self.roots :], minlength=self.roots).clip(min=1)
        chosen = np.floor(own / max(self.recipe.brood, 1e-9) * count)[:, self.parent[self.roots :]]
        return np.concatenate([parents, parents[:, self.parent[self.roots :]] & (chosen == order)], axis=1)

    def _pairs(self, luck: np.ndarray) -> np.ndarray:
        """The second of a pair fires with chance rho where the first does, and as often in all as the first."""
        fires = luck < self.chance
        seconds = np.arange(1, self.recipe.n, 2)
        p, rho = self.chance[seconds], max(self.recipe.rho, 0.0)
        other = p * (1 - rho) / (1 - p)
        fires[:, seconds] = luck[:, seconds] < np.where(fires[:, seconds - 1], rho, other)
        return fires
