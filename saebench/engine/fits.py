"""What is fitted to text that is not scored, from one pass over it: error models, and codes to choose by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from saebench.engine.accumulate import out_of_memory
from saebench.engine.batches import Batcher
from saebench.engine.encoding import encoded
from saebench.engine.error_fit import ErrorFit, Moments
from saebench.engine.labels import Labels
from saebench.inputs import OtherCodes, TokenLabels
from saebench.saes import Codes

if TYPE_CHECKING:
    from saebench.data.corpus import Corpus
    from saebench.models import Subject
    from saebench.saes import SparseCoder

MOST_ENTRIES = 2**24
"""Most codes that are kept of one SAE; one that fires more often keeps fewer tokens."""


@dataclass
class Fit:
    """What is fitted of one SAE.

    Attributes:
        errors: Whether its error is fitted.
        codes: Whether its codes are kept.
        labels: Whether they are kept with the labels of their tokens.
    """

    sae: SparseCoder
    errors: bool
    codes: bool
    labels: bool = False
    failure: str = ""
    error_fit: ErrorFit | None = None
    others: OtherCodes | None = None
    _kept: list[Codes] = field(default_factory=list)
    _holds: list[TokenLabels] = field(default_factory=list)
    _entries: int = 0
    _moments: Moments | None = None

    def add(self, codes: Codes, x: torch.Tensor, y: torch.Tensor, labels: TokenLabels | None) -> None:
        """Take the codes and the activations of a batch's valid tokens."""
        if self.errors:
            self._moments = self._moments or Moments.of(self.sae, x.device)
            self._moments.add(x.float(), y.float() - self.sae.decode(codes).float())
        if self.codes and (not self._kept or self._entries + len(codes.values) <= MOST_ENTRIES):
            self._kept.append(Codes(codes.offsets, codes.latents, codes.values, codes.width))
            self._entries += len(codes.values)
            if self.labels and labels is not None:
                self._holds.append(labels)

    def close(self, joined: dict[tuple[int, ...], TokenLabels]) -> None:
        """Solve for what was fitted and join what was kept; SAEs that kept the same tokens share their labels."""
        if self._moments is not None:
            self.error_fit = self._moments.solved()
        if self._kept:
            same = tuple(map(id, self._holds))
            if self._holds and same not in joined:
                first = self._holds[0]
                holds = torch.cat([part.holds for part in self._holds])
                joined[same] = TokenLabels(first.names, holds, first.total, first.source)
            self.others = OtherCodes(Codes.cat(self._kept), joined.get(same))
        self._kept, self._holds, self._moments = [], [], None


def fit(model: Subject, corpus: Corpus, fits: list[Fit], budget: int) -> None:
    """Fill the fits of several SAEs from one forward of the model for each batch; one that fails says why."""
    hooks = sorted({hook for part in fits for hook in (part.sae.hook_in, part.sae.hook_out)})
    labels = Labels(model, corpus) if any(part.labels for part in fits) else None
    with torch.no_grad():
        for batch in Batcher(corpus, model.device).all(budget):
            run = model.forward(batch.tokens, hooks, final=False)
            known = labels.of(batch) if labels else None
            for part in fits:
                if part.failure:
                    continue
                sae = part.sae
                try:
                    codes = encoded(sae, run.acts[sae.hook_in], batch.valid)
                    part.add(codes, run.acts[sae.hook_in][batch.valid], run.acts[sae.hook_out][batch.valid], known)
                except (RuntimeError, ValueError, TypeError) as error:
                    if out_of_memory(error):
                        raise
                    part.failure = f"the SAE failed on a batch: {type(error).__name__}: {error}"
        joined: dict[tuple[int, ...], TokenLabels] = {}
        for part in fits:
            if not part.failure:
                part.close(joined)
