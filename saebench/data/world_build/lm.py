"""Trains the world's language model on fresh documents, with checkpoints that a stop loses nothing of."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from saebench.data import world
from saebench.data.world_build.corpus import BOS, EOS, PAD, ROW, TAGS, Rows, batches, pack
from saebench.data.world_kinds import KINDS

log = logging.getLogger(__name__)

FOCUS_SEED = 3


@dataclass(frozen=True)
class Recipe:
    """The settings of the training run; `steps` of `rows` rows of 128 tokens.

    Attributes:
        weights: From a step on, the weights in the loss of a quiz's answer and of a first letter.
        focus: From a step on, shares of kinds that differ from the world's own, until the decay.
        calm_from: When the learning rates fall to the calm ones and Adam's memory becomes longer.
    """

    steps: int = 4500
    decay: int = 700
    warmup: int = 100
    rows: int = 16
    muon_lr: float = 0.02
    adam_lr: float = 0.003
    weights: tuple[tuple[int, float, float], ...] = (
        (0, 4.0, 1.0),
        (1600, 6.0, 6.0),
        (3000, 16.0, 6.0),
        (3200, 6.0, 6.0),
    )
    focus: tuple[tuple[int, tuple[tuple[str, float], ...]], ...] = (
        (2000, (("quiz", 0.55), ("spelling", 0.2))),
        (3200, (("quiz", 0.3), ("spelling", 0.15), ("matching", 0.25))),
    )
    calm_from: int = 2400
    calm_muon_lr: float = 0.012
    calm_adam_lr: float = 0.001
    seed: int = 0
    threads: int = 2


def new_model(seed: int) -> LlamaForCausalLM:
    """The untrained model, in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(world.vocabulary()),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=world.MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)


def _orthogonalised(g: Tensor) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrix, batched (Muon, Jordan et al. 2024)."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = g.shape[-2] <= g.shape[-1]
    x = x if wide else x.mT
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


class Muon:
    """Momentum with orthogonalised updates, for the matrices inside the blocks; grouped by shape."""

    def __init__(self, parameters: Iterable[Tensor], momentum: float = 0.95) -> None:
        self.groups: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            self.groups.setdefault(p.shape, []).append(p)
        self.buffers = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}
        self.momentum = momentum

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients at a learning rate."""
        for shape, ps in self.groups.items():
            g = torch.stack([p.grad for p in ps if p.grad is not None])
            buffer = self.buffers[shape].lerp_(g, 1 - self.momentum)
            update = _orthogonalised(g.lerp(buffer, self.momentum))
            scale = lr * math.sqrt(max(1.0, shape[0] / shape[1]))
            for p, u in zip(ps, update, strict=True):
                p.mul_(1 - 0.01 * lr).sub_(u, alpha=scale)


def attention_mask(segment: Tensor) -> Tensor:
    """Causal and within the document: [rows, 1, ROW, ROW], true where a token may look."""
    causal = torch.ones(ROW, ROW, dtype=torch.bool).tril()
    return ((segment[:, None, :] == segment[:, :, None]) & causal)[:, None]


def token_losses(model: LlamaForCausalLM, rows: Rows) -> tuple[Tensor, Tensor]:
    """Cross-entropy and the rank-one prediction for the next token at each place: two of [rows, ROW - 1]."""
    segment = torch.from_numpy(rows.segment)
    ids = torch.from_numpy(rows.ids)
    hidden = model.model(
        input_ids=ids, attention_mask=attention_mask(segment), position_ids=torch.from_numpy(rows.position)
    ).last_hidden_state[:, :-1]
    logits = model.lm_head(hidden)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return loss.view(ids.shape[0], -1), logits.argmax(-1)


def scored(rows: Rows) -> Tensor:
    """Where the next token belongs to the same document: [rows, ROW - 1]."""
    return torch.from_numpy((rows.segment[:, 1:] == rows.segment[:, :-1]) & (rows.segment[:, 1:] > 0))


@torch.no_grad()
def monitor(model: LlamaForCausalLM, rows: Rows, batch: int = 32) -> dict[str, float]:
    """Loss above the generator's own surprisal (all, and by kind), and accuracy on facts, answers, letters."""
    parts = [
        (*token_losses(model, part), scored(part))
        for part in (rows.take(slice(i, i + batch)) for i in range(0, len(rows.ids), batch))
    ]
    loss, guess, valid = (torch.cat([p[i] for p in parts]).numpy() for i in range(3))
    gap = loss - rows.nll[:, 1:]
    kind, tag = rows.kind[:, 1:], rows.tag[:, 1:]
    right = guess == rows.ids[:, 1:]
    report = {"loss": loss[valid].mean(), "nll": rows.nll[:, 1:][valid].mean(), "gap": gap[valid].mean()}
    report |= {f"gap {k}": gap[valid & (kind == i)].mean() for i, k in enumerate(KINDS)}
    report |= {f"acc {t}": right[valid & (tag == i)].mean() for i, t in enumerate(TAGS) if i}
    return {k: float(v) for k, v in report.items()}


def _rate(recipe: Recipe, step: int) -> float:
    since = step - recipe.calm_from
    warm_again = (since + 1) / 50 if since >= 0 else 1.0
    return min(1.0, (step + 1) / recipe.warmup, (recipe.steps - step) / recipe.decay, warm_again)


def _weights(rows: Rows, recipe: Recipe, step: int) -> Tensor:
    """Answers and first letters weigh more until the decay begins; padding weighs nothing."""
    _, answer, spelling = max(w for w in recipe.weights if w[0] <= step)
    factor = np.ones(len(TAGS))
    if step < recipe.steps - recipe.decay:
        factor[[TAGS.index("letter"), TAGS.index("letter in full")]] = answer
        factor[TAGS.index("first letter")] = spelling
    return scored(rows) * torch.from_numpy(factor[rows.tag[:, 1:]]).float()


def _mixed_batches(recipe: Recipe) -> Iterator[Rows]:
    """The world's own mix of kinds, but from the first focus to the decay more of what is learnt late."""
    streams = {0: batches(world.TRAIN_SEED, recipe.rows)}
    for i, (start, focus) in enumerate(recipe.focus):
        streams[start] = batches(FOCUS_SEED + i, recipe.rows, dict(focus))
    for step in itertools.count():
        calm = step >= recipe.steps - recipe.decay
        yield next(streams[0 if calm else max(start for start in streams if start <= step)])


class Optimisers:
    """Muon for the matrices inside the blocks, Adam for embeddings and norms, at the recipe's rates."""

    def __init__(self, model: LlamaForCausalLM, recipe: Recipe) -> None:
        named = list(model.named_parameters())
        self.recipe = recipe
        self.others = [p for n, p in named if p.ndim != 2 or "embed" in n]
        self.muon = Muon(p for n, p in named if p.ndim == 2 and "embed" not in n)
        self.adam = torch.optim.AdamW(self.others, betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, step: int) -> None:
        """Apply the gradients of a step, and clear them."""
        recipe = self.recipe
        if step == recipe.calm_from:
            # A long memory of the second moment, or rows of rare words walk at random between their appearances.
            self.adam = torch.optim.AdamW(self.others, betas=(0.9, 0.999), weight_decay=0.0)
        calm, rate = step >= recipe.calm_from, _rate(recipe, step)
        self.muon.step(rate * (recipe.calm_muon_lr if calm else recipe.muon_lr))
        self.adam.param_groups[0]["lr"] = rate * (recipe.calm_adam_lr if calm else recipe.adam_lr)
        self.adam.step()
        for p in (*self.others, *(p for ps in self.muon.groups.values() for p in ps)):
            p.grad = None

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"adam": self.adam.state_dict(), "muon": list(self.muon.buffers.values())}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.adam.load_state_dict(state["adam"])
        for buffer, saved in zip(self.muon.buffers.values(), state["muon"], strict=True):
            buffer.copy_(saved)


def train(recipe: Recipe, work: Path, compiled: bool = True) -> LlamaForCausalLM:
    """Train to `recipe.steps`, going on from the newest checkpoint under `work`."""
    torch.set_num_threads(recipe.threads)
    model = new_model(recipe.seed)
    optimisers = Optimisers(model, recipe)
    start, checkpoint = 0, work / "lm.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimisers.restore(state)
        start = int(state["step"])
    held_out = pack(world.HELD_OUT_SEED, 0, 600)
    objective = _compiled_objective(model) if compiled else _objective(model)
    log.info("recipe %s from step %d; %d parameters", asdict(recipe), start, model.num_parameters())
    begun, seen, running = time.monotonic(), 0, 0.0
    for step, rows in enumerate(itertools.islice(_mixed_batches(recipe), recipe.steps)):
        if step < start:
            continue
        loss = objective(rows, _weights(rows, recipe, step))
        loss.backward()
        optimisers.step(step)
        seen += int(scored(rows).sum())
        running = 0.98 * running + 0.02 * float(loss.detach())
        if (step + 1) % 50 == 0:
            speed, smooth = seen / (time.monotonic() - begun), running / (1 - 0.98 ** (step + 1 - start))
            log.info("step %d weighted loss %.4f tokens/s %.0f", step + 1, smooth, speed)
        if (step + 1) % 200 == 0 or step + 1 == recipe.steps:
            report = monitor(model, held_out)
            log.info("step %d %s", step + 1, " ".join(f"[{k}] {v:.3f}" for k, v in report.items()))
            _checkpoint(checkpoint, {"model": model.state_dict(), "step": step + 1, **optimisers.state()})
    return model


def _objective(model: LlamaForCausalLM) -> Callable[[Rows, Tensor], Tensor]:
    """The weighted loss, as it is."""
    return lambda rows, weights: (token_losses(model, rows)[0] * weights).sum() / weights.sum()


def _compiled_objective(model: LlamaForCausalLM) -> Callable[[Rows, Tensor], Tensor]:
    """The weighted loss with its element-wise work fused by torch.compile."""

    @torch.compile(dynamic=False)
    def fused(ids: Tensor, mask: Tensor, position: Tensor, weights: Tensor) -> Tensor:
        hidden = model.model(input_ids=ids, attention_mask=mask, position_ids=position).last_hidden_state[:, :-1]
        logits = model.lm_head(hidden)
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        return (losses * weights.flatten()).sum() / weights.sum()

    def objective(rows: Rows, weights: Tensor) -> Tensor:
        mask = attention_mask(torch.from_numpy(rows.segment))
        return fused(torch.from_numpy(rows.ids), mask, torch.from_numpy(rows.position), weights)

    return objective


def _checkpoint(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
