"""Checkpoints of Nanda's 1L-Sparse-Autoencoder and what came of it: Kissane's attention SAEs, Bussmann's BatchTopK."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.architectures import JumpReLU, ReLU, TopK
from saebench.saes.building import check_sizes, of_each, renamed, said
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.files import read_json
from saebench.saes.gate import admit
from saebench.saes.saelens_config import whole

_PLAIN = ("W_enc", "W_dec", "b_enc", "b_dec")
_BAR = "jumprelu.log_threshold"

_KINDS: dict[str, tuple[type[Coder], str]] = {
    "": (ReLU, "standard"), "vanilla": (ReLU, "standard"), "topk": (TopK, "topk"),
    "batchtopk": (JumpReLU, "batchtopk"), "globalmatryoshkatopk": (JumpReLU, "matryoshka_batchtopk"),
    "jumprelu": (JumpReLU, "jumprelu"),
}  # fmt: skip
"""Coder and architecture by `sae_type`, its hyphens left out; the first scripts have none."""


def marks(checkpoint: Checkpoint) -> bool:
    """Whether the four usual tensors lie beside a configuration that gives `act_size`, or `d_mlp` and `dict_mult`."""
    told = _config(checkpoint)
    return checkpoint.has("W_enc", "W_dec", "b_dec") and ("act_size" in told or {"d_mlp", "dict_mult"} <= set(told))


def build(checkpoint: Checkpoint) -> Coder:
    """Coder by the forward of its `sae_type`, each token standardised where `input_unit_norm` is set.

    - none, `vanilla`: f = relu((x - b_dec) W_enc + b_enc).
    - `topk`: the k largest of relu((x - b_dec) W_enc); the bias of the encoder is not added.
    - `batch-topk`, `global-matryoshka-topk`: relu((x - b_dec) W_enc) where it is above `threshold`.
    - `jumprelu`: p = x W_enc + b_enc where it is above exp(log_threshold); b_dec is not subtracted.

    Raises:
        UserError: Another type or activation, no threshold, sizes that disagree.
    """
    told, where, tensors = _config(checkpoint), checkpoint.where, checkpoint.tensors()
    name = re.sub("[-_ ]", "", str(told.get("sae_type") or "").lower())
    if name not in _KINDS:
        raise unknown(f"sae_type in the configuration of {where}:", str(told["sae_type"]), [k for k in _KINDS if k])
    if told.get("activation", "relu") != "relu":
        raise UserError(f"{where}: its activation is {told['activation']!r}, but only relu is known.")
    kind, architecture = _KINDS[name]
    names = {one: one for one in _PLAIN if one in tensors}
    bars = {"threshold": _BAR} if name == "jumprelu" else {"threshold": "threshold"} if kind is JumpReLU else {}
    if kind is JumpReLU and bars["threshold"] not in tensors:
        raise _no_threshold(told, where)
    weights = renamed(tensors, names | bars, where, ignored=("num_batches_not_active", "k", "group_sizes"))
    d_in, latents = weights["W_enc"].shape
    nested = name.startswith("global")  # as wide as its groups, whatever dict_size says
    check_sizes(told, {"act_size": d_in, **({} if nested else {"dict_size": latents})}, where)
    if told.get("tied_weights"):
        weights["W_dec"] = weights["W_enc"].T.contiguous()
    warnings = _bias(weights, told, kept=kind is ReLU or name == "jumprelu")
    if "threshold" in weights:
        weights["threshold"] = _threshold(weights["threshold"], latents, told, where, log=name == "jumprelu")
    hook = str(told.get("hook_point") or told.get("act_name") or "")
    if not hook and "d_mlp" in told:
        hook = "blocks.0.mlp.hook_post"
        warnings = [
            *warnings,
            "the configuration names no hook: taken as the neurons of the first MLP, as the script has",
        ]
    if kind is TopK:
        weights["k"] = whole(told.get("top_k"), where)
    coder = kind(
        **weights, centred=name != "jumprelu", normalise="layer_norm" if told.get("input_unit_norm") else "none",
        architecture=architecture, hook_in=hook, hook_out=hook, metadata=_facts(told, name, latents, where),
        warnings=warnings,
    )  # fmt: skip
    return admit(coder, where)


def _config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """What `config.json` beside the weights says, or the `NAME_cfg.json` of `NAME.pt`."""
    own = checkpoint.weights.with_name(f"{checkpoint.weights.stem}_cfg.json")
    return read_json(own) if own.is_file() else checkpoint.configs.get("config.json", {})


def _bias(weights: dict[str, Any], told: Mapping[str, Any], *, kept: bool) -> list[str]:
    """Leave the encoder's bias out where the forward does; returns what there is to say about that."""
    if kept or told.get("use_encoder_bias") or "b_enc" not in weights:
        return []
    bias: Tensor = weights.pop("b_enc")
    return ["the encoder's bias is not zero, but the forward of its sae_type does not add it"] if bias.any() else []


def _threshold(bar: Tensor, latents: int, told: Mapping[str, Any], where: str, *, log: bool) -> Tensor:
    if log:
        return bar.exp()
    if bar.numel() == 1 and float(bar) <= 0:
        raise _no_threshold(told, where)
    return of_each(bar, latents)


def _no_threshold(told: Mapping[str, Any], where: str) -> UserError:
    k, norm = told.get("top_k", 32), "layer_norm" if told.get("input_unit_norm") else "none"
    return UserError(
        f"{where}: a {told.get('sae_type')} SAE chooses among the tokens of a batch in training, and there is no "
        "threshold that would choose for one token. Add it as the tensor 'threshold' (the smallest activation that is "
        "kept, in the mean over batches); or keep the k largest of each token, by a saebench.yaml beside it with "
        f"`architecture: topk`, `k: {k}`, `normalise: {norm}`, `subtract_b_dec: true`."
    )


def _facts(told: Mapping[str, Any], name: str, latents: int, where: str) -> dict[str, Any]:
    k = told.get("top_k") if name.endswith("topk") else None
    return said(
        model_name=told.get("model_name"), k=None if k is None else whole(k, where), seed=told.get("seed"),
        context_size=told.get("seq_len"), dataset_path=told.get("dataset_path"),
        group_sizes=_groups(told.get("group_sizes"), latents, where) if name.startswith("global") else None,
    )  # fmt: skip


def _groups(told: Any, latents: int, where: str) -> list[int] | None:
    """Sizes of the groups of a Matryoshka SAE, which the scripts write down as text."""
    try:
        sizes = json.loads(told) if isinstance(told, str) else told
    except ValueError:
        sizes = told
    if sizes is None:
        return None
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes) or sum(sizes) != latents:
        raise UserError(f"{where}: group_sizes must be whole numbers that add up to {latents}, found {told!r}.")
    return sizes


FORMAT = by_contents("nanda", "W_enc and W_dec beside a configuration with act_size and dict_size", marks, build)
