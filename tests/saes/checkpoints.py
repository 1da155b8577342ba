"""Checkpoints written to disk as SAELens writes them, without importing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

HOOK = "blocks.1.hook_resid_post"
OUT = "blocks.1.hook_mlp_out"
D, F, OUT_WIDTH, K = 16, 64, 12, 5

NATIVE = (
    "standard", "gated", "topk", "abstopk", "jumprelu",
    "transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder",
)  # fmt: skip
"""Architectures of SAELens' inference registry that are run by our own equations."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers of deviation 0.3, of mean zero."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def activations(n: int = 50, width: int = D, seed: int = 9) -> Tensor:
    """Activations `[n, width]` with a mean of one."""
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + 1


def config(architecture: str = "standard", **changes: Any) -> dict[str, Any]:
    """A `cfg.json` as SAELens 6 writes it."""
    across = "transcoder" in architecture
    made: dict[str, Any] = {
        "architecture": architecture, "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": not across, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"hook_name": HOOK, "model_name": "toy", "sae_lens_version": "6.54.12"},
    }  # fmt: skip
    if across:
        made["d_out"] = OUT_WIDTH
        made["metadata"]["hook_name_out"] = OUT
    if "topk" in architecture:
        made["k"] = K
    return {**made, **changes}


def weights(architecture: str = "standard", d_in: int = D, latents: int = F) -> dict[str, Tensor]:
    """Random weights of an architecture, in the names and shapes of SAELens."""
    d_out = OUT_WIDTH if "transcoder" in architecture else d_in
    made = {
        "W_enc": draw(d_in, latents, seed=1), "W_dec": draw(latents, d_out, seed=2),
        "b_dec": draw(d_out, seed=3), "b_enc": draw(latents, seed=4),
    }  # fmt: skip
    if architecture == "gated":
        del made["b_enc"]
        made |= {name: draw(latents, seed=i) for i, name in enumerate(("b_gate", "r_mag", "b_mag"), 5)}
    if "jumprelu" in architecture:
        made["threshold"] = draw(latents, seed=8)
    if "skip" in architecture:
        made["W_skip"] = draw(d_out, d_in, seed=9)
    return made


def write(
    folder: Path, architecture: str = "standard", tensors: dict[str, Tensor] | None = None, **changes: Any
) -> Path:
    """A checkpoint directory; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config(architecture, **changes)))
    save_file(weights(architecture) if tensors is None else tensors, folder / "sae_weights.safetensors")
    return folder
