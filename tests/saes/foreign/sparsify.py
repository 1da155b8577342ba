"""sparsify's layout: SAE, transcoder, skip connection, both activations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as nn

from tests.saes.checkpoints import D, F, draw
from tests.saes.foreign.case import Forward


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
