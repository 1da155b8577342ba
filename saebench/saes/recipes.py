"""Baselines and nulls by reference; those that need activations become coders when given them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.coder import Coder
from saebench.saes.protocol import Role

FITTED = {"baseline": ("identity", "pca"), "null": ("random",)}
"""Kinds that are fitted to activations."""

DERIVED = ("untrained", "shuffled")
"""Nulls made of a loaded SAE: null:untrained@REF, null:shuffled@REF."""


@dataclass(frozen=True)
class Recipe:
    """A baseline or null that still needs activations.

    Attributes:
        ref: The reference, such as `baseline:pca-32`.
        role: baseline or null.
        kind: identity, pca or random.
        k: Components or latents kept, None for the kind's own default.
        hook: Hook, if it was named; else `fit` is told.
        name: Unique label.
        seed: Seed of what is drawn.
    """

    ref: str
    role: Role
    kind: str
    k: int | None
    hook: str
    name: str
    seed: int = 0

    def fit(self, activations: Tensor | Iterable[Tensor], *, hook: str = "", width: int | None = None) -> Coder:
        """The coder fitted to activations `[n, d]`, given whole or in batches.

        Args:
            activations: Activations of the hook.
            hook: Hook they come from, if the reference did not name one.
            width: Number of latents of a random dictionary, eight for each channel if None.
        """
        return self._fit(activations, self.hook or hook, width).replace(name=self.name, ref=self.ref)

    def about(self) -> str:
        """What it is, in words."""
        from saebench.saes import baselines, nulls

        made = {"identity": baselines.identity, "pca": baselines.pca, "random": nulls.random_dictionary}[self.kind]
        what = (inspect.getdoc(made) or "").partition("\n\nArgs:")[0]
        return f"{self.name}\n\n{what}\n\nA {self.role}, made of a model's activations when a run starts."

    def _fit(self, activations: Tensor | Iterable[Tensor], hook: str, width: int | None) -> Coder:
        from saebench.saes import baselines, nulls

        if self.kind == "identity":
            first = activations if isinstance(activations, Tensor) else next(iter(activations))
            return baselines.identity(first.shape[-1], hook=hook)
        if self.kind == "pca":
            return baselines.pca(activations, self.k, hook=hook)
        return nulls.random_dictionary(activations, self.k or 32, width=width, seed=self.seed, hook=hook)


def parse(ref: str, *, hook: str = "", name: str | None = None, seed: int = 0) -> Recipe:
    """The recipe of `baseline:identity`, `baseline:pca[-K]` or `null:random[-K]`.

    Raises:
        UserError: Another kind, or a K that is no positive whole number.
    """
    role, _, rest = ref.partition(":")
    match = re.fullmatch(r"([a-z]+)(?:-(.+))?", rest)
    kind, k = match.groups() if match else (rest, None)
    if kind not in FITTED[role]:
        raise unknown(role, rest, [*FITTED[role], *(f"{d}@REF" for d in DERIVED if role == "null")])
    if k is not None and (kind == "identity" or not k.isdecimal() or int(k) < 1):
        raise UserError(f"{ref}: write {role}:{kind}" + ("." if kind == "identity" else " or with -K, K from 1."))
    kept = int(k) if k else None
    return Recipe(ref, "baseline" if role == "baseline" else "null", kind, kept, hook, name or rest, seed)
