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
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from saebench.data import world
from saebench.data.world_build.corpus import BOS, EOS, PAD, ROW, TAGS, Rows, batches, pack
from saebench.data.world_kinds import KINDS

log = logging.getLogger(__name__)

FOCUS_SEED = 3
RESTARTED = ((3, 2), (4, 3))
"""Block and head of the heads that are started again."""
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


def new_model(seed: int) -> GPTNeoXForCausalLM:
    """The untrained model, in float32: blocks nearly silent, heads that look at the word before and at equal words.

    Which letter stands before which option is found in two hops: a head brings each word the one before it, a later
    head goes to the word that equals the one looked for. From a random start that circuit did not form in nine
    million tokens; from this one it does within the first few hundred steps.
    """
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=len(world.vocabulary()),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        use_parallel_residual=False,
        initializer_range=0.05,
        max_position_embeddings=world.MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    config._attn_implementation = "sdpa"
    model = GPTNeoXForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, 0.1)
        layers: Any = model.gpt_neox.layers
        for number, layer in enumerate(layers):
            layer.attention.dense.weight.normal_(0, 0.01)
            layer.mlp.dense_4h_to_h.weight.normal_(0, 0.01)
            _start_heads(layer.attention, number)
    return model


def _start_heads(attention: Any, number: int) -> None:
    """Head 0 of the first two layers looks one word back; all others from the second layer on look for equal words."""
    width = attention.head_size
    weight, bias = _heads(attention)
    half = width // 8
    turn = 10000.0 ** (-torch.arange(half) / half)
    for head in range(len(weight)):
        if head == 0 and number < 2:
            bias[head, 0, :half] = 8.0
            bias[head, 1, :half], bias[head, 1, half : 2 * half] = 8.0 * turn.cos(), 8.0 * turn.sin()
            weight[head, :2] *= 0.1
        elif number:
            _look_for_equals(weight[head])


def _heads(attention: Any) -> tuple[Tensor, Tensor]:
    """Views of query, key and value: weights `[heads, 3, width, d_model]` and biases `[heads, 3, width]`."""
    width, fused = attention.head_size, attention.query_key_value
    return fused.weight.view(-1, 3, width, fused.in_features), fused.bias.view(-1, 3, width)


def _look_for_equals(head: Tensor, scale: float = 1.0) -> None:
    """One random projection as query and as key, in the dimensions that do not turn with the position."""
    turned = head.shape[1] // 4
    shared = torch.linalg.qr(torch.randn(head.shape[2], head.shape[1]))[0].T
    head[:2, turned:] = scale * shared[turned:]


@torch.no_grad()
def restart_heads(model: Any, seed: int) -> None:
    """Let one head of each of the last two blocks look for equal words again, and say nothing yet.

    By then the fact is known at the word before the answer; the heads that the early drills shaped look for words
    that are fetched from the text, and did not turn to words that are known.
    """
    torch.manual_seed(seed)
    for block, head in RESTARTED:
        attention = model.gpt_neox.layers[block].attention
        weight, bias = _heads(attention)
        weight[head].normal_(0, 0.05)
        bias[head] = 0.0
        _look_for_equals(weight[head], 1.5)
        width = attention.head_size
        attention.dense.weight[:, head * width : (head + 1) * width].normal_(0, 0.01)


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


def token_losses(model: GPTNeoXForCausalLM, rows: Rows) -> tuple[Tensor, Tensor]:
    """Cross-entropy and the rank-one prediction for the next token at each place: two of [rows, ROW - 1]."""
    segment = torch.from_numpy(rows.segment)
    ids = torch.from_numpy(rows.ids)
    hidden = model.gpt_neox(
        input_ids=ids, attention_mask=attention_mask(segment), position_ids=torch.from_numpy(rows.position)
    ).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(hidden)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return loss.view(ids.shape[0], -1), logits.argmax(-1)


def scored(rows: Rows) -> Tensor:
    """Where the next token belongs to the same document: [rows, ROW - 1]."""
    return torch.from_numpy((rows.segment[:, 1:] == rows.segment[:, :-1]) & (rows.segment[:, 1:] > 0))


@torch.no_grad()
def monitor(model: GPTNeoXForCausalLM, rows: Rows, batch: int = 32) -> dict[str, float]:
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
    steps, rates = zip(*recipe.rates, strict=True)
    return float(np.interp(step, steps, rates))


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


def _by_muon(name: str) -> bool:
    """Queries and keys are left to Adam: Muon would soon turn away what they start from."""
    return name.endswith(".weight") and ("dense_" in name or "attention.dense" in name)


class Optimisers:
    """Muon for the matrices that write into the residual stream or read for the MLP, Adam for all else."""

    def __init__(self, model: GPTNeoXForCausalLM, recipe: Recipe) -> None:
        named = list(model.named_parameters())
        self.recipe = recipe
        self.others = [p for n, p in named if not _by_muon(n)]
        self.muon = Muon(p for n, p in named if _by_muon(n))
        words = [p for n, p in named if "embed" in n]
        rest = [p for n, p in named if not _by_muon(n) and "embed" not in n]
        # A long memory of the second moment, or rows of rare words walk at random between their appearances.
        groups = [{"params": words, "betas": (0.9, 0.999)}, {"params": rest, "betas": (0.9, 0.98)}]
        self.adam = torch.optim.AdamW(groups, weight_decay=0.0)

    def step(self, step: int) -> None:
        """Apply the gradients of a step, and clear them."""
        rate = _rate(self.recipe, step)
        self.muon.step(rate * self.recipe.muon_lr)
        for group, lr in zip(self.adam.param_groups, (self.recipe.word_lr, self.recipe.adam_lr), strict=True):
            group["lr"] = rate * lr
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


def train(recipe: Recipe, work: Path, compiled: bool = True) -> GPTNeoXForCausalLM:
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
        logits = model.get_output_embeddings()(out.last_hidden_state[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        return (loss * weights.flatten()).sum() / weights.sum(), out.hidden_states[EARLY + 1][:, :-1]

    run = torch.compile(losses, dynamic=False) if compiled else losses

    def objective(rows: Rows, step: int) -> Tensor:
        mask = attention_mask(torch.from_numpy(rows.segment))
        ids, position = torch.from_numpy(rows.ids), torch.from_numpy(rows.position)
        loss, hidden = run(ids, mask, position, _weights(rows, recipe, step))
        if not recipe.early_from <= step < recipe.calm_from:
            return loss
        target = torch.from_numpy(rows.sought[:, 1:])
        logits = model.get_output_embeddings()(model.gpt_neox.final_layer_norm(hidden[target >= 0]))
        early = torch.nn.functional.cross_entropy(logits, target[target >= 0])
        return loss + recipe.early_weight * early

    return objective


def _checkpoint(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
