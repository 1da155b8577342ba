"""Next-token losses: clean, with a SAE, and with the hook ablated, from as few forwards as they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from saebench.inputs import Losses

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.engine.batches import Batch
    from saebench.models import Subject

CHUNK = {"cpu": 2**21}
"""Most logits held at once by kind of device; on a CPU few enough that the allocator hands the same pages out again."""
_CHUNK = 2**25

KEEP = 2**28
"""Most clean log-probabilities kept for the SAEs of a batch; beyond it they are computed again."""


def chunk_rows(model: Subject) -> int:
    """Positions whose logits are taken at once."""
    return max(1, CHUNK.get(model.device.type, _CHUNK) // model.vocab_size)


class _Chunk(NamedTuple):
    part: slice
    log_p: Tensor
    p: Tensor
    top: Tensor
    impossible: bool


class CleanPredictions:
    """The clean model's predictions on a batch, and the comparison of other final states with them.

    Args:
        final: Final hidden states of the clean forward, `[rows, length, d_model]`.
    """

    def __init__(self, model: Subject, final: Tensor, batch: Batch) -> None:
        self._model = model
        self._batch = batch
        self._hidden = final[batch.predicts]
        self._step = chunk_rows(model)
        self._kept: list[_Chunk] | None = None
        if len(batch.targets) * model.vocab_size <= KEEP:
            self._kept = list(self._computed())

    @property
    def keeps(self) -> bool:
        """Whether the log-probabilities are kept, rather than taken again each time."""
        return self._kept is not None

    def forget(self) -> None:
        """Give the log-probabilities' memory back."""
        self._kept = None

    def clean(self) -> Tensor:
        """Clean cross-entropy of each prediction, nats, `[predictions]`."""
        targets = self._batch.targets
        return torch.cat([-_at(c.log_p, targets[c.part]) for c in self._chunks()])

    def against(self, final: Tensor) -> Losses:
        """Losses of the model with other final hidden states, `[rows, length, d_model]`."""
        hidden = final[self._batch.predicts]
        ce, kl, agrees = [], [], []
        for chunk in self._chunks():
            log_q = _log_probabilities(self._model, hidden[chunk.part])
            ce.append(-_at(log_q, self._batch.targets[chunk.part]))
            agrees.append(log_q.argmax(-1) == chunk.top)
            kl.append(_divergence(chunk, log_q))
        return Losses(
            predicts=self._batch.predicting.double(),
            ce=self._spread(torch.cat(ce)),
            kl=self._spread(torch.cat(kl)),
            agrees=self._spread(torch.cat(agrees)),
        )

    def divergence_from(self, table: Tensor) -> Tensor:
        """KL(clean || table row of the position) of each prediction, nats, `[predictions]`.

        Args:
            table: Log-probabilities by position, `[positions, vocabulary]`.
        """
        position = self._batch.predicts.nonzero(as_tuple=True)[1]
        return torch.cat([_divergence(c, table[position[c.part]]) for c in self._chunks()])

    def _chunks(self) -> Iterator[_Chunk]:
        return iter(self._kept) if self._kept is not None else self._computed()

    def _computed(self) -> Iterator[_Chunk]:
        for start in range(0, max(len(self._hidden), 1), self._step):  # one empty chunk where nothing is predicted
            part = slice(start, start + self._step)
            log_p = _log_probabilities(self._model, self._hidden[part])
            yield _Chunk(part, log_p, log_p.exp(), log_p.argmax(-1), bool(torch.isneginf(log_p).any()))

    def _spread(self, predictions: Tensor) -> Tensor:
        """From predictions to valid tokens, zero where a token predicts nothing that counts."""
        rows = predictions.new_zeros(len(self._batch.predicting), dtype=torch.float64)
        rows[self._batch.predicting] = predictions.double()
        return rows


def _log_probabilities(model: Subject, hidden: Tensor) -> Tensor:
    return model.logits(hidden).float().log_softmax(-1)


def _at(log_p: Tensor, targets: Tensor) -> Tensor:
    return log_p.gather(-1, targets[:, None]).squeeze(-1)


def _divergence(chunk: _Chunk, log_q: Tensor) -> Tensor:
    """sum_v p (log p - log q) of each row; a token that is impossible under p counts nothing."""
    gap = chunk.log_p - log_q
    if chunk.impossible:
        gap = gap.where(chunk.p > 0, gap.new_zeros(()))
    return torch.linalg.vecdot(chunk.p, gap)
