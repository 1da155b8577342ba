"""Token labels of the batches of a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from saebench.data.token_labels import labeller, totals
from saebench.inputs import TokenLabels

if TYPE_CHECKING:
    from saebench.data.corpus import Corpus
    from saebench.engine.batches import Batch
    from saebench.models import Subject


class Labels:
    """What is true of the tokens of a corpus; no labels where its text has no strings."""

    def __init__(self, model: Subject, corpus: Corpus) -> None:
        self._starts = torch.from_numpy(corpus.starts)
        self._labeller = labeller(corpus, model)
        self._totals = totals(self._labeller, corpus) if self._labeller else ()

    def of(self, batch: Batch) -> TokenLabels:
        """The labels of a batch's valid tokens."""
        row, position = (index.cpu() for index in batch.where)
        if self._labeller is None:
            return TokenLabels((), torch.zeros(len(row), 0, dtype=torch.bool), (), "")
        ids = batch.tokens.cpu()[row, position]
        places = self._starts[torch.from_numpy(batch.rows)[row]] + position
        holds = self._labeller.holds(places.numpy(), ids.numpy(), position.numpy())
        return TokenLabels(
            self._labeller.names, torch.from_numpy(holds).to(batch.tokens.device), self._totals, self._labeller.source
        )
