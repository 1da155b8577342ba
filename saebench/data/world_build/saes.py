"""Trains the world's SAEs with SAELens' own training classes and trainer step, from activations kept on disk."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sae_lens import SAE
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.saes.transcoder import Transcoder, TranscoderConfig
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from saebench.data import world
from saebench.data.world_build.corpus import pack
from saebench.data.world_build.sae_recipes import SaeRecipe
from saebench.data.world_build.subject import HOOK, HOOK_MLP_IN, HOOK_MLP_OUT, collect, load_model

log = logging.getLogger(__name__)

SAE_SEED = 2
BATCH = 1024
MAX_L0_PENALTY = 5.0
D_IN, D_SAE = 128, 1024
_REGISTERED = {"relu": "standard", "matryoshka": "matryoshka_batchtopk"}


def store_activations(model_folder: Path, work: Path, documents: int = 24000, chunk: int = 2000) -> None:
    """Write the activations of documents of `SAE_SEED` at all hooks: `work`/HOOK.npy, [tokens, 128] float32."""
    model = load_model(model_folder)
    hooks = [HOOK, HOOK_MLP_IN, HOOK_MLP_OUT]
    parts: dict[str, list[NDArray[np.float32]]] = {h: [] for h in hooks}
    for start in range(0, documents, chunk):
        rows = pack(SAE_SEED, start, chunk)
        for first in range(0, len(rows.ids), 64):
            for hook, x in zip(hooks, collect(model, rows.take(slice(first, first + 64)), hooks), strict=True):
                parts[hook].append(x.numpy())
    for hook in hooks:
        np.save(work / f"{hook}.npy", np.concatenate(parts[hook]))
        log.info("stored %s %d tokens", hook, sum(map(len, parts[hook])))


def _batches(arrays: list[NDArray[np.float32]], seed: int) -> Iterator[list[Tensor]]:
    """Batches without end: a fresh permutation an epoch, the same rows of every array."""
    epoch = 0
    while True:
        order = np.random.default_rng([SAE_SEED, seed, epoch]).permutation(len(arrays[0]))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            index = np.sort(order[start : start + BATCH])
            yield [torch.from_numpy(a[index]) for a in arrays]
        epoch += 1


def _scale(x: NDArray[np.float32]) -> float:
    """What makes the mean norm sqrt(d), from a fixed sample."""
    return math.sqrt(x.shape[1]) / float(np.linalg.norm(x[:: max(1, len(x) // 50000)], axis=1).mean())


def _metadata(recipe: SaeRecipe) -> dict[str, Any]:
    hook = HOOK_MLP_IN if recipe.architecture == "transcoder" else HOOK
    found: dict[str, Any] = {
        "model_name": "saebench-world",
        "hook_name": hook,
        "context_size": world.MAX_TOKENS,
        "prepend_bos": True,
        "seed": recipe.seed,
        "recipe": asdict(recipe) | {"batch": BATCH, "data_seed": SAE_SEED},
    }
    if recipe.architecture == "transcoder":
        found |= {"hook_name_out": HOOK_MLP_OUT, "training_architecture": "transcoder"}
    return found


def train_sae(recipe: SaeRecipe, work: Path, folder: Path) -> None:
    """Train one SAE by its recipe and write it to `folder` in SAELens' inference format, in half precision."""
    torch.set_num_threads(1)
    if recipe.architecture == "transcoder":
        _train_transcoder(recipe, work, folder)
    elif recipe.damage in ("shuffled", "half-dead"):
        _damage_weights(recipe, folder)
    else:
        _train_with_saelens(recipe, work, folder)
    _add_metadata(folder, _metadata(recipe))
    _halve(folder)


def _steered(coefficient: float, l0: float, recipe: SaeRecipe, step: int) -> float:
    """The penalty moved towards the L0 asked for, until two thirds of the way; fixed from then on."""
    if not recipe.steps // 10 <= step < recipe.steps * 2 // 3:
        return coefficient
    error = math.log(max(l0, 0.1) / recipe.target_l0)
    # An L1 penalty acts with a delay: pushed faster it kills latents before L0 shows what it did.
    pace = 0.02 if recipe.architecture == "jumprelu" else 0.01
    moved = coefficient * math.exp(pace * max(-1.0, min(1.0, error)))
    return min(moved, MAX_L0_PENALTY) if recipe.architecture == "jumprelu" else moved


def _train_with_saelens(recipe: SaeRecipe, work: Path, folder: Path) -> None:
    acts = np.load(work / f"{HOOK}.npy", mmap_mode="r")
    torch.manual_seed(1000 + recipe.seed)
    sae_class, config_class = get_sae_training_class(_REGISTERED.get(recipe.architecture, recipe.architecture))
    config = config_class(d_in=D_IN, d_sae=D_SAE, normalize_activations="expected_average_only_in", **recipe.options)
    sae = sae_class(config)
    if recipe.damage == "frozen-decoder":
        sae.W_dec.requires_grad_(False)
    steps = max(recipe.steps, 1)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * BATCH,
            train_batch_size_samples=BATCH,
            lr=recipe.learning_rate,
            lr_end=recipe.learning_rate / 100,
            lr_warm_up_steps=min(100, steps // 4),
            lr_decay_steps=steps // 3,
            dead_feature_window=200,
        ),
        sae,
        data_provider=iter(()),
    )
    trainer.activation_scaler.scaling_factor = scale = _scale(acts)
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(acts[:: len(acts) // 50000].mean(0)) * scale)
    for step, (x,) in enumerate(_batches([acts], recipe.seed)):
        if step >= recipe.steps:
            break
        out = trainer.step(x)
        trainer.n_training_steps += 1
        l0 = float((out.feature_acts != 0).sum(-1).float().mean())
        for penalty in trainer.coefficient_schedulers.values():
            if recipe.target_l0:
                penalty.final_value = _steered(penalty.final_value, l0, recipe, step)
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            log.info(
                "step %d loss %.3f l0 %.1f dead %d coefficients %s",
                step + 1, float(out.loss), l0, int(trainer.dead_neurons.sum()), trainer.get_coefficients(),
            )  # fmt: skip
    sae.fold_activation_norm_scaling_factor(scale)
    sae.save_inference_model(folder)


def _train_transcoder(recipe: SaeRecipe, work: Path, folder: Path) -> None:
    """SAELens has no training class for transcoders: its inference module, and an L1 loss of our own."""
    inputs, outputs = (np.load(work / f"{h}.npy", mmap_mode="r") for h in (HOOK_MLP_IN, HOOK_MLP_OUT))
    torch.manual_seed(1000 + recipe.seed)
    coder = Transcoder(TranscoderConfig(d_in=D_IN, d_sae=D_SAE, d_out=D_IN, apply_b_dec_to_input=False))
    scale_in, scale_out = _scale(inputs), _scale(outputs)
    with torch.no_grad():
        coder.W_dec.div_(coder.W_dec.norm(dim=1, keepdim=True)).mul_(0.1)
        coder.W_enc.copy_(coder.W_enc / coder.W_enc.norm(dim=0, keepdim=True) * 0.1)
        coder.b_dec.copy_(torch.from_numpy(outputs[:: len(outputs) // 50000].mean(0)) * scale_out)
    adam = torch.optim.Adam(coder.parameters())
    coefficient = recipe.options["l1_coefficient"]
    for step, (x, y) in enumerate(_batches([inputs, outputs], recipe.seed)):
        if step >= recipe.steps:
            break
        left = (recipe.steps - step) / (recipe.steps / 3)
        adam.param_groups[0]["lr"] = recipe.learning_rate * min(1.0, (step + 1) / 100, left)
        codes = coder.encode(x * scale_in)
        mse = (coder.decode(codes) - y * scale_out).pow(2).sum(-1).mean()
        l1 = (codes * coder.W_dec.norm(dim=1)).sum(-1).mean()
        loss = mse + coefficient * min(1.0, 10 * step / recipe.steps) * l1
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(coder.parameters(), 1.0)
        adam.step()
        l0 = float((codes != 0).sum(-1).float().mean())
        coefficient = _steered(coefficient, l0, recipe, step)
        if (step + 1) % 100 == 0:
            log.info("step %d loss %.3f l0 %.1f l1 coefficient %.3f", step + 1, float(loss.detach()), l0, coefficient)
    with torch.no_grad():
        coder.W_enc.mul_(scale_in)
        coder.W_dec.div_(scale_out)
        coder.b_dec.div_(scale_out)
        norm = coder.W_dec.norm(dim=1)
        coder.W_dec.div_(norm[:, None])
        coder.W_enc.mul_(norm)
        coder.b_enc.mul_(norm)
    coder.save_model(folder)


def _damage_weights(recipe: SaeRecipe, folder: Path) -> None:
    """A copy of the parent with its decoder rows permuted, or with half its latents silenced."""
    parent = folder.parent / recipe.parent
    weights = load_file(parent / "sae_weights.safetensors")
    order = torch.from_numpy(np.random.default_rng([SAE_SEED, 99]).permutation(D_SAE))
    if recipe.damage == "shuffled":
        weights["W_dec"] = weights["W_dec"][order]
    else:
        weights["W_enc"][:, order[: D_SAE // 2]] = 0.0
        weights["b_enc"][order[: D_SAE // 2]] = -1.0
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text((parent / "cfg.json").read_text())


def _add_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    path = folder / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"] |= metadata
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _halve(folder: Path) -> None:
    path = folder / "sae_weights.safetensors"
    save_file({k: v.half().contiguous() for k, v in load_file(path).items()}, path)


def load_sae(folder: Path) -> SAE[Any]:
    """A shipped SAE, through SAELens."""
    return SAE.load_from_disk(folder)
