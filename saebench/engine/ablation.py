"""Zero and mean ablation of a hook: once for a (model, hook, corpus), whatever the number of SAEs.

When the hook is the residual stream and every row begins with the same special token (or with none) and
holds no other, then replacing all valid tokens leaves nothing of the text: the ablated logits depend on
the position alone. One resumed forward of one row gives them for the whole corpus, and the mean, which is
known only at the end of the pass, needs no second pass. Elsewhere the ablated rows are run one by one, and
the mean is taken in a pass of its own that stops at the hook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.engine.batches import Batch, Batcher
from saebench.engine.losses import KEEP, CleanPredictions, chunk_rows

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.models import Run, Subject

_AGREES = 1e-2
"""Largest gap in log-probability by which the shortcut may differ from a real ablated row (half precision)."""


class Ablation:
    """The ablated losses at one output hook."""

    def __init__(self, model: Subject, corpus: Corpus, hook: str, batcher: Batcher, budget: int) -> None:
        self._model, self._corpus, self._hook = model, corpus, hook
        self._mean: Tensor | None = None
        self._zero_table: Tensor | None = None
        probe = _probe_row(model, corpus) if _same_start(corpus) else None
        if probe is not None and model.site(hook).is_residual and len(probe) * model.vocab_size <= KEEP:
            self._probe = model.forward(probe[None], [hook])
            self._content = torch.ones(len(probe), dtype=torch.bool, device=model.device)
            self._content[0] = int(probe[0]) not in corpus.special
            table = self._table(torch.zeros_like(self._probe.acts[hook][0, 0]))
            if self._holds(table, batcher):
                self._zero_table = table
        if self._zero_table is None:
            self._mean = _mean(model, hook, batcher, budget)

    @property
    def shortcut(self) -> bool:
        """Whether the ablated logits were found to depend on the position alone."""
        return self._zero_table is not None

    def observe(self, batch: Batch, run: Run, clean: CleanPredictions) -> dict[str, Tensor]:
        """This batch's ablated terms on valid tokens, `[tokens]` each; those of the shortcut come at the end."""
        predicting = batch.predicting
        if self._zero_table is not None:
            kl = torch.zeros(len(predicting), dtype=torch.float64, device=predicting.device)
            kl[predicting] = clean.divergence_from(self._zero_table).double()
            return {"kl_zero": kl}
        assert self._mean is not None
        zero = clean.against(self._replaced(batch, run, torch.zeros_like(self._mean)))
        mean = clean.against(self._replaced(batch, run, self._mean))
        return {"ce_zero": zero.ce, "kl_zero": zero.kl, "ce_mean": mean.ce}

    def closing(self, mean: Tensor) -> dict[str, np.ndarray]:
        """The terms that wait for the end of the pass, summed by block of documents.

        Args:
            mean: Mean activation at the hook over the corpus' valid tokens, `[d_out]`.
        """
        if self._zero_table is None:
            return {}
        tables = {"ce_zero": self._zero_table, "ce_mean": self._table(mean)}
        return {name: self._table_losses(table) for name, table in tables.items()}

    def _replaced(self, batch: Batch, run: Run, vector: Tensor) -> Tensor:
        value = run.acts[self._hook].clone()
        value[batch.valid] = vector.to(value.dtype)
        return self._model.resume(run, self._hook, value)

    def _table(self, vector: Tensor) -> Tensor:
        """Log-probabilities by position with every content position set to one vector, `[positions, vocabulary]`."""
        value = self._probe.acts[self._hook].clone()
        value[0, self._content] = vector.to(value.dtype)
        final = self._model.resume(self._probe, self._hook, value)[0]
        step = chunk_rows(self._model)
        return torch.cat([self._model.logits(part).float().log_softmax(-1) for part in final.split(step)])

    def _holds(self, table: Tensor, batcher: Batcher) -> bool:
        """Whether two real rows, ablated, give the table's log-probabilities."""
        batch = batcher.batch(0, min(2, self._corpus.rows))
        run = self._model.forward(batch.tokens, [self._hook])
        final = self._replaced(batch, run, torch.zeros_like(run.acts[self._hook][0, 0]))
        row, position = batch.where
        keep = slice(None, None, max(1, len(row) // 32))
        real = self._model.logits(final[row[keep], position[keep]]).float().log_softmax(-1)
        return bool((real - table[position[keep]]).abs().nan_to_num().max() < _AGREES)

    def _table_losses(self, table: Tensor) -> np.ndarray:
        """Cross-entropy of every prediction of the corpus under the table, summed by block."""
        corpus = self._corpus
        valid = corpus.valid
        row = np.repeat(np.arange(corpus.rows), corpus.lengths)
        predicts = valid[:-1] & valid[1:] & (row[:-1] == row[1:])
        where = predicts.nonzero()[0]
        position = torch.from_numpy(where - corpus.starts[row[where]]).to(table.device)
        target = torch.from_numpy(corpus.tokens[where + 1].astype(np.int64)).to(table.device)
        loss = -table[position, target].double().cpu().numpy()
        return np.bincount(corpus.blocks[row[where]], weights=loss, minlength=int(corpus.blocks[-1]) + 1)


def _same_start(corpus: Corpus) -> bool:
    """Whether no row holds a special token but one and the same at its start, or none at all."""
    special = ~corpus.valid
    firsts = corpus.starts[:-1]
    if not special.any():
        return True
    return bool(special[firsts].all() and special.sum() == corpus.rows and len(set(corpus.tokens[firsts])) == 1)


def _probe_row(model: Subject, corpus: Corpus) -> Tensor:
    """A longest row of the corpus."""
    ids = corpus.row(int(corpus.lengths.argmax())).astype(np.int64)
    return torch.from_numpy(ids).to(model.device)


def _mean(model: Subject, hook: str, batcher: Batcher, budget: int) -> Tensor:
    """Mean activation over the corpus' valid tokens, `[d_out]`, from a pass that stops at the hook."""
    total: Tensor | None = None
    count = 0
    for batch in batcher.all(budget):
        acts = model.forward(batch.tokens, [hook], final=False).acts[hook][batch.valid]
        part = acts.sum(0, dtype=torch.float64)
        total = part if total is None else total + part
        count += len(acts)
    assert total is not None
    return (total / count).float().to(model.device)
