"""Checkpoints in the layouts of other libraries, each with its library's own forward, written out from its code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as nn

from tests.saes.checkpoints import D, F, K, draw

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From activations to codes and reconstruction."""


@dataclass(frozen=True)
class Case:
    """One checkpoint to write.

    Attributes:
        name: Format and class.
        format: Name of the format that must be detected.
        write: Writes the checkpoint under a folder, and gives the path to load and the library's forward.
        hooks: Hooks that must be declared.
    """

    name: str
    format: str
    write: Callable[[Path], tuple[Path, Forward]]
    hooks: tuple[str, str]


def linear(latents: int = F, d: int = D, *, bias: bool = True) -> dict[str, Tensor]:
    """Two layers as torch keeps them: the weight of each is output by input."""
    made = {"encoder.weight": draw(latents, d, seed=1), "decoder.weight": draw(d, latents, seed=2)}
    return {**made, "encoder.bias": draw(latents, seed=3)} if bias else made


def matrices() -> dict[str, Tensor]:
    return {
        "W_enc": draw(D, F, seed=1),
        "b_enc": draw(F, seed=3),
        "W_dec": draw(F, D, seed=2),
        "b_dec": draw(D, seed=4),
    }


def topk(pre: Tensor, k: int) -> Tensor:
    """relu, then the k largest of each row."""
    positive = pre.relu()
    best = positive.topk(k, dim=-1)
    return torch.zeros_like(positive).scatter(-1, best.indices, best.values)


# dictionary_learning


def _dictionary(folder: Path, name: str, tensors: dict[str, Any], **trainer: Any) -> Path:
    folder = folder / "resid_post_layer_1" / "trainer_0"
    folder.mkdir(parents=True)
    told = {"dict_class": name, "trainer_class": "T", "activation_dim": D, "dict_size": F, "layer": 1,
            "lm_name": "toy/lm", "submodule_name": "resid_post_layer_1", "seed": 3, "k": K if "TopK" in name else None,
            **trainer}  # fmt: skip
    buffer = {"d_submodule": D, "io": "out", "ctx_len": 128}
    (folder / "config.json").write_text(json.dumps({"trainer": told, "buffer": buffer}))
    torch.save(tensors, folder / "ae.pt")
    return folder


def auto_encoder(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "bias": draw(D, seed=4)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.linear(x - t["bias"], t["encoder.weight"], t["encoder.bias"]).relu()
        return f, nn.linear(f, t["decoder.weight"]) + t["bias"]

    return _dictionary(folder, "AutoEncoder", t), forward


def auto_encoder_new(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "decoder.bias": draw(D, seed=4)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.linear(x, t["encoder.weight"], t["encoder.bias"]).relu()
        return f, nn.linear(f, t["decoder.weight"], t["decoder.bias"])

    return _dictionary(folder, "AutoEncoderNew", t), forward


def gated_auto_encoder(folder: Path) -> tuple[Path, Forward]:
    vectors = {name: draw(F, seed=i) for i, name in enumerate(("r_mag", "gate_bias", "mag_bias"), 5)}
    t = {**linear(bias=False), **vectors, "decoder_bias": draw(D, seed=4)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        shared = nn.linear(x - t["decoder_bias"], t["encoder.weight"])
        gate = (shared + t["gate_bias"] > 0).float()
        f = gate * (t["r_mag"].exp() * shared + t["mag_bias"]).relu()
        return f, nn.linear(f, t["decoder.weight"]) + t["decoder_bias"]

    return _dictionary(folder, "GatedAutoEncoder", t), forward


def auto_encoder_topk(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "b_dec": draw(D, seed=4), "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(-1.0)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = topk(nn.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]), K)
        return f, nn.linear(f, t["decoder.weight"]) + t["b_dec"]

    return _dictionary(folder, "AutoEncoderTopK", t), forward


def batch_topk(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "b_dec": draw(D, seed=4), "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]).relu()
        f = f * (f > t["threshold"])
        return f, nn.linear(f, t["decoder.weight"]) + t["b_dec"]

    return _dictionary(folder, "BatchTopKSAE", t), forward


def matryoshka(folder: Path) -> tuple[Path, Forward]:
    sizes = torch.tensor([F // 4, F // 4, F // 2])
    t = {**matrices(), "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7), "group_sizes": sizes}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
        f = f * (f > t["threshold"])
        return f, f @ t["W_dec"] + t["b_dec"]

    return _dictionary(folder, "MatryoshkaBatchTopKSAE", t), forward


def jump_relu_auto_encoder(folder: Path) -> tuple[Path, Forward]:
    t = {**matrices(), "threshold": draw(F, seed=8).abs()}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ t["W_enc"] + t["b_enc"]
        f = (pre * (pre > t["threshold"])).relu()
        return f, f @ t["W_dec"] + t["b_dec"]

    return _dictionary(folder, "JumpReluAutoEncoder", t), forward


# sparsify


def signed_sparsify(folder: Path) -> tuple[Path, Forward]:
    """Of the library's first versions: no relu, and the k of largest magnitude."""
    folder, _ = sparsify()(folder)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(
        json.dumps({"expansion_factor": F // D, "k": 4, "signed": True, "d_in": config["d_in"]})
    )
    W, b = draw(F, D, seed=1), draw(F, seed=3)

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = nn.linear(x - draw(D, seed=4), W, b)
        indices = pre.abs().topk(4, dim=-1).indices
        f = torch.zeros_like(pre).scatter(-1, indices, pre.gather(-1, indices))
        return f, f @ draw(F, D, seed=2) + draw(D, seed=4)

    return folder, forward


def sparsify(activation: str = "topk", *, transcode: bool = False, skip: bool = False, expansion: bool = True) -> Any:
    def write(folder: Path) -> tuple[Path, Forward]:
        folder = folder / "layers.1.mlp"
        folder.mkdir(parents=True)
        k = 4
        t = {"encoder.weight": draw(F, D, seed=1), "encoder.bias": draw(F, seed=3),
             "W_dec": draw(F, D, seed=2), "b_dec": draw(D, seed=4)}  # fmt: skip
        if skip:
            t["W_skip"] = draw(D, D, seed=5)
        save_file(t, folder / "sae.safetensors")
        config = {"activation": activation, "expansion_factor": F // D if expansion else 32, "normalize_decoder": True,
                  "num_latents": 0 if expansion else F, "k": k, "multi_topk": False, "skip_connection": skip,
                  "transcode": transcode, "d_in": D}  # fmt: skip
        (folder / "cfg.json").write_text(json.dumps(config))

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            pre = nn.linear(x if transcode else x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]).relu()
            if activation == "topk":
                values, indices = pre.topk(k, dim=-1)
            else:
                values, indices = pre.unflatten(-1, (k, -1)).max(dim=-1)
                indices = torch.arange(0, F, F // k) + indices
            f = torch.zeros_like(pre).scatter(-1, indices, values)
            y = f @ t["W_dec"] + t["b_dec"]
            return f, y + x @ t["W_skip"].mT if skip else y

        return folder, forward

    return write


# Gemma Scope


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


# Llama Scope and Language-Model-SAEs


def llama_scope(norm_in: float, norm_out: float, ends: tuple[str, str], gate: float) -> Any:
    """The library's folded model; a latent opens where its pre-activation times its folded norm passes the gate."""

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
                  "sparsity_include_decoder_norm": True, "use_glu_encoder": False}  # fmt: skip
        (folder / "hyperparams.json").write_text(json.dumps(config))
        (folder / "lm_config.json").write_text(json.dumps({"model_name": "toy"}))
        s_in, s_out = math.sqrt(D) / norm_in, math.sqrt(D) / norm_out

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            folded_bias, folded_rows = t["encoder.bias"] / s_in, t["decoder.weight"] * s_in / s_out
            pre = nn.linear(x, t["encoder.weight"], folded_bias)
            f = pre * (pre * folded_rows.norm(dim=0) > gate)
            return f, nn.linear(f, folded_rows, t["decoder.bias"] / s_out)

        return folder, forward

    return write


def moss(act: str, norm: str, *, new: bool = True) -> Any:
    """A folder of the library: codes are compared in the units of raw activations, as after its own folding."""
    hook = "blocks.1.hook_resid_post"

    def write(folder: Path) -> tuple[Path, Forward]:
        folder = folder / "sae"
        folder.mkdir(parents=True)
        t = {"W_E": draw(D, F, seed=1), "b_E": draw(F, seed=3), "W_D": draw(F, D, seed=2), "b_D": draw(D, seed=4)}
        mean = 6.0
        stored = dict(t) if new else {"encoder.weight": t["W_E"].T, "encoder.bias": t["b_E"],
                                      "decoder.weight": t["W_D"].T, "decoder.bias": t["b_D"]}  # fmt: skip
        log = draw(F, seed=8) - 0.5
        if act == "jumprelu":
            stored["activation_function.log_jumprelu_threshold" if new else "log_jumprelu_threshold"] = log
        if norm == "dataset-wise":
            stored[f"dataset_average_activation_norm.{hook}"] = torch.tensor(mean)
        save_file({name: tensor.contiguous() for name, tensor in stored.items()}, folder / "sae_weights.safetensors")
        config = {"sae_type": "sae", "d_model": D, "expansion_factor": F / D, "act_fn": act, "norm_activation": norm,
                  "sparsity_include_decoder_norm": True, "top_k": K, "hook_point_in": hook, "hook_point_out": hook,
                  "use_decoder_bias": True, "use_glu_encoder": False}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        norms = t["W_D"].norm(dim=1)

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


# single files


def openai(activation: str) -> Any:
    def write(folder: Path) -> tuple[Path, Forward]:
        folder.mkdir(parents=True, exist_ok=True)
        t: dict[str, Any] = {
            "pre_bias": draw(D, seed=4), "latent_bias": draw(F, seed=3), **linear(bias=False),
            "stats_last_nonzero": torch.zeros(F, dtype=torch.long), "latents_activation_frequency": torch.ones(F),
            "latents_mean_square": torch.zeros(F), "activation": activation,
        }  # fmt: skip
        if activation == "TopK":
            t["activation_state_dict"] = {"k": K, "postact_fn": "ReLU"}
        torch.save(t, folder / "7.pt")

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            mu, std = torch.zeros(1), torch.ones(1)
            if activation == "TopK":
                mu = x.mean(dim=-1, keepdim=True)
                x = x - mu
                std = x.std(dim=-1, keepdim=True)
                x = x / (std + 1e-5)
            pre = nn.linear(x - t["pre_bias"], t["encoder.weight"], t["latent_bias"])
            f = topk(pre, K) if activation == "TopK" else pre.relu()
            y = nn.linear(f, t["decoder.weight"]) + t["pre_bias"]
            return f, y * std + mu if activation == "TopK" else y

        return folder / "7.pt", forward

    return write


def layers(encoder: str, decoder: str, file: str) -> Any:
    def write(folder: Path) -> tuple[Path, Forward]:
        folder.mkdir(parents=True, exist_ok=True)
        t = {f"{encoder}.weight": draw(F, D, seed=1), f"{encoder}.bias": draw(F, seed=3),
             f"{decoder}.weight": draw(D, F, seed=2), f"{decoder}.bias": draw(D, seed=4)}  # fmt: skip
        torch.save(t, folder / file)

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            f = nn.linear(x, t[f"{encoder}.weight"], t[f"{encoder}.bias"]).relu()
            return f, nn.linear(f, t[f"{decoder}.weight"], t[f"{decoder}.bias"])

        return folder / file, forward

    return write


def circuit(folder: Path) -> tuple[Path, Forward]:
    folder.mkdir(parents=True, exist_ok=True)
    t = {"W_enc": draw(F, D, seed=1), "W_dec": draw(F, D, seed=2), "b_enc": draw(F, seed=3), "b_dec": draw(D, seed=4),
         "W_skip": draw(D, D, seed=5)}  # fmt: skip
    save_file(t, folder / "layer_1.safetensors")

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.linear(x, t["W_enc"], t["b_enc"]).relu()
        return f, f @ t["W_dec"] + t["b_dec"] + x @ t["W_skip"].T

    return folder / "layer_1.safetensors", forward


def qwen(folder: Path) -> tuple[Path, Forward]:
    folder = folder / f"SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}"
    folder.mkdir(parents=True)
    t = {"W_enc": draw(F, D, seed=1), "W_dec": draw(D, F, seed=2), "b_enc": draw(F, seed=3), "b_dec": draw(D, seed=4)}
    torch.save(t, folder / "layer1.sae.pt")

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = topk(x @ t["W_enc"].T + t["b_enc"], K)
        return f, f @ t["W_dec"].T + t["b_dec"]

    return folder / "layer1.sae.pt", forward


POST = ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post")
MLP = ("blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out")
Z = ("blocks.1.attn.hook_z", "blocks.1.attn.hook_z")
ACROSS = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
NORMED = ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out")
NONE = ("", "")

CASES = [
    Case("AutoEncoder", "dictionary_learning", auto_encoder, POST),
    Case("AutoEncoderNew", "dictionary_learning", auto_encoder_new, POST),
    Case("GatedAutoEncoder", "dictionary_learning", gated_auto_encoder, POST),
    Case("AutoEncoderTopK", "dictionary_learning", auto_encoder_topk, POST),
    Case("BatchTopKSAE", "dictionary_learning", batch_topk, POST),
    Case("MatryoshkaBatchTopKSAE", "dictionary_learning", matryoshka, POST),
    Case("JumpReluAutoEncoder", "dictionary_learning", jump_relu_auto_encoder, POST),
    Case("sparsify", "sparsify", sparsify(), MLP),
    Case("sparsify-latents", "sparsify", sparsify(expansion=False), MLP),
    Case("sparsify-signed", "sparsify", signed_sparsify, MLP),
    Case("sparsify-groupmax", "sparsify", sparsify("groupmax"), MLP),
    Case("sparsify-transcoder", "sparsify", sparsify(transcode=True), ACROSS),
    Case("sparsify-skip", "sparsify", sparsify(transcode=True, skip=True), ACROSS),
    Case("gemma_scope", "gemma_scope", gemma("res"), POST),
    Case("gemma_scope-att", "gemma_scope", gemma("att"), Z),
    Case("gemma_scope-transcoder", "gemma_scope", gemma("transcoders"), NORMED),
    Case("gemma_scope_2", "gemma_scope_2", gemma_2("sae"), POST),
    Case("gemma_scope_2-transcoder", "gemma_scope_2", gemma_2("transcoder"), ACROSS),
    Case("gemma_scope_2-affine", "gemma_scope_2", gemma_2("transcoder", affine=True), ACROSS),
    Case("llama_scope", "llama_scope", llama_scope(5.0, 5.0, POST, 0.6), POST),
    Case("llama_scope-transcoder", "llama_scope", llama_scope(8.0, 2.0, NORMED, 0.2), NORMED),
    Case("moss-jumprelu", "language_model_saes", moss("jumprelu", "dataset-wise"), POST),
    Case("moss-relu", "language_model_saes", moss("relu", "dataset-wise"), POST),
    Case("moss-topk", "language_model_saes", moss("topk", "dataset-wise"), POST),
    Case("moss-folded", "language_model_saes", moss("jumprelu", "inference"), POST),
    Case("moss-token", "language_model_saes", moss("topk", "token-wise"), POST),
    Case("moss-r1", "language_model_saes", moss("jumprelu", "dataset-wise", new=False), POST),
    Case("openai-topk", "openai", openai("TopK"), NONE),
    Case("openai-relu", "openai", openai("ReLU"), NONE),
    Case("goodfire", "goodfire", layers("encoder_linear", "decoder_linear", "Llama-3.1-8B-Instruct-SAE-l1.pth"), POST),
    Case("deepseek_r1", "linear_layers", layers("encoder", "decoder", "DeepSeek-R1-Distill-Llama-8B-SAE-l1.pt"), POST),
    Case("circuit_tracer", "circuit_tracer", circuit, ACROSS),
    Case("qwen_scope", "qwen_scope", qwen, POST),
]
