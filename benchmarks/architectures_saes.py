"""One small SAE of every architecture on the world's model, written to disk as a user has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from saebench.saes import load_sae

LATENTS, K = 256, 8
HOOK, LATER = "blocks.1.hook_resid_post", "blocks.2.hook_resid_post"
OVER_MLP = "blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out"

Described = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""Tensors, and what the `saebench.yaml` beside them says."""

SAME = {
    "standard": ("relu", "p_anneal", "gba"), "topk": ("msae", "archetypal_topk"),
    "jumprelu": ("batchtopk", "matryoshka_batchtopk", "mutual_choice", "feature_choice", "archetypal_jumprelu"),
    "transcoder": ("topk_transcoder", "jumprelu_transcoder"), "skip_transcoder": ("jumprelu_skip_transcoder",),
    "crosscoder": ("topk_crosscoder", "jumprelu_crosscoder"),
}  # fmt: skip
"""Names of one forward, or of one kind of decoder: a row stands for all of them."""


class Curved:
    """An object whose decoder is not linear."""

    d_in = 128

    def __init__(self, base: Any) -> None:
        self.base = base

    def encode(self, x: Tensor) -> Tensor:
        """Dense codes."""
        return self.base.encode(x).dense()

    def decode(self, codes: Tensor) -> Tensor:
        """Codes saturate."""
        return 20 * torch.tanh(self.base.decode(codes) / 20)


def one_of_each(folder: Path, seed: str = "") -> dict[str, Any]:
    """References of the SAEs by architecture, their weights taken from shipped ones; `-seed1` gives others.

    Args:
        folder: Where they are written.
        seed: What follows the name of the shipped SAE.
    """
    made: dict[str, Any] = {}
    for name, (tensors, keys) in (*_dictionaries(f"world:topk-mid{seed}").items(), *_transcoders().items()):
        made[name] = _write(folder / name, name, tensors, keys)
    made["matryoshka prefix"] = f"prefix:64@{made['jumprelu']}"
    made["temporal"] = _temporal(folder / "temporal", f"world:topk-mid{seed}")
    made["lorsa"], made["glu"] = _lorsa(folder / "lorsa"), _glu(folder / "glu", f"world:topk-mid{seed}")
    made["cross_layer_transcoder"] = _cross_layer(folder / "cross_layer_transcoder")
    for kind in ("bagged", "boosted"):
        made[kind] = folder / kind
        made[kind].mkdir()
        (made[kind] / "saebench.yaml").write_text(f"architecture: {kind}\nmembers: [../standard, ../topk]\n")
    made["object, decoder not linear"] = load_sae(Curved(load_sae(made["topk"])), hook=HOOK)
    return made


def _dictionaries(ref: str) -> dict[str, Described]:
    base: Any = load_sae(ref, device="cpu")
    n = LATENTS
    W, B, R, C = base.W_enc[:, :n], base.b_enc[:n], base.W_dec[:n], base.b_dec
    plain, tied, unit = (
        {"W_enc": W, "b_enc": B, "W_dec": R, "b_dec": C},
        {"W_dec": R, "b_dec": C},
        R / R.norm(dim=1)[:, None],
    )
    two = {"W_enc": torch.stack([W, W]) / 2, "W_dec": torch.stack([R, R]), "b_enc": B, "b_dec": torch.stack([C, C])}
    draw = torch.Generator().manual_seed(len(ref))
    halves = {side: torch.randn(len(C), size, generator=draw) / 10 for side, size in (("P", 32), ("Q", 64))}
    k, as_stored = {"k": K}, {"k": K, "transposed": []}
    return {
        "standard": (plain, {}), "e2e": (plain, {"subtract_b_dec": None}), "topk": (plain, k), "vsae": (plain, k),
        "g_sae": (plain, k), "jumprelu": ({**plain, "threshold": torch.full((n,), 0.5)}, {}),
        "gated": ({"W_enc": W, "b_gate": B, "r_mag": torch.zeros(n), "b_mag": B, **tied}, {}),
        "abstopk": (plain, k), "k_sparse": ({**tied, "b_enc": B}, k), "groupmax": (plain, k),
        "mlsae": ({**plain, "b_dec": 0 * C}, {**k, "hook": [HOOK, LATER], "subtract_b_dec": None}),
        "adaptive_topk": ({**plain, "probe": torch.zeros(len(C)), "probe_bias": torch.tensor([5.0])},
                          {"options": {"k_min": 4, "k_max": 16}}),
        "top_afa": (plain, {}), "kron": ({**tied, **halves}, {**as_stored, "options": {"heads": 8}, "k": K}),
        "matching_pursuit": ({"W_dec": unit, "b_dec": C}, as_stored),
        "itda": ({"W_dec": unit, "b_dec": C, "mean": C}, {**as_stored, "subtract_b_dec": False}),
        "codebook": (tied, as_stored),
        "crosscoder": (two, {"hook": [HOOK, LATER], "subtract_b_dec": None}),
    }  # fmt: skip


def _transcoders() -> dict[str, Described]:
    base: Any = load_sae("world:transcoder-mid", device="cpu")
    n, into = LATENTS, {"hook": OVER_MLP, "subtract_b_dec": False}
    plain = {"W_enc": base.W_enc[:, :n], "b_enc": base.b_enc[:n], "W_dec": base.W_dec[:n], "b_dec": base.b_dec}
    return {
        "transcoder": (plain, into),
        "skip_transcoder": ({**plain, "W_skip": 0.1 * torch.eye(len(base.b_dec))}, into),
    }


def _write(folder: Path, architecture: str, tensors: Mapping[str, Tensor], keys: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True)
    save_file({name: one.clone().contiguous() for name, one in tensors.items()}, folder / "weights.safetensors")
    told = {"architecture": architecture, "hook": HOOK, "subtract_b_dec": True, **keys}
    (folder / "saebench.yaml").write_text(json.dumps(told))  # JSON is YAML
    return folder


def _temporal(folder: Path, ref: str) -> Path:
    """A temporal SAE as SAELens saves it."""
    folder.mkdir()
    base: Any = load_sae(ref, device="cpu")
    n, draw = LATENTS, torch.Generator().manual_seed(0)
    sizes = {"k_ctx": 8, "q_target": 8, "v_ctx": n, "c_proj": n}
    held = {"W_dec": (4 * 128) ** 0.5 * base.W_dec[:n], "b_dec": base.b_dec}  # SAELens divides its input by 4 d
    for name, rows in sizes.items():
        held[f"attn_layers.0.{name}.weight"] = torch.randn(rows, n, generator=draw) / n
        held[f"attn_layers.0.{name}.bias"] = torch.zeros(rows)
    config = {"architecture": "temporal", "d_in": 128, "d_sae": n, "n_heads": 2, "n_attn_layers": 1,
              "sae_diff_type": "topk", "kval_topk": K, "tied_weights": True, "apply_b_dec_to_input": True,
              "normalize_activations": "none", "metadata": {"hook_name": HOOK}}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({name: one.clone().contiguous() for name, one in held.items()}, folder / "sae_weights.safetensors")
    return folder


def _lorsa(folder: Path) -> Path:
    """The second layer's attention in the world's model: a latent for each sign of each of its heads' directions."""
    from saebench.models import load_model

    model: Any = load_model("world").model
    layer, heads = model.gpt_neox.layers[1], model.config.num_attention_heads
    norm, both, out = layer.input_layernorm, layer.attention.query_key_value, layer.attention.dense
    d = len(norm.weight)
    weight = both.weight.detach().view(heads, 3, d // heads, d)
    bias = both.bias.detach().view(heads, 3, -1) + weight @ norm.bias.detach()
    (Q, keys, V), (b_Q, b_K, b_V) = (weight * norm.weight.detach()).unbind(1), bias.unbind(1)
    rows = out.weight.detach().T.view(V.shape)
    held = {"W_Q": Q.transpose(1, 2), "W_K": keys.transpose(1, 2), "W_V": torch.cat([V, -V], 1).flatten(0, 1),
            "W_O": torch.cat([rows, -rows], 1).flatten(0, 1), "b_Q": b_Q, "b_K": b_K,
            "b_V": torch.cat([b_V, -b_V], 1).flatten(), "b_D": out.bias.detach()}  # fmt: skip
    config = {"sae_type": "lorsa", "hook_point_in": "blocks.1.ln1.hook_normalized", "top_k": K, "act_fn": "topk",
              "hook_point_out": "blocks.1.hook_attn_out", "norm_activation": "inference", "rotary_dim": 8,
              "rotary_adjacent_pairs": False}  # fmt: skip
    return _language_model_saes(folder, held, config)


def _glu(folder: Path, ref: str) -> Path:
    """An encoder with a second, multiplying branch."""
    base: Any = load_sae(ref, device="cpu")
    W, B, R = base.W_enc[:, :LATENTS], base.b_enc[:LATENTS], base.W_dec[:LATENTS]
    held = {"W_E": W, "b_E": B - base.b_dec @ W, "W_E_glu": W, "b_E_glu": torch.zeros(LATENTS), "W_D": R,
            "b_D": base.b_dec}  # fmt: skip
    config = {"sae_type": "sae", "hook_point_in": HOOK, "hook_point_out": HOOK, "act_fn": "topk", "top_k": K,
              "norm_activation": "inference", "use_glu_encoder": True}  # fmt: skip
    return _language_model_saes(folder, held, config)


def _language_model_saes(folder: Path, held: Mapping[str, Tensor], config: Mapping[str, Any]) -> Path:
    folder.mkdir()
    save_file({name: one.clone().contiguous() for name, one in held.items()}, folder / "sae_weights.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _cross_layer(folder: Path) -> Path:
    """A cross-layer transcoder of two layers as circuit-tracer saves it."""
    folder.mkdir()
    base: Any = load_sae("world:transcoder-mid", device="cpu")
    for layer in range(2):
        part = slice(layer * LATENTS, (layer + 1) * LATENTS)
        enc = {
            f"W_enc_{layer}": base.W_enc[:, part].T,
            f"b_enc_{layer}": base.b_enc[part],
            f"b_dec_{layer}": base.b_dec,
        }
        save_file({name: one.contiguous().clone() for name, one in enc.items()}, folder / f"W_enc_{layer}.safetensors")
        rows = torch.stack([base.W_dec[part]] * (2 - layer), 1)
        save_file({f"W_dec_{layer}": rows.contiguous()}, folder / f"W_dec_{layer}.safetensors")
    (folder / "config.yaml").write_text("feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n")
    return folder
