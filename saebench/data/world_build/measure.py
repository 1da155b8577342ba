"""What the shipped SAEs score on held-out documents, by the definitions of the core metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from saebench.data import world
from saebench.data.world_build.corpus import Rows, pack
from saebench.data.world_build.subject import (
    HOOK,
    HOOK_MLP_IN,
    HOOK_MLP_OUT,
    at_hook,
    collect,
    load_model,
    loss_on_words,
    valid_tokens,
)


def _pieces(rows: Rows, size: int = 64) -> list[Rows]:
    return [rows.take(slice(i, i + size)) for i in range(0, len(rows.ids), size)]


def mean_loss(
    model: GPTNeoXForCausalLM, rows: Rows, hook: str = "", edit: Callable[[Tensor], Tensor] | None = None
) -> float:
    """Cross-entropy in nats a word, with `edit` in place of the activations of valid tokens at the hook."""
    total, count = 0.0, 0
    for part in _pieces(rows):
        valid = valid_tokens(part)[..., None]
        if edit is None:
            loss, n = loss_on_words(model, part)
        else:
            with at_hook(model, hook, lambda x: torch.where(valid, edit(x), x)):  # noqa: B023
                loss, n = loss_on_words(model, part)
        total, count = total + loss, count + n
    return total / count


@dataclass(frozen=True)
class Yardstick:
    """What does not depend on the SAE: held-out rows, the clean loss, the losses with each site at zero."""

    model: GPTNeoXForCausalLM
    rows: Rows
    clean: float
    zero: dict[str, float]


@cache
def yardstick(model_folder: Path, documents: int = 500) -> Yardstick:
    """The exported model and held-out documents, with their reference losses; made once a process."""
    model, rows = load_model(model_folder), pack(world.HELD_OUT_SEED, 0, documents)
    zero = {hook: mean_loss(model, rows, hook, torch.zeros_like) for hook in (HOOK, HOOK_MLP_OUT)}
    return Yardstick(model, rows, mean_loss(model, rows), zero)


@torch.no_grad()
def measure(sae: SAE[Any], by: Yardstick) -> dict[str, float]:
    """L0, dead fraction, explained variance, loss recovered (zero ablation) and its terms."""
    model, rows = by.model, by.rows
    transcoder = sae.cfg.architecture() == "transcoder"
    hooks = [HOOK_MLP_IN, HOOK_MLP_OUT] if transcoder else [HOOK]
    fired, active, count, residual = torch.zeros(sae.cfg.d_sae), 0.0, 0, 0.0
    targets: list[Tensor] = []
    for part in _pieces(rows):
        found = collect(model, part, hooks)
        x, y = found[0], found[-1]
        codes = sae.encode(x)
        on = codes != 0
        fired += on.sum(0)
        active += float(on.sum())
        count += len(x)
        residual += float((sae.decode(codes) - y).double().pow(2).sum())
        targets.append(y)
    y = torch.cat(targets).double()
    total = float((y - y.mean(0)).pow(2).sum())
    if transcoder:
        spliced = _transcoded_loss(model, sae, rows)
    else:
        spliced = mean_loss(model, rows, HOOK, lambda x: sae.decode(sae.encode(x)))
    zero = by.zero[hooks[-1]]
    return {
        "l0": active / count,
        "dead_fraction": float((fired == 0).float().mean()),
        "explained_variance": 1 - residual / total,
        "ce_clean": by.clean,
        "ce_sae": spliced,
        "ce_zero": zero,
        "loss_recovered": (zero - spliced) / (zero - by.clean),
        "tokens": count,
    }


def _transcoded_loss(model: GPTNeoXForCausalLM, coder: SAE[Any], rows: Rows) -> float:
    latest: list[Tensor] = []

    def remember(x: Tensor) -> None:
        latest[:] = [x]

    with at_hook(model, HOOK_MLP_IN, remember):
        return mean_loss(model, rows, HOOK_MLP_OUT, lambda _: coder.decode(coder.encode(latest[0])))
