"""The slow path of ablation: decode each token with and without some latents, for coders of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from saebench.engine.batches import Batcher
from saebench.engine.encoding import encoded

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.models import Subject
    from saebench.saes import SparseCoder


class Ablate:
    """Runs and encodes the texts again, and decodes them once for each set of latents.

    Args:
        corpus: One document a text.
        budget: Tokens in a batch.
    """

    def __init__(self, model: Subject, corpus: Corpus, sae: SparseCoder, budget: int) -> None:
        self._model, self._corpus, self._sae, self._budget = model, corpus, sae, budget

    def __call__(self, sets: list[Tensor]) -> Tensor:
        """Shift of the mean of y of each text, `[sets, texts, d_out]` float64."""
        sae, model = self._sae, self._model
        texts = int(self._corpus.documents[-1]) + 1
        shift = torch.zeros(len(sets), texts, sae.d_out, dtype=torch.float64)
        count = torch.zeros(texts, dtype=torch.float64)
        with torch.no_grad():
            for batch in Batcher(self._corpus, model.device).all(self._budget):
                run = model.forward(batch.tokens, [sae.hook_in], final=False)
                codes = encoded(sae, run.acts[sae.hook_in], batch.valid)
                whole, owner = sae.decode(codes).double(), batch.document.cpu()
                count.index_add_(0, owner, torch.ones(len(owner), dtype=torch.float64))
                for place, latents in enumerate(sets):
                    part = sae.decode(codes.without(latents)).double() - whole
                    shift[place].index_add_(0, owner, part.cpu())
        return shift / count.clamp_min(1)[:, None]
