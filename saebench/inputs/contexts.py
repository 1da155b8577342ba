"""Contexts of latents: windows in which they fire or are silent, for explaining and for scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, get_type_hints

from saebench.errors import UserError
from saebench.judges.protocol import Context
from saebench.metric import Amount, Count
from saebench.signature import Within, checked

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Sampling:
    """Which latents are looked at, and how many windows of each.

    Documents are split into two halves by a hash: an explainer is shown windows of one, and scored on the other.

    Attributes:
        latents: Latents to draw of those that fire, in equal shares from ten groups by density; 0 for all.
        dead: Firing tokens below which a latent is not drawn.
        window: Most tokens in a window; a row is cut into equal runs that are no longer.
        top: Windows with the highest activation that are shown.
        weighted: Windows shown that are drawn by the square of their activation.
        spread: Windows shown that are drawn evenly from all in which it fires.
        silent: Windows shown in which it is silent, half of them near misses.
        stratum: Windows for scoring of each stratum: top, mid and low by activation, and near misses.
        random: Windows for scoring that are drawn at random from those in which it is silent.
        least: Windows of either kind, firing and silent, that each half must have for a score.
        near: Nearest latents by decoder cosine whose windows are near misses.
        pool: Windows of each half from which silent ones are drawn at random.
    """

    latents: Amount = 500
    dead: Count = 15
    window: Annotated[int, Within(2)] = 32
    top: Amount = 10
    weighted: Amount = 5
    spread: Amount = 10
    silent: Amount = 10
    stratum: Amount = 5
    random: Amount = 10
    least: Count = 4
    near: Amount = 4
    pool: Count = 512

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            checked(getattr(self, field.name), kinds[field.name], f"Setting {field.name!r}", field.default)
        if not self.top + self.weighted + self.spread:
            raise UserError("top, weighted and spread are all 0: an explainer must be shown some contexts.")


@dataclass(frozen=True)
class Kept:
    """Windows of one latent from one half, with its activation at each token.

    Attributes:
        windows: Numbers of the windows in the corpus, the best first.
        acts: Activations, `[windows, size]`; zeros beyond a window's end.
        stratum: What they are called as contexts.
        ids: Gives a window's token ids.
        context: Makes a context of a window, activations and stratum.
    """

    windows: np.ndarray
    acts: np.ndarray
    stratum: str
    ids: Callable[[int], np.ndarray]
    context: Callable[[int, np.ndarray, str], Context]

    def __len__(self) -> int:
        return len(self.windows)

    def pick(self, places: np.ndarray | slice, stratum: str | None = None) -> Kept:
        """Some of the windows, under another name if one is given."""
        return Kept(self.windows[places], self.acts[places], stratum or self.stratum, self.ids, self.context)

    def without(self, *others: Kept) -> Kept:
        """Those that are in none of the others."""
        taken = {int(w) for other in others for w in other.windows}
        return self.pick([i for i, w in enumerate(self.windows) if int(w) not in taken])  # type: ignore[arg-type]

    @cached_property
    def contexts(self) -> tuple[Context, ...]:
        """The windows as contexts."""
        return tuple(self.context(int(w), a, self.stratum) for w, a in zip(self.windows, self.acts, strict=True))

    @cached_property
    def strength(self) -> np.ndarray:
        """Largest absolute activation in each window."""
        import numpy as np

        return np.abs(self.acts).max(1) if len(self.acts) else np.zeros(0)

    def peaks(self, before: int) -> list[tuple[int, ...]]:
        """Token ids at each window's strongest token, and at the ones before it, -1 where there is none."""
        import numpy as np

        found = []
        for window, acts in zip(self.windows, self.acts, strict=True):
            ids, at = self.ids(int(window)), int(np.abs(acts).argmax())
            found.append(tuple(int(ids[at - back]) if at >= back else -1 for back in range(before + 1)))
        return found


@dataclass(frozen=True)
class Half:
    """Windows of one latent from one half of the documents.

    Attributes:
        top: Those with the highest activation, the highest first.
        weighted: Drawn by the square of their activation.
        spread: Drawn evenly from all in which the latent fires.
        near_miss: In which a similar latent fires and this one does not.
        drawn: Gives those of `pool`, which are too many to be kept for every latent.
    """

    top: Kept
    weighted: Kept
    spread: Kept
    near_miss: Kept
    drawn: Callable[[], Kept]

    @property
    def pool(self) -> Kept:
        """Windows drawn evenly from the whole half, whether the latent fires or not."""
        return self.drawn()

    @property
    def random(self) -> Kept:
        """Windows of the pool in which the latent is silent."""
        pool = self.drawn()
        return pool.pick(pool.strength == 0)


@dataclass(frozen=True)
class LatentContexts:
    """What was collected of one latent.

    Attributes:
        latent: Its number.
        density: Share of tokens on which it fires.
        firing: Windows of the shown and of the held-out half in which it fires.
        shown: Windows for explaining.
        held_out: Windows for scoring.
    """

    latent: int
    density: float
    firing: tuple[int, int]
    shown: Half
    held_out: Half
