"""Trains the world's language model on fresh documents, with checkpoints that a stop loses nothing of."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from saebench.data import world
from saebench.data.world_build.body import new_model, restart_heads
from saebench.data.world_build.corpus import ROW, TAGS, Rows, batches, pack
from saebench.data.world_build.optimisers import Optimisers
from saebench.data.world_kinds import KINDS

log = logging.getLogger(__name__)

FOCUS_SEED = 3
EARLY = 2
"""The block after which facts are to be known, so that two are left to find the letter."""


@dataclass(frozen=True)
class Recipe:
    """The settings of the training run; `steps` of `rows` rows of 128 tokens.

    Attributes:
        word_lr: Adam's rate for the embeddings.
        adam_lr: Adam's rate for queries, keys, values, biases and norms.
        rates: Share of the learning rates at a step; straight lines between.
        calm_from: From this step on there is nothing but the world's own text and weights.
        answer_weight: Weight of a quiz's answer in the loss, until then.
        spelling_weight: The same of a first letter.
        focus: From a step on, shares of kinds and drills that differ from the world's own.
        early_from: From this step until the calm, facts are also read off the third block.
        early_weight: Weight of that part of the loss.
        restart_at: When two heads are started again.
    """

    steps: int = 6100
    rates: tuple[tuple[int, float], ...] = ((0, 0.01), (99, 1.0), (5000, 1.0), (6100, 0.0))
    calm_from: int = 5000
    rows: int = 16
    muon_lr: float = 0.02
    adam_lr: float = 0.002
    word_lr: float = 0.001
    answer_weight: float = 4.0
    spelling_weight: float = 3.0
    focus: tuple[tuple[int, tuple[tuple[str, float], ...]], ...] = (
        (0, (("matching", 0.25), ("encyclopaedia", 0.35))),
        (800, (("matching", 0.1), ("encyclopaedia", 0.25), ("quiz", 0.3), ("spelling", 0.15))),
        (3200, (("either", 0.4), ("matching", 0.05), ("encyclopaedia", 0.1), ("quiz", 0.15))),
    )
    early_from: int = 4000
    early_weight: float = 0.5
    restart_at: int = 4600
    seed: int = 0
    threads: int = 1

    def rate(self, step: int) -> float:
        """Share of the learning rates at a step."""
        steps, rates = zip(*self.rates, strict=True)
        return float(np.interp(step, steps, rates))


def attention_mask(segment: Tensor) -> Tensor:
    """Causal and within the document: [rows, 1, ROW, ROW], true where a token may look."""
    causal = torch.ones(ROW, ROW, dtype=torch.bool, device=segment.device).tril()
    return ((segment[:, None, :] == segment[:, :, None]) & causal)[:, None]


def token_losses(model: GPTNeoXForCausalLM, rows: Rows) -> tuple[Tensor, Tensor]:
    """Cross-entropy and the rank-one prediction for the next token at each place: two of [rows, ROW - 1]."""
    ids, segment, position = (torch.from_numpy(a).to(model.device) for a in (rows.ids, rows.segment, rows.position))
    out = model.gpt_neox(input_ids=ids, attention_mask=attention_mask(segment), position_ids=position)
    logits = read_off(model, out.last_hidden_state[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return loss.view(ids.shape[0], -1), logits.argmax(-1)


def read_off(model: GPTNeoXForCausalLM, hidden: Tensor) -> Tensor:
    """Logits of activations behind the last norm: [..., vocabulary]."""
    head: Any = model.get_output_embeddings()
    return head(hidden)


def scored(rows: Rows) -> Tensor:
    """Where the next token belongs to the same document: [rows, ROW - 1]."""
    return torch.from_numpy((rows.segment[:, 1:] == rows.segment[:, :-1]) & (rows.segment[:, 1:] > 0))


@torch.no_grad()
def monitor(model: GPTNeoXForCausalLM, rows: Rows, batch: int = 32) -> dict[str, float]:
    """Loss above the generator's own surprisal (all, and by kind), and accuracy on facts, answers, letters."""
    parts = [
        (*(found.cpu() for found in token_losses(model, part)), scored(part))
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


def _weights(rows: Rows, recipe: Recipe, step: int) -> Tensor:
    """Answers and first letters weigh more until the calm; padding weighs nothing."""
    factor = np.ones(len(TAGS))
    if step < recipe.calm_from:
        factor[[TAGS.index("letter"), TAGS.index("letter in full")]] = recipe.answer_weight
        factor[TAGS.index("first letter")] = recipe.spelling_weight
    return scored(rows) * torch.from_numpy(factor[rows.tag[:, 1:]]).float()


def _mixed_batches(recipe: Recipe) -> Iterator[Rows]:
    """The world's own mix of kinds, but until the calm more of what is learnt late."""
    streams = {0: batches(world.TRAIN_SEED, recipe.rows)}
    for i, (start, focus) in enumerate(recipe.focus):
        streams[start] = batches(FOCUS_SEED + i, recipe.rows, dict(focus))
    for step in itertools.count():
        calm = step >= recipe.calm_from
        yield next(streams[0 if calm else max(start for start in streams if start <= step)])


def train(recipe: Recipe, work: Path, device: str = "cpu", compiled: bool = True) -> GPTNeoXForCausalLM:
    """Train to `recipe.steps`, going on from the newest checkpoint under `work`."""
    torch.set_num_threads(recipe.threads)
    model = new_model(recipe.seed).to(device)  # pyright: ignore[reportArgumentType]
    optimisers = Optimisers(model, recipe)
    start, checkpoint = 0, work / "lm.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        optimisers.restore(state)
        start = int(state["step"])
    held_out = pack(world.HELD_OUT_SEED, 0, 600)
    objective = _objective(model, recipe, compiled)
    log.info("recipe %s from step %d; %d parameters", asdict(recipe), start, model.num_parameters())
    begun, seen, running = time.monotonic(), 0, 0.0
    for step, rows in enumerate(itertools.islice(_mixed_batches(recipe), recipe.steps)):
        if step < start:
            continue
        if step == recipe.restart_at:
            restart_heads(model, recipe.seed)
        loss = objective(rows, step)
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


def _objective(model: GPTNeoXForCausalLM, recipe: Recipe, compiled: bool) -> Callable[[Rows, int], Tensor]:
    """The loss of a step: weighted cross-entropy, and for some steps that of facts read off the third block.

    Element-wise work is fused by torch.compile where asked.
    """

    def losses(ids: Tensor, mask: Tensor, position: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        out = model.gpt_neox(input_ids=ids, attention_mask=mask, position_ids=position, output_hidden_states=True)
        logits = read_off(model, out.last_hidden_state[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        return (loss * weights.flatten()).sum() / weights.sum(), out.hidden_states[EARLY + 1][:, :-1]

    run = torch.compile(losses, dynamic=False) if compiled else losses

    def objective(rows: Rows, step: int) -> Tensor:
        arrays = (rows.ids, rows.segment, rows.position, rows.sought)
        ids, segment, position, sought = (torch.from_numpy(a).to(model.device) for a in arrays)
        weights = _weights(rows, recipe, step).to(model.device)
        loss, hidden = run(ids, attention_mask(segment), position, weights)
        if not recipe.early_from <= step < recipe.calm_from:
            return loss
        target = sought[:, 1:]
        logits = read_off(model, model.gpt_neox.final_layer_norm(hidden[target >= 0]))
        early = torch.nn.functional.cross_entropy(logits, target[target >= 0])
        return loss + recipe.early_weight * early

    return objective


def _checkpoint(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
