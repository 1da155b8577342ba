"""Multi-layer SAEs as their authors save them (Lawson et al. 2025): one dictionary for many residual streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.architectures import TopK
from saebench.saes.building import check_sizes, renamed
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.layered import Layered, many
from saebench.saes.saelens_config import whole

_NAMES = {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "pre_encoder_bias"}
_INSIDE = "autoencoder."
"""What stands before the names in a file that holds the language model too."""


def marks(checkpoint: Checkpoint) -> bool:
    """Whether there are two matrices and `pre_encoder_bias`, by themselves or beside their language model."""
    return checkpoint.has(*_NAMES.values()) or checkpoint.has(*(_INSIDE + name for name in _NAMES.values()))


def build(checkpoint: Checkpoint) -> Layered:
    """One coder for each layer: f = relu of the k largest of W (z - b), z standardised; y = f D + b, scaled back.

    z = (x - mean) / (std + 1e-5), unless `standardize` is off. With `lens`, layer l reads E_l z in place of z and
    writes D_l y: both are folded into that layer's weights.

    Raises:
        UserError: No configuration, k or layers; sizes that disagree.
    """
    told, where = checkpoint.configs.get("config.json", {}), checkpoint.where
    layers = told.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, int) for layer in layers) or not layers:
        raise UserError(f"{where}: looks like a multi-layer SAE, but no config.json beside it lists its `layers`.")
    tensors = _own(checkpoint.tensors())
    lenses = {name: tensor for name, tensor in tensors.items() if "_lens." in name}
    plain = {name: tensor for name, tensor in tensors.items() if name not in lenses}
    weights = renamed(plain, _NAMES, where, transposed=("W_enc", "W_dec"), ignored=("last_nonzero",))
    d, latents = weights["W_enc"].shape
    check_sizes(told, {"n_inputs": d, "n_latents": latents}, where)
    coder = admit(TopK(
        **weights, k=whole(told.get("k"), where), centred=True, architecture="mlsae", metadata=_facts(told, where),
        normalise="layer_norm" if told.get("standardize", True) else "none",
    ), where)  # fmt: skip
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in layers]
    if not lenses:
        return many(coder, hooks)

    def make(hook: str) -> Coder:
        into, out = (
            _lens(lenses, f"{side}_lens.{hooks.index(hook)}.weight", d, where) for side in ("encoder", "decoder")
        )
        return coder.replace(
            W_enc=into.T @ coder.W_enc, b_enc=-(coder.b_dec @ coder.W_enc), centred=False, hook_in=hook, hook_out=hook,
            W_dec=coder.W_dec @ out.T, b_dec=coder.b_dec @ out.T,
        )  # fmt: skip

    return Layered(tuple(hooks), make)


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    inside = any(name.startswith(_INSIDE) for name in tensors)
    before = _INSIDE if inside else ""
    return {name.removeprefix(before): tensors[name] for name in tensors if name.startswith(before)}


def _lens(lenses: Mapping[str, Tensor], name: str, d: int, where: str) -> Tensor:
    if name not in lenses or lenses[name].shape != (d, d):
        found = list(lenses[name].shape) if name in lenses else "none"
        raise UserError(f"{where}: {name!r} must be {[d, d]}, found {found}.")
    return lenses[name].float()


def _facts(told: Mapping[str, Any], where: str) -> dict[str, Any]:
    """k, and the model where a folder has the name that the authors gave it: `mlsae-MODEL-x64-k32`."""
    named = re.search(r"mlsae-([\w.-]+?)-x\d+-k\d+", where)
    model = named.group(1) if named else None
    if model and model.startswith("pythia"):
        model = f"EleutherAI/{model}"
    return {"k": told.get("k"), **({"model_name": model} if model else {})}


FORMAT = by_contents("mlsae", "encoder.weight, decoder.weight and pre_encoder_bias, with config.json", marks, build)
