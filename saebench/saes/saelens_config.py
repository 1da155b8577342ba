"""SAELens' configurations, of every version, in today's words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.architectures import AbsTopK, Gated, JumpReLU, ReLU, TopK
from saebench.saes.building import check_fractions, check_sizes, section
from saebench.saes.coder import Coder

CLASSES: dict[str, type[Coder]] = {
    "standard": ReLU,
    "gated": Gated,
    "topk": TopK,
    "abstopk": AbsTopK,
    "jumprelu": JumpReLU,
    "batchtopk": JumpReLU,
    "matryoshka_batchtopk": JumpReLU,
    "transcoder": ReLU,
    "skip_transcoder": ReLU,
    "jumprelu_transcoder": JumpReLU,
    "jumprelu_skip_transcoder": JumpReLU,
}
"""Architectures run by their own equations here; `temporal` is too, and `matching_pursuit` by SAELens."""

RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index",
           "activation_fn_str": "activation_fn"}  # fmt: skip
"""Keys of configurations from before SAELens 6."""


def modern(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A configuration with today's keys, whatever version of SAELens wrote it.

    Raises:
        UserError: An activation function other than ReLU and TopK.
    """
    new = {RENAMED.get(key, key): value for key, value in config.items()}
    new["architecture"] = str(new.get("architecture") or "standard")
    activation = new.get("activation_fn") or "relu"
    if activation == "topk":
        new["architecture"] = "topk"
        new["k"] = section(new, "activation_fn_kwargs", where).get("k", new.get("k"))
    elif activation != "relu":
        raise unknown(f"activation function in {where}:", str(activation), ["relu", "topk"])
    old = new.get("normalize_activations")
    new["normalize_activations"] = "expected_average_only_in" if old is True else old or "none"
    top = {key: value for key, value in new.items() if key not in ("metadata", "device")}
    metadata = {key: value for key, value in section(new, "metadata", where).items() if value is not None}
    new["metadata"] = {**{k: top[k] for k in DECLARED if top.get(k) is not None}, **metadata}
    return new


DECLARED = ("model_name", "hook_name", "hook_name_out", "hook_head_index", "hf_hook_name", "hf_hook_name_out",
            "context_size", "prepend_bos", "dataset_path", "neuronpedia_id", "seed", "k", "sae_lens_version",
            "model_from_pretrained_kwargs", "exclude_special_tokens")  # fmt: skip
"""What is copied from the top level of a configuration, where old versions kept it."""


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
    facts = dict(config["metadata"])
    details = facts.get("training_architecture_details") or {}
    if "k" not in facts and details.get("k") is not None:
        facts["k"] = details["k"]
    facts["inference_architecture"] = config["architecture"]
    return facts


def check_declared(config: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse a configuration whose sizes are not those of the tensors."""
    for name, tensor in weights.items():
        check_fractions(name, tensor, where)
    found: dict[str, int] = {}
    for name, low, high in (("W_enc", "d_in", "d_sae"), ("W_dec", "d_sae", "d_out")):
        if name in weights and weights[name].ndim == 2:
            found[low], found[high] = weights[name].shape
    check_sizes(config, found, where)


def whole(k: Any, where: str) -> int:
    if not isinstance(k, (int, float)) or not math.isfinite(k) or k != int(k) or k < 1:
        raise UserError(f"{where}: a top-k SAE needs a whole number k of at least 1, found {k!r}.")
    return int(k)


def not_supported(architecture: str, where: str) -> UserError:
    known = unknown(f"architecture in {where}:", architecture, [*CLASSES, "matching_pursuit", "temporal"])
    return UserError(f"{known} For one of your own, register a loader, or pass an object (docs/formats.md).")
