"""Gemma Scope, Llama Scope and Language-Model-SAEs, each with its forward."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as nn

from tests.saes.checkpoints import D, F, K, draw
from tests.saes.foreign.case import Forward, linear, matrices, topk


def _jump(t: dict[str, Tensor], skip: Tensor | None = None) -> Forward:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ t["W_enc"] + t["b_enc"]
        f = (pre > t["threshold"]) * pre.relu()
        y = f @ t["W_dec"] + t["b_dec"]
        return f, y if skip is None else y + x @ skip

    return forward


def gemma(kind: str) -> Any:
    def write(folder: Path) -> tuple[Path, Forward]:
        folder = folder / f"gemma-scope-2b-pt-{kind}" / "layer_1" / "width_16k" / "average_l0_7"
        folder.mkdir(parents=True)
        t = {**matrices(), "threshold": draw(F, seed=8).abs()}
        np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in t.items()})
        return folder, _jump(t)

    return write


def gemma_2(kind: str, *, affine: bool = False) -> Any:
    def write(folder: Path) -> tuple[Path, Forward]:
        folder = folder / "layer_1_width_16k_l0_medium"
        folder.mkdir(parents=True)
        t = {**matrices(), "threshold": draw(F, seed=8).abs()}
        stored = {name.replace("W_", "w_"): tensor for name, tensor in t.items()}
        skip = draw(D, D, seed=9) if affine else None
        if skip is not None:
            stored["affine_skip_connection"] = skip
        save_file(stored, folder / "params.safetensors")
        end = {"sae": "output", "transcoder": "pre_feedforward_layernorm.output"}[kind]
        out = {"sae": "output", "transcoder": "post_feedforward_layernorm.output"}[kind]
        config = {"hf_hook_point_in": f"model.layers.1.{end}", "hf_hook_point_out": f"model.layers.1.{out}", "width": F,
                  "model_name": "google/gemma-3-1b-it", "architecture": "jump_relu", "l0": 7,
                  "affine_connection": affine, "type": kind}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        return folder, _jump(t, skip)

    return write


def llama_scope(norm_in: float, norm_out: float, ends: tuple[str, str], gate: float, *, by_norm: bool = True) -> Any:
    """The library's folded model; a latent opens where its pre-activation (times its folded norm) passes the gate."""

    def write(folder: Path) -> tuple[Path, Forward]:
        folder = folder / "L1R-8x"
        (folder / "checkpoints").mkdir(parents=True)
        t = {**linear(), "decoder.bias": draw(D, seed=4)}
        save_file(t, folder / "checkpoints" / "final.safetensors")
        config = {"hook_point_in": ends[0], "hook_point_out": ends[1], "use_decoder_bias": True, "d_model": D,
                  "d_sae": F, "apply_decoder_bias_to_pre_encoder": False, "expansion_factor": F // D,
                  "act_fn": "jumprelu",
                  "jump_relu_threshold": gate, "norm_activation": "dataset-wise", "top_k": 50,
                  "dataset_average_activation_norm": {"in": norm_in, "out": norm_out},
                  "sparsity_include_decoder_norm": by_norm, "use_glu_encoder": False}  # fmt: skip
        (folder / "hyperparams.json").write_text(json.dumps(config))
        (folder / "lm_config.json").write_text(json.dumps({"model_name": "toy"}))
        s_in, s_out = math.sqrt(D) / norm_in, math.sqrt(D) / norm_out

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            folded_bias, folded_rows = t["encoder.bias"] / s_in, t["decoder.weight"] * s_in / s_out
            pre = nn.linear(x, t["encoder.weight"], folded_bias)
            f = pre * ((pre * folded_rows.norm(dim=0) if by_norm else pre) > gate)
            return f, nn.linear(f, folded_rows, t["decoder.bias"] / s_out)

        return folder, forward

    return write


def moss(act: str, norm: str, *, new: bool = True, mean: float = 6.0, by_norm: bool = True) -> Any:
    """A folder of the library: codes are compared in the units of raw activations, as after its own folding."""
    hook = "blocks.1.hook_resid_post"

    def write(folder: Path) -> tuple[Path, Forward]:
        folder = folder / "sae"
        folder.mkdir(parents=True)
        t = {"W_E": draw(D, F, seed=1), "b_E": draw(F, seed=3), "W_D": draw(F, D, seed=2), "b_D": draw(D, seed=4)}
        stored = dict(t) if new else {"encoder.weight": t["W_E"].T, "encoder.bias": t["b_E"],
                                      "decoder.weight": t["W_D"].T, "decoder.bias": t["b_D"]}  # fmt: skip
        log = draw(F, seed=8) - 0.5
        if act == "jumprelu":
            stored["activation_function.log_jumprelu_threshold" if new else "log_jumprelu_threshold"] = log
        if norm == "dataset-wise":
            stored[f"dataset_average_activation_norm.{hook}"] = torch.tensor(mean)
        save_file({name: tensor.contiguous() for name, tensor in stored.items()}, folder / "sae_weights.safetensors")
        config = {"sae_type": "sae", "d_model": D, "expansion_factor": F / D, "act_fn": act, "norm_activation": norm,
                  "sparsity_include_decoder_norm": by_norm, "top_k": K, "hook_point_in": hook, "hook_point_out": hook,
                  "use_decoder_bias": True, "use_glu_encoder": False}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        norms = t["W_D"].norm(dim=1) if by_norm else torch.ones(F)

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            scale: Any = {"dataset-wise": math.sqrt(D) / mean, "inference": 1.0}.get(norm)
            scale = math.sqrt(D) / x.norm(dim=-1, keepdim=True) if scale is None else scale
            pre = ((x * scale) @ t["W_E"] + t["b_E"]) * norms
            gated = {
                "jumprelu": lambda: pre * (pre > log.exp()),
                "relu": lambda: pre * (pre > 0),
                "topk": lambda: topk(pre, K),
            }
            f = gated[act]() / norms
            codes = f / scale if norm == "dataset-wise" else f
            return codes * norms if act == "topk" else codes, (f @ t["W_D"] + t["b_D"]) / scale

        return folder, forward

    return write
