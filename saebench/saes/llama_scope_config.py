"""What the configurations and tensors of Language-Model-SAEs say: activation, thresholds, average norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.building import check_shape, check_sizes, number, said, scalar, section
from saebench.saes.checkpoint import Checkpoint

LOG = ("log_jumprelu_threshold", "activation_function.log_jumprelu_threshold")
"""Names of a JumpReLU's threshold, as a logarithm."""

NORM = "dataset_average_activation_norm"
"""Start of the names of average norms; a hook follows."""

_BY_BATCH = ("batchtopk", "batchlayertopk")


def unused(tensors: Iterable[str]) -> list[str]:
    """Names of tensors that are read apart from the weights: average norms and thresholds."""
    return [name for name in tensors if name.startswith(NORM) or name in LOG]


def activation(config: Mapping[str, Any], where: str, known: Sequence[str] = ("relu", "jumprelu", "topk")) -> str:
    """The activation, once nothing is asked for that depends on the other tokens of a batch.

    Raises:
        UserError: It does, or the activation or the norm is not known.
    """
    act, norm = str(config.get("act_fn", "relu")).lower(), config.get("norm_activation", "dataset-wise")
    if act in _BY_BATCH or norm == "batch-wise":
        what = f"act_fn is {act}" if act in _BY_BATCH else "norm_activation is batch-wise"
        raise UserError(
            f"{where}: {what}, so the codes of a token depend on the other tokens of its batch. "
            "Convert it upstream to jumprelu with dataset-wise norms, and load that."
        )
    if act not in known:
        raise unknown(f"act_fn in {where}:", act, known)
    if norm not in ("none", "inference", "dataset-wise", "token-wise"):
        raise unknown(f"norm_activation in {where}:", str(norm), ["inference", "dataset-wise", "token-wise"])
    return act


def not_by_token(config: Mapping[str, Any], where: str) -> None:
    """Refuse norms of each token where what is written is not what is read.

    Raises:
        UserError: The norms are token-wise.
    """
    if config.get("norm_activation") == "token-wise":
        raise UserError(f"{where}: token-wise norms of a transcoder need its target's norm, unknown when scoring.")


def scale(tensors: Mapping[str, Tensor], config: Mapping[str, Any], hook: Any, end: str, d: int, where: str) -> float:
    """sqrt(d) over the average norm of the activations at a hook; one where nothing is to be folded in.

    Args:
        tensors: Of the checkpoint.
        config: Of the checkpoint.
        hook: Where the norm was taken.
        end: `in` or `out`, as older configurations call the hooks.
        d: Width of the activations.
        where: What to call the checkpoint in an error.

    Raises:
        UserError: The norm is not there, so that raw activations would give wrong codes.
    """
    if config.get("norm_activation", "dataset-wise") != "dataset-wise":
        return 1.0
    norm = number(section(config, NORM, where), end, where) or scalar(tensors.get(f"{NORM}.{hook}"), 0)
    if not norm or not math.isfinite(norm) or norm < 0:
        raise UserError(
            f"{where}: norm_activation is dataset-wise, but the average norm of the {end}put activations is not "
            "there, so raw activations would give wrong codes. Save it upstream with fold_activation_scale=True, "
            "and load that."
        )
    return math.sqrt(d) / float(norm)


def threshold(tensors: Mapping[str, Tensor], config: Mapping[str, Any], shape: Sequence[int], where: str) -> Tensor:
    """A JumpReLU's threshold, in a shape over latents.

    Raises:
        UserError: Neither a tensor nor the configuration has it, or it has another shape.
    """
    log = next((name for name in LOG if name in tensors), None)
    if log is not None:
        found = tensors[log].detach().float().exp()
        check_shape(log, found.shape, shape, where)
        return found
    told = number(config, "jump_relu_threshold", where)
    if told is None:
        raise UserError(f"{where}: act_fn is jumprelu, but neither a tensor nor the configuration has a threshold.")
    return torch.full(tuple(shape), told)


def by_norm(config: Mapping[str, Any]) -> bool:
    """Whether a latent opens by its pre-activation times the norm of its decoder row."""
    return bool(config.get("sparsity_include_decoder_norm", True))


def check_declared(config: Mapping[str, Any], width: int, latents: int, where: str) -> None:
    """Refuse tensors of other sizes than the configuration declares.

    Raises:
        UserError: Names the key and both sizes.
    """
    factor = number(config, "expansion_factor", where)
    declared = config.get("d_sae") or (int(width * factor) if factor else None)
    check_sizes({"d_model": config.get("d_model"), "d_sae": declared}, {"d_model": width, "d_sae": latents}, where)


def facts(checkpoint: Checkpoint, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What a checkpoint declares, for its metadata."""
    model = checkpoint.configs.get("lm_config.json", {})
    widths = config.get("matryoshka_widths")
    return said(
        model_name=model.get("model_from_pretrained_path") or model.get("model_name"), seed=config.get("seed"),
        k=config.get("top_k") if config.get("act_fn") == "topk" else None,
        training_architecture_details={"matryoshka_widths": widths} if widths else None, **more,
    )  # fmt: skip
