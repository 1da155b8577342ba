"""Checkpoints that are scored at several hooks of a model: multi-layer SAEs, crosscoders, cross-layer transcoders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from saebench.errors import UserError, unknown
from saebench.saes.coder import Coder


@dataclass(frozen=True)
class Layered:
    """A checkpoint from which a coder is made for each hook that it reconstructs.

    Attributes:
        hooks: Hooks that it reconstructs, in the order of the model.
        make: The coder at one of them.
        anywhere: One dictionary serves all hooks, so that it can be scored at any other as well, or `IN -> OUT`.
        name: Label; that of a coder names its hook too.
        ref: The reference it was loaded from.
        metadata: Declared facts, for every coder.
    """

    hooks: tuple[str, ...]
    make: Callable[[str], Coder]
    anywhere: bool = False
    name: str = ""
    ref: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def at(self, hook: str | None) -> Coder:
        """The coder that reconstructs a hook, named `H` or `IN -> H`.

        Raises:
            UserError: No hook is named, or one that it does not reconstruct.
        """
        if not hook:
            raise UserError(
                f"SAE {self.name!r} is scored at each of {len(self.hooks)} hooks. Pass one of them, such as "
                f"hook={self.hooks[0]!r} (or at:{self.hooks[0]}@REF); there are: {', '.join(self.hooks)}."
            )
        out = hook.rpartition("->")[2].strip()
        if out not in self.hooks and not self.anywhere:
            known = unknown(f"hook of SAE {self.name!r}:", out, self.hooks)
            raise UserError(f"{known} One of several hooks is named at:HOOK@REF.")
        coder = self.make(out if out in self.hooks else hook)
        return coder.replace(
            name=f"{self.name} at {out}", ref=self.ref, metadata={**coder.metadata, **self.metadata},
            identity=coder.identity,
        )  # fmt: skip

    def all(self) -> list[Coder]:
        """The coder at each of its hooks."""
        return [self.at(hook) for hook in self.hooks]

    def replace(self, **changes: Any) -> Layered:
        """A twin with some labels changed."""
        return dataclasses.replace(self, **changes)


def many(coder: Coder, places: list[str]) -> Layered:
    """One dictionary that was trained on the activations of several hooks together, as MLSAEs are (Lawson et al. 2025).

    Args:
        coder: The dictionary, at any hook.
        places: Hooks that it was trained on, `IN -> OUT` for a transcoder.
    """
    ends = {out: into for into, out in map(parted, places)}

    def make(hook: str) -> Coder:
        into, out = (ends[hook], hook) if hook in ends else parted(hook)
        return coder.replace(hook_in=into, hook_out=out)

    return Layered(tuple(ends), make, anywhere=True)


def parted(hook: str) -> tuple[str, str]:
    """Input and output of `IN -> OUT`, or of a hook that is both."""
    into, arrow, out = (part.strip() for part in hook.partition("->"))
    return into, out if arrow else into
