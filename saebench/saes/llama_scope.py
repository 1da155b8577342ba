"""Llama Scope and OpenMOSS' Language-Model-SAEs (llamascopium): dataset-wise norms and gates by decoder norm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.architectures import JumpReLU, ReLU, TopK
from saebench.saes.building import check_sizes, check_together, number, renamed, scalar, section
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.saelens_config import whole

_NEW = {"W_enc": "W_E", "b_enc": "b_E", "W_dec": "W_D", "b_dec": "b_D"}
_OLD = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias"}
_LOG = ("log_jumprelu_threshold", "activation_function.log_jumprelu_threshold")
_NORM = "dataset_average_activation_norm"
_KINDS: dict[str, type[Coder]] = {"relu": ReLU, "jumprelu": JumpReLU, "topk": TopK}


def marks_scope(checkpoint: Checkpoint) -> bool:
    """Whether hyperparams.json says what activation and norm go with two linear layers."""
    return "hyperparams.json" in checkpoint.configs and checkpoint.has("encoder.weight", "decoder.weight")


def marks_library(checkpoint: Checkpoint) -> bool:
    """Whether the tensors have the library's names, or config.json names a `sae_type` or a `norm_activation`."""
    config = checkpoint.configs.get("config.json", {})
    named = checkpoint.has("W_E", "W_D") or any(name in checkpoint.shapes for name in _LOG)
    return "hyperparams.json" not in checkpoint.configs and (
        named or "sae_type" in config or "norm_activation" in config
    )


def build_scope(checkpoint: Checkpoint) -> Coder:
    """Coder of a Llama Scope folder, in the units of the model's own activations.

    The library compares with the published threshold only once both norms are folded into the weights. With
    s = sqrt(d) / average norm on either side, a latent fires where p ||W_dec_i|| / s_out > threshold, or, without
    `sparsity_include_decoder_norm`, where p / s_in > threshold. The published numbers bear this out: the threshold is
    0.032 times the average norm of the output in L8R, 0.026 in L24R, and 0.031 in L8TC, whose input has another norm.
    """
    config = checkpoint.configs["hyperparams.json"]
    return _build(checkpoint, config, folded_threshold=True)


def build_library(checkpoint: Checkpoint) -> Coder:
    """Coder of a Language-Model-SAEs folder; its threshold is on the scale of training, p ||W_dec_i|| > exp(log t)."""
    if "config.json" not in checkpoint.configs:
        raise UserError(f"{checkpoint.where}: there is no config.json beside it, to say act_fn and norm_activation.")
    return _build(checkpoint, checkpoint.configs["config.json"], folded_threshold=False)


def _build(checkpoint: Checkpoint, config: Mapping[str, Any], *, folded_threshold: bool) -> Coder:
    where = checkpoint.where
    act = _supported(config, where)
    tensors = checkpoint.tensors()
    weights = _weights(tensors, config, act, where)
    check_together(weights, where)
    d_in, latents = weights["W_enc"].shape
    factor = number(config, "expansion_factor", where)
    width = config.get("d_sae") or (int(d_in * factor) if factor else None)
    check_sizes({"d_model": config.get("d_model"), "d_sae": width}, {"d_model": d_in, "d_sae": latents}, where)
    s_in, s_out = _scales(tensors, config, d_in, where)
    by_norm = bool(config.get("sparsity_include_decoder_norm", True))
    norms = weights["W_dec"].norm(dim=1) if by_norm else torch.ones(latents)
    if "threshold" in weights:
        unit = 1 / s_in if not folded_threshold else s_out / s_in if by_norm else 1.0
        weights["threshold"] = weights["threshold"] * unit / norms.clamp_min(1e-30)
    weights |= {"b_enc": weights["b_enc"] / s_in, "W_dec": weights["W_dec"] * s_in / s_out,
                "b_dec": weights["b_dec"] / s_out}  # fmt: skip
    fields: dict[str, Any] = dict(weights)
    if act == "topk":
        fields |= {"k": whole(config.get("top_k"), where), "W_enc": weights["W_enc"] * norms,
                   "b_enc": weights["b_enc"] * norms, "W_dec": weights["W_dec"] / norms[:, None]}  # fmt: skip
    hook_in, hook_out = str(config.get("hook_point_in") or ""), str(config.get("hook_point_out") or "")
    coder = _KINDS[act](
        **fields, centred=bool(config.get("apply_decoder_bias_to_pre_encoder")),
        normalise="constant_norm_rescale" if config.get("norm_activation") == "token-wise" else "none",
        architecture=f"{act}_transcoder" if hook_in != hook_out else {"relu": "standard"}.get(act, act),
        hook_in=hook_in, hook_out=hook_out, metadata=_facts(checkpoint, config, s_in, act),
    )  # fmt: skip
    return admit(coder, where)


def _supported(config: Mapping[str, Any], where: str) -> str:
    """The activation, once nothing is asked for that depends on a batch or on other places of the model."""
    kind, norm = config.get("sae_type", "sae"), config.get("norm_activation", "dataset-wise")
    act = str(config.get("act_fn", "relu")).lower()
    if kind != "sae":
        raise UserError(f"{where}: sae_type is {kind!r}, which reads or writes several places; only 'sae' can be read.")
    if config.get("use_glu_encoder"):
        raise UserError(f"{where}: use_glu_encoder is set; encoders with a second, multiplying branch are not known.")
    if act == "batchtopk" or norm == "batch-wise":
        what = "act_fn is batchtopk" if act == "batchtopk" else "norm_activation is batch-wise"
        raise UserError(
            f"{where}: {what}, so the codes of a token depend on the other tokens of its batch. "
            "Convert it upstream to jumprelu with dataset-wise norms, and load that."
        )
    if act not in _KINDS:
        raise unknown(f"act_fn in {where}:", act, _KINDS)
    if norm not in ("none", "inference", "dataset-wise", "token-wise"):
        raise unknown(f"norm_activation in {where}:", str(norm), ["inference", "dataset-wise", "token-wise"])
    if norm == "token-wise" and config.get("hook_point_in") != config.get("hook_point_out"):
        raise UserError(f"{where}: token-wise norms of a transcoder need its target's norm, unknown when scoring.")
    return act


def _weights(tensors: Mapping[str, Tensor], config: Mapping[str, Any], act: str, where: str) -> dict[str, Tensor]:
    names = dict(_NEW if "W_E" in tensors else _OLD)
    if not config.get("use_decoder_bias", True):
        del names["b_dec"]
    log = next((name for name in _LOG if name in tensors), None)
    if act == "jumprelu" and log:
        names["threshold"] = log
    ignored = [name for name in tensors if name.startswith(_NORM) or name in _LOG]
    weights = renamed(tensors, names, where, transposed=() if "W_E" in tensors else ("W_enc", "W_dec"), ignored=ignored)
    latents, d_out = weights["W_dec"].shape
    weights.setdefault("b_dec", torch.zeros(d_out))
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].exp()
    elif act == "jumprelu":
        threshold = number(config, "jump_relu_threshold", where)
        if threshold is None:
            raise UserError(f"{where}: act_fn is jumprelu, but neither a tensor nor the configuration has a threshold.")
        weights["threshold"] = torch.full((latents,), threshold)
    return weights


def _scales(tensors: Mapping[str, Tensor], config: Mapping[str, Any], d: int, where: str) -> tuple[float, float]:
    """sqrt(d) over the average norm of input and of output activations; one where nothing is to be folded in.

    Raises:
        UserError: The norms are not there, so that raw activations would give wrong codes.
    """
    if config.get("norm_activation", "dataset-wise") != "dataset-wise":
        return 1.0, 1.0
    told = section(config, _NORM, where)
    norms = []
    for end in ("in", "out"):
        norm = number(told, end, where) or scalar(tensors.get(f"{_NORM}.{config.get(f'hook_point_{end}')}"), 0)
        if not norm or not math.isfinite(norm) or norm < 0:
            raise UserError(
                f"{where}: norm_activation is dataset-wise, but the average norm of the {end}put activations is not "
                "there, so raw activations would give wrong codes. Save it upstream with fold_activation_scale=True, "
                "and load that."
            )
        norms.append(float(norm))
    return math.sqrt(d) / norms[0], math.sqrt(d) / norms[1]


def _facts(checkpoint: Checkpoint, config: Mapping[str, Any], s_in: float, act: str) -> dict[str, Any]:
    model = checkpoint.configs.get("lm_config.json", {})
    facts = {
        "model_name": model.get("model_from_pretrained_path") or model.get("model_name"), "seed": config.get("seed"),
        "k": config.get("top_k") if act == "topk" else None, "input_scale_folded": s_in if s_in != 1 else None,
    }  # fmt: skip
    return {key: value for key, value in facts.items() if value is not None}


SCOPE = by_contents("llama_scope", "hyperparams.json with checkpoints/final.safetensors", marks_scope, build_scope)
LIBRARY = by_contents("language_model_saes", "config.json with sae_type and W_E, W_D", marks_library, build_library)
