"""What passes over one corpus share whatever SAE they score: the model's part, kept for the next pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from saebench.engine.losses import CleanPredictions

if TYPE_CHECKING:
    from saebench.engine.accumulate import Fields
    from saebench.engine.batches import Batch
    from saebench.models import Run, Subject


class Prefix(NamedTuple):
    """A batch, the model's run up to its hooks and its clean predictions."""

    batch: Batch
    run: Run
    clean: CleanPredictions | None


@dataclass
class Kept:
    """The model's part of a pass over a corpus, computed once for all SAEs that follow.

    Activations at the hooks and final states are kept for every batch; clean log-probabilities, which are the
    larger part, for as many batches as `room` holds. The others are taken again from the final states.

    Attributes:
        room: Bytes for clean log-probabilities.
        prefixes: By the batch's place in the pass, its hooks, and whether final states were wanted.
        shared: Sums that do not depend on the SAE, by output hook.
    """

    room: int = 2**30
    prefixes: dict[tuple[int, int, tuple[str, ...], bool], Prefix] = field(default_factory=dict)
    shared: dict[str, Fields] = field(default_factory=dict)

    def prefix(self, place: tuple[int, int], hooks: Sequence[str], *, final: bool) -> Prefix | None:
        """What is kept of a batch."""
        return self.prefixes.get((*place, tuple(hooks), final))

    def keep(self, place: tuple[int, int], hooks: Sequence[str], prefix: Prefix, model: Subject) -> None:
        """Keep a batch for the next pass."""
        if prefix.clean is not None:
            size = 8 * len(prefix.batch.targets) * model.vocab_size  # log p and p, float32
            if size <= self.room and prefix.clean.keeps:
                self.room -= size
            else:
                prefix.clean.forget()
        key = (*place, tuple(hooks), prefix.run.final is not None)
        self.prefixes[key] = prefix._replace(run=replace(prefix.run, final=None))
