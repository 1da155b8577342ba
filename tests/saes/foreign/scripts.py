"""What training scripts leave: 1L-Sparse-Autoencoder and BatchTopK, e2e_sae; each with its forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional as nn

from tests.saes.checkpoints import D, F, K, draw
from tests.saes.foreign.case import Forward, linear, matrices, topk

BAR = 0.8
PRE = "blocks.1.hook_resid_pre"


def nanda(sae_type: str | None = None, *, unit_norm: bool = False) -> Any:
    """`NAME.pt` with `NAME_cfg.json` of the first scripts; `sae.pt` with `config.json` where there is a type."""

    def write(folder: Path) -> tuple[Path, Forward]:
        folder.mkdir(parents=True, exist_ok=True)
        t, told = matrices(), {"act_size": D, "dict_size": F, "seed": 49, "model_name": "gpt2-small", "seq_len": 128}
        if sae_type is None:
            torch.save(t, folder / "gpt2-small_L1_Hcat_z.pt")
            told |= {"site": "z", "layer": 1, "act_name": "blocks.1.attn.hook_z", "enc_dtype": "fp32"}
            (folder / "gpt2-small_L1_Hcat_z_cfg.json").write_text(json.dumps(told))
            return folder / "gpt2-small_L1_Hcat_z.pt", _vanilla(t)
        told |= {"site": "resid_pre", "layer": 1, "hook_point": PRE, "sae_type": sae_type, "top_k": K,
                 "input_unit_norm": unit_norm, "dtype": "torch.float32", "bandwidth": 0.001}  # fmt: skip
        extra: dict[str, Tensor] = {}
        if sae_type == "jumprelu":
            extra = {"jumprelu.log_threshold": draw(F, seed=6).abs().log()}
        elif sae_type not in ("topk", "vanilla"):
            extra = {"threshold": torch.tensor(BAR)}
        if sae_type not in ("jumprelu", "vanilla"):
            t["b_enc"] = torch.zeros(F)
        if sae_type == "global-matryoshka-topk":
            told["group_sizes"] = str([F // 4, F // 4, F // 2])
        torch.save(t | extra, folder / "sae.pt")
        (folder / "config.json").write_text(json.dumps(told))
        return folder, _typed(t, extra, sae_type, unit_norm=unit_norm)

    return write


def _vanilla(t: dict[str, Tensor]) -> Forward:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        f = nn.relu((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
        return f, f @ t["W_dec"] + t["b_dec"]

    return forward


def _typed(t: dict[str, Tensor], extra: dict[str, Tensor], sae_type: str, *, unit_norm: bool) -> Forward:
    def codes(x: Tensor) -> Tensor:
        if sae_type == "jumprelu":
            pre = nn.relu(x @ t["W_enc"] + t["b_enc"])
            return pre * (pre > extra["jumprelu.log_threshold"].exp())
        acts = nn.relu((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
        if sae_type == "vanilla":
            return acts
        return topk(acts, K) if sae_type == "topk" else torch.where(acts > extra["threshold"], acts, 0)

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = torch.zeros(1), torch.ones(1)
        if unit_norm:
            mean = x.mean(-1, keepdim=True)
            std = (x - mean).std(-1, keepdim=True)
            x = (x - mean) / (std + 1e-5)
        f = codes(x)
        return f, (f @ t["W_dec"] + t["b_dec"]) * std + mean

    return forward


def end_to_end(*, published: bool) -> Any:
    """One dictionary with rows of norm 1 and the run's YAML; or a checkpoint of training with its places."""

    def write(folder: Path) -> tuple[Path, Forward]:
        folder.mkdir(parents=True, exist_ok=True)
        t = {**linear(), "decoder.bias": draw(D, seed=4)}
        rows = nn.normalize(t["decoder.weight"], dim=0)
        run = {"tlens_model_name": "gpt2-small", "seed": 0, "saes": {"sae_positions": [PRE]}}

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            f = nn.relu(nn.linear(x, t["encoder.weight"], t["encoder.bias"]))
            return f, nn.linear(f, rows, t["decoder.bias"])

        if published:
            torch.save(t | {"decoder.weight": rows}, folder / "e2e_similar_ce_layer_1.pt")
            (folder / "e2e_similar_ce_layer_1.yaml").write_text(yaml.safe_dump(run))
            return folder / "e2e_similar_ce_layer_1.pt", forward
        key = PRE.replace(".", "-")
        kept = {name.replace("encoder.", "encoder.0."): tensor for name, tensor in t.items()}
        torch.save({f"{key}.{name}": tensor for name, tensor in kept.items()}, folder / "samples_400000.pt")
        (folder / "final_config.yaml").write_text(yaml.safe_dump(run))
        return folder, forward

    return write
