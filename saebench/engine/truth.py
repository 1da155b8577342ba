"""The true features of a model where they are known, beside each SAE and on each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from saebench.inputs import TrueDictionary, TrueFeatures
from saebench.inputs.truth import UNKNOWN
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from saebench.engine.batches import Batch
    from saebench.models import Subject
    from saebench.saes import SparseCoder


def true_dictionary(model: Subject, sae: SparseCoder) -> TrueDictionary | NotApplicable:
    """The true features beside a SAE's decoder, or why there are none."""
    truth = model.truth
    if truth is None:
        return NotApplicable(UNKNOWN)
    if sae.d_out != truth.recipe.d:
        return NotApplicable(f"the SAE writes {sae.d_out} dimensions, the true features have {truth.recipe.d}")
    return TrueDictionary(sae, truth.directions, truth.parent, truth.partner)


def firing(model: Subject, batch: Batch) -> torch.Tensor | None:
    """Which true features fire at a batch's valid tokens, `[tokens, n]` bool; None where they are not known."""
    if model.truth is None:
        return None
    row, position = batch.where
    drawn = model.truth.draw(batch.tokens[row, position].cpu().numpy())
    return torch.from_numpy(drawn.coefficients != 0).to(batch.tokens.device)


def true_features(known: TrueDictionary | NotApplicable, holds: torch.Tensor | None) -> TrueFeatures | NotApplicable:
    """What a metric is given on a batch."""
    if isinstance(known, NotApplicable) or holds is None:
        return known if isinstance(known, NotApplicable) else NotApplicable(UNKNOWN)
    return TrueFeatures(holds, known)
