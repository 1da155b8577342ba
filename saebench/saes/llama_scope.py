"""Llama Scope and OpenMOSS' Language-Model-SAEs (llamascopium): dataset-wise norms and gates by decoder norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes import llama_scope_config as told
from saebench.saes.architectures import JumpReLU, ReLU, TopK
from saebench.saes.building import check_together, renamed
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.codes import Codes
from saebench.saes.gate import admit
from saebench.saes.layered import Layered
from saebench.saes.llama_scope_layers import build_crosscoder, build_transcoder
from saebench.saes.lorsa import build_lorsa
from saebench.saes.saelens_config import whole

_NEW = {"W_enc": "W_E", "b_enc": "b_E", "W_dec": "W_D", "b_dec": "b_D"}
_OLD = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias"}
_SECOND = {"W_glu": "W_E_glu", "b_glu": "b_E_glu"}
_KINDS: dict[str, type[Coder]] = {"relu": ReLU, "jumprelu": JumpReLU, "topk": TopK}


@dataclass(eq=False, kw_only=True, repr=False)
class GLU(Coder):
    """f = act((x W_enc + b_enc) sigmoid(x W_glu + b_glu)), of a gated linear unit as encoder.

    Attributes:
        W_glu: `[d_in, F]`, with `b_glu [F]`.
        threshold: Of a JumpReLU, `[F]`; None for a ReLU.
        k: Latents kept, or None.
    """

    b_enc: Tensor  # type: ignore[assignment]
    W_glu: Tensor
    b_glu: Tensor
    threshold: Tensor | None = None
    k: int | None = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().shapes(), "W_glu": (self.d_in, self.d_sae)}

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`."""
        pre = (x @ self.W_enc + self.b_enc) * (x @ self.W_glu + self.b_glu).sigmoid()
        if self.k is not None:
            top = pre.topk(self.k, dim=-1, sorted=False)
            return Codes.from_topk(top.values.relu(), top.indices, self.d_sae)
        return Codes.above(pre, 0.0 if self.threshold is None else self.threshold.clamp_min(0))


def marks_scope(checkpoint: Checkpoint) -> bool:
    """Whether hyperparams.json says what activation and norm go with two linear layers."""
    return "hyperparams.json" in checkpoint.configs and checkpoint.has("encoder.weight", "decoder.weight")


def marks_library(checkpoint: Checkpoint) -> bool:
    """Whether the tensors have the library's names, or config.json names a `sae_type` or a `norm_activation`."""
    config = checkpoint.configs.get("config.json", {})
    named = checkpoint.has("W_E", "W_D") or any(name in checkpoint.shapes for name in told.LOG)
    said = ("sae_type" in config and "act_size" not in config) or "norm_activation" in config
    return "hyperparams.json" not in checkpoint.configs and (named or said)


def build_scope(checkpoint: Checkpoint) -> Coder:
    """Coder of a Llama Scope folder, in the units of the model's own activations.

    The library compares with the published threshold only once both norms are folded into the weights. With
    s = sqrt(d) / average norm on either side, a latent fires where p ||W_dec_i|| / s_out > threshold, or, without
    `sparsity_include_decoder_norm`, where p / s_in > threshold. The published numbers bear this out: the threshold is
    0.032 times the average norm of the output in L8R, 0.026 in L24R, and 0.031 in L8TC, whose input has another norm.
    """
    config = checkpoint.configs["hyperparams.json"]
    return _build(checkpoint, config, folded_threshold=True)


def build_library(checkpoint: Checkpoint) -> Coder | Layered:
    """Coder of a Language-Model-SAEs folder; its threshold is on the scale of training, p ||W_dec_i|| > exp(log t).

    A crosscoder and a cross-layer transcoder give one at each of their hooks.
    """
    if "config.json" not in checkpoint.configs:
        raise UserError(f"{checkpoint.where}: there is no config.json beside it, to say act_fn and norm_activation.")
    config = checkpoint.configs["config.json"]
    kind = str(config.get("sae_type") or "sae")
    if kind == "molt":
        raise UserError(
            f"{checkpoint.where}: sae_type is 'molt'; its latents are linear maps of the input, with no row of a "
            "decoder each, so it is no dictionary that could be scored."
        )
    others = {"crosscoder": build_crosscoder, "clt": build_transcoder, "lorsa": build_lorsa}
    known = ["sae", "matryoshka_sae", *others]
    if kind not in known:
        raise unknown(f"sae_type in {checkpoint.where}:", kind, known)
    return others[kind](checkpoint, config) if kind in others else _build(checkpoint, config, folded_threshold=False)


def _build(checkpoint: Checkpoint, config: Mapping[str, Any], *, folded_threshold: bool) -> Coder:
    where = checkpoint.where
    act = told.activation(config, where)
    if config.get("hook_point_in") != config.get("hook_point_out"):
        told.not_by_token(config, where)
    glu = bool(config.get("use_glu_encoder"))
    tensors = checkpoint.tensors()
    weights = _weights(tensors, config, act, where, glu=glu)
    check_together(weights, where)
    d_in, latents = weights["W_enc"].shape
    told.check_declared(config, d_in, latents, where)
    s_in, s_out = (told.scale(tensors, config, config.get(f"hook_point_{end}"), end, d_in, where)
                   for end in ("in", "out"))  # fmt: skip
    by_norm = told.by_norm(config)
    norms = weights["W_dec"].norm(dim=1) if by_norm else torch.ones(latents)
    if "threshold" in weights:
        unit = 1 / s_in if not folded_threshold else s_out / s_in if by_norm else 1.0
        weights["threshold"] = weights["threshold"] * unit / norms.clamp_min(1e-30)
    weights |= {"b_enc": weights["b_enc"] / s_in, "W_dec": weights["W_dec"] * s_in / s_out,
                "b_dec": weights["b_dec"] / s_out}  # fmt: skip
    if glu:
        weights["W_glu"] = weights["W_glu"] * s_in
    fields: dict[str, Any] = dict(weights)
    if act == "topk":
        fields |= {"k": whole(config.get("top_k"), where), "W_enc": weights["W_enc"] * norms,
                   "b_enc": weights["b_enc"] * norms, "W_dec": weights["W_dec"] / norms[:, None]}  # fmt: skip
    hook_in, hook_out = str(config.get("hook_point_in") or ""), str(config.get("hook_point_out") or "")
    kind = "glu" if glu else {"relu": "standard"}.get(act, act)
    facts = told.facts(checkpoint, config, input_scale_folded=s_in if s_in != 1 else None)
    coder = (GLU if glu else _KINDS[act])(
        **fields, centred=bool(config.get("apply_decoder_bias_to_pre_encoder")),
        normalise="constant_norm_rescale" if config.get("norm_activation") == "token-wise" else "none",
        architecture=f"{'glu' if glu else act}_transcoder" if hook_in != hook_out else kind,
        hook_in=hook_in, hook_out=hook_out, metadata=facts,
    )  # fmt: skip
    return admit(coder, where)


def _weights(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], act: str, where: str, *, glu: bool
) -> dict[str, Tensor]:
    names = dict(_NEW if "W_E" in tensors else _OLD)
    if not config.get("use_decoder_bias", True):
        del names["b_dec"]
    if glu:
        names |= _SECOND
    turned = () if "W_E" in tensors else ("W_enc", "W_dec")
    weights = renamed(tensors, names, where, transposed=turned, ignored=told.unused(tensors))
    latents, d_out = weights["W_dec"].shape
    weights.setdefault("b_dec", torch.zeros(d_out))
    if act == "jumprelu":
        weights["threshold"] = told.threshold(tensors, config, [latents], where)
    return weights


SCOPE = by_contents("llama_scope", "hyperparams.json with checkpoints/final.safetensors", marks_scope, build_scope)
LIBRARY = by_contents("language_model_saes", "config.json with sae_type and W_E, W_D", marks_library, build_library)
