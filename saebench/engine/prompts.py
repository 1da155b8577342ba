"""Prompts kept from the entity on, with what the model remembers of their beginnings, to be run again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from saebench.models import Run
from saebench.models.past import Past, joined

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.facts import EntityPrompts

CACHE_BYTES = 2**30
"""Most memory for what is kept of the prompts between calls."""


class Kept(NamedTuple):
    """All prompts from their entities on, and what lies before, each distinct beginning once."""

    run: Run
    past: Past
    beginning: Tensor


class Keep:
    """Collects what is kept of the prompts, batch by batch, until it is too much."""

    def __init__(self, prompts: EntityPrompts) -> None:
        p = prompts
        begun = [row[:at].tobytes() for row, at in zip(p.rows, p.position, strict=True)]
        _, first, which = np.unique(np.array(begun, dtype=object), return_index=True, return_inverse=True)
        self._order = {int(prompt): number for number, prompt in enumerate(first)}
        self._which, self._room, self._numbers = which, CACHE_BYTES, list[int]()
        self._at = torch.from_numpy(p.position)
        self._length = max(len(row) - int(at) for row, at in zip(p.rows, p.position, strict=True))
        self._runs, self._pasts = list[Run](), list[Past]()

    def add(self, run: Run, numbers: list[int]) -> bool:
        """Keep a run of some prompts; False when there is no room for it."""
        at = self._at[numbers].to(run.tokens.device)
        cut = run.after(at, self._length)
        new = [i for i, number in enumerate(numbers) if number in self._order]
        assert cut.past is not None
        kept = [cut.tokens, *cut.acts.values(), *cut.entering.values()]
        self._room -= sum(t.numel() * t.element_size() for t in kept) + len(new) * cut.past.row_bytes
        if self._room < 0:
            return False
        if new:
            self._pasts.append(cut.past.rows(torch.tensor(new, device=at.device)))
            self._numbers += [self._order[numbers[i]] for i in new]
        cut.past = None
        self._runs.append(cut)
        return True

    def joined(self) -> Kept:
        """All that was kept."""
        runs = self._runs
        acts, entering = (
            {key: torch.cat([getattr(run, name)[key] for run in runs]) for key in getattr(runs[0], name)}
            for name in ("acts", "entering")
        )
        row = torch.empty(len(self._numbers), dtype=torch.long)
        row[torch.tensor(self._numbers)] = torch.arange(len(self._numbers))
        run = Run(torch.cat([run.tokens for run in runs]), acts, None, entering)
        return Kept(run, joined(self._pasts), row[torch.from_numpy(self._which)].to(run.tokens.device))
