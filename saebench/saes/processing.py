"""SAEs trained on a HookedTransformer whose weights TransformerLens had processed: what that did to the activations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from saebench.errors import UserError

WRITTEN = (
    "hook_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out",
)  # fmt: skip
"""Hooks that hold what weights write to the residual stream."""

NOTE = (
    "each token's mean over the width is taken away and given back (center_writing_weights), so it counts as explained"
)
"""What a row says of a SAE that was trained on centred weights."""


def with_processing(metadata: Mapping[str, Any], normalise: Any, where: str) -> Any:
    """What is done to each token of the unprocessed model, so that a SAE sees what it was trained on.

    `center_writing_weights` takes the mean over the width from all that is written to the residual stream, which a
    model with LayerNorm never reads: the same as taking each token's own mean.

    Args:
        metadata: The SAE's, with TransformerLens' options under `model_from_pretrained_kwargs`.
        normalise: What the SAE itself does to each token.
        where: What to call it in an error.

    Raises:
        UserError: Processing that the activations of the unprocessed model cannot follow.
    """
    options = metadata.get("model_from_pretrained_kwargs") or {}
    hook_in = str(metadata.get("hook_name") or "")
    hook_out = str(metadata.get("hook_name_out") or hook_in)
    kinds = {re.sub(r"^blocks\.\d+\.", "", hook) for hook in (hook_in, hook_out)}
    if options.get("fold_value_biases") and "attn.hook_z" in kinds:
        raise _refused(where, "fold_value_biases, which moves the biases of the values out of attn.hook_z")
    for branch, normalised in (("mlp.hook_in", "ln2.hook_normalized"), ("attn.hook_in", "ln1.hook_normalized")):
        if options.get("fold_ln") and branch in kinds:
            raise _refused(where, f"fold_ln, which moves the norm's weight out of {branch}: name {normalised}")
    if not options.get("center_writing_weights") or not kinds & set(WRITTEN) or normalise == "layer_norm":
        return normalise
    if hook_in != hook_out or normalise != "none":
        also = "transcodes" if hook_in != hook_out else f"has normalize_activations {normalise!r}"
        raise _refused(where, f"center_writing_weights, and also {also}, which is not known here together")
    return "zero_mean"


def _refused(where: str, what: str) -> UserError:
    return UserError(f"{where}: it was trained on a HookedTransformer with {what}.")
