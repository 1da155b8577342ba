"""Checkpoints of several formats, and the peak memory of loading one in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import saebench as sb
from saebench.saes.coder import Coder

HOOK = "blocks.1.hook_resid_post"


def written(folder: Path, weights: dict[str, Tensor], k: int) -> Iterator[tuple[str, Path, Path]]:
    """Write one checkpoint after the other; yields its name, what to load, and the file of its weights."""
    d, latents = weights["W_enc"].shape
    native = {"architecture": "topk", "d_in": d, "d_sae": latents, "k": k, "apply_b_dec_to_input": True,
              "normalize_activations": "none", "metadata": {"hook_name": HOOK}}  # fmt: skip
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        at = _folder(folder / f"native-{name}", "cfg.json", native)
        save_file({key: t.to(dtype) for key, t in weights.items()}, at / "sae_weights.safetensors")
        yield f"SAELens, {name}", at, at / "sae_weights.safetensors"
    linear = {"encoder.weight": weights["W_enc"].T.contiguous(), "encoder.bias": weights["b_enc"],
              "b_dec": weights["b_dec"]}  # fmt: skip
    at = _folder(folder / "layers.1", "cfg.json", {"k": k, "d_in": d, "num_latents": latents})
    save_file(linear | {"W_dec": weights["W_dec"]}, at / "sae.safetensors")
    yield "sparsify", at, at / "sae.safetensors"
    trainer = {"dict_class": "AutoEncoderTopK", "k": k, "layer": 1, "activation_dim": d, "dict_size": latents}
    at = _folder(folder / "dictionary", "config.json", {"trainer": trainer})
    torch.save(linear | {"decoder.weight": weights["W_dec"].T.contiguous()}, at / "ae.pt")
    yield "dictionary_learning", at, at / "ae.pt"
    at = folder / "layer_1" / "width_16k" / "average_l0_50"
    at.mkdir(parents=True)
    arrays = {name: t.numpy() for name, t in weights.items()}
    np.savez(at / "params.npz", threshold=np.ones(latents, np.float32), **arrays)
    yield "Gemma Scope", at, at / "params.npz"


def _folder(path: Path, name: str, config: dict[str, object]) -> Path:
    path.mkdir()
    (path / name).write_text(json.dumps(config), encoding="utf-8")
    return path


def load(path: Path) -> Coder:
    """The coder of a checkpoint, with all checks."""
    return sb.load_sae(path, hook=HOOK, device="cpu")


def peak(path: Path) -> float:
    """Most memory that loading takes in a process of its own, over the size of the weights as they are held."""
    command = [sys.executable, "-m", "benchmarks.saes_loading", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _child(path: Path) -> None:
    """Load once, and print the rise of the resident peak over the weights' bytes; mapped files count as well."""
    torch.set_num_threads(1)
    sb.load_sae("world:topk-mid", device="cpu")  # imports are not counted
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    coder = load(path)
    weights = sum(t.numel() * t.element_size() for t in coder.tensors().values())
    sys.stdout.write(f"{(_status('VmHWM') - before) / weights}\n")


def _status(key: str) -> int:
    """Bytes that Linux tells of this process: `VmRSS` now, `VmHWM` at most since the peak was cleared."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
