"""dictionary_learning's layout and classes, each with its forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nn

from tests.saes.checkpoints import D, F, K, draw
from tests.saes.foreign.case import Forward, linear, matrices, topk


def dictionary(folder: Path, name: str, tensors: dict[str, Any], **trainer: Any) -> Path:
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

    return dictionary(folder, "AutoEncoder", t), forward


def auto_encoder_new(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "decoder.bias": draw(D, seed=4)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.linear(x, t["encoder.weight"], t["encoder.bias"]).relu()
        return f, nn.linear(f, t["decoder.weight"], t["decoder.bias"])

    return dictionary(folder, "AutoEncoderNew", t), forward


def gated_auto_encoder(folder: Path) -> tuple[Path, Forward]:
    vectors = {name: draw(F, seed=i) for i, name in enumerate(("r_mag", "gate_bias", "mag_bias"), 5)}
    t = {**linear(bias=False), **vectors, "decoder_bias": draw(D, seed=4)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        shared = nn.linear(x - t["decoder_bias"], t["encoder.weight"])
        gate = (shared + t["gate_bias"] > 0).float()
        f = gate * (t["r_mag"].exp() * shared + t["mag_bias"]).relu()
        return f, nn.linear(f, t["decoder.weight"]) + t["decoder_bias"]

    return dictionary(folder, "GatedAutoEncoder", t), forward


def auto_encoder_topk(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "b_dec": draw(D, seed=4), "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(-1.0)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = topk(nn.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]), K)
        return f, nn.linear(f, t["decoder.weight"]) + t["b_dec"]

    return dictionary(folder, "AutoEncoderTopK", t), forward


def batch_topk(folder: Path) -> tuple[Path, Forward]:
    t = {**linear(), "b_dec": draw(D, seed=4), "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7)}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]).relu()
        f = f * (f > t["threshold"])
        return f, nn.linear(f, t["decoder.weight"]) + t["b_dec"]

    return dictionary(folder, "BatchTopKSAE", t), forward


def matryoshka(folder: Path) -> tuple[Path, Forward]:
    sizes = torch.tensor([F // 4, F // 4, F // 2])
    t = {**matrices(), "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7), "group_sizes": sizes}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
        f = f * (f > t["threshold"])
        return f, f @ t["W_dec"] + t["b_dec"]

    return dictionary(folder, "MatryoshkaBatchTopKSAE", t), forward


def jump_relu_auto_encoder(folder: Path) -> tuple[Path, Forward]:
    t = {**matrices(), "threshold": draw(F, seed=8).abs()}

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ t["W_enc"] + t["b_enc"]
        f = (pre * (pre > t["threshold"])).relu()
        return f, f @ t["W_dec"] + t["b_dec"]

    return dictionary(folder, "JumpReluAutoEncoder", t), forward
