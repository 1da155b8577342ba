"""Codes of a batch's valid tokens, for coders of single tokens and of whole rows alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import Codes, SparseCoder


def encoded(sae: SparseCoder, acts: Tensor, valid: Tensor) -> Codes:
    """Codes of the valid tokens of a batch.

    A coder that needs the sequence sees rows as the model saw them, special tokens included; what pads them comes
    after everything that counts, and no earlier token can see it.

    Args:
        sae: The coder.
        acts: Activations at its input hook, `[rows, length, d_in]`.
        valid: Tokens that are wanted, `[rows, length]` bool.
    """
    if not sae.needs_sequence:
        return sae.encode(acts[valid])
    rows: Codes = cast("Any", sae).encode_rows(acts)
    return rows[valid.reshape(-1)]
