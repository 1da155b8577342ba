"""Single files: OpenAI, Goodfire, DeepSeek-R1, circuit-tracer, Qwen Scope, each with its forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as nn

from tests.saes.checkpoints import D, F, K, draw
from tests.saes.foreign.case import Forward, linear, topk


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
