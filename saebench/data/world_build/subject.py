"""The trained model on disk and in memory: export in half precision, load, read and replace activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPTNeoXForCausalLM

from saebench.data.world_build.corpus import BOS, EOS, PAD, Rows
from saebench.data.world_build.lm import attention_mask, read_off, scored
from saebench.data.world_build.tokenizer import save_tokenizer

BLOCK = 1
HOOK = f"blocks.{BLOCK}.hook_resid_post"
HOOK_MLP_IN, HOOK_MLP_OUT = f"blocks.{BLOCK}.mlp.hook_in", f"blocks.{BLOCK}.hook_mlp_out"


def export_model(model: GPTNeoXForCausalLM, folder: Path) -> None:
    """Write weights in half precision, configuration and tokenizer; the configuration asks for float32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.float32
    half = GPTNeoXForCausalLM(model.config).half()
    half.load_state_dict(model.state_dict())
    half.save_pretrained(str(folder))
    model.config.dtype = torch.float32
    model.config.architectures = ["GPTNeoXForCausalLM"]
    model.config.save_pretrained(str(folder))
    save_tokenizer(folder)


def load_model(folder: Path) -> GPTNeoXForCausalLM:
    """The exported model, its half-precision weights in float32."""
    model = GPTNeoXForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _site(model: GPTNeoXForCausalLM, hook: str) -> tuple[nn.Module, bool]:
    """The module of a hook, and whether the hook is its input."""
    layer = model.gpt_neox.layers[BLOCK]
    return {HOOK: (layer, False), HOOK_MLP_IN: (layer.mlp, True), HOOK_MLP_OUT: (layer.mlp, False)}[hook]


@contextmanager
def at_hook(model: GPTNeoXForCausalLM, hook: str, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `function` on the activations at a hook; what it returns, if anything, takes their place."""
    module, is_input = _site(model, hook)

    def before(_: nn.Module, args: tuple[Tensor, ...]) -> Tensor | None:
        return function(args[0])

    def after(_: nn.Module, __: Any, out: Tensor) -> Tensor | None:
        return function(out)

    handle = module.register_forward_pre_hook(before) if is_input else module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def valid_tokens(rows: Rows) -> Tensor:
    """Where a word stands, not a special token: [rows, ROW]."""
    ids = torch.from_numpy(rows.ids)
    return (ids != PAD) & (ids != BOS) & (ids != EOS)


@torch.no_grad()
def hidden_states(model: GPTNeoXForCausalLM, rows: Rows) -> Tensor:
    """The last hidden state, each document on its own: [rows, ROW, d_model]."""
    out = model.gpt_neox(
        input_ids=torch.from_numpy(rows.ids),
        attention_mask=attention_mask(torch.from_numpy(rows.segment)),
        position_ids=torch.from_numpy(rows.position),
    )
    hidden: Tensor = out.last_hidden_state
    return hidden


@torch.no_grad()
def loss_on_words(model: GPTNeoXForCausalLM, rows: Rows) -> tuple[float, int]:
    """Sum of the cross-entropy of predicted words (not <eos>), and their number."""
    logits = read_off(model, hidden_states(model, rows)[:, :-1])
    valid = scored(rows) & valid_tokens(rows)[:, 1:]
    targets = torch.from_numpy(rows.ids)[:, 1:]
    total = nn.functional.cross_entropy(logits[valid].double(), targets[valid], reduction="sum")
    return float(total), int(valid.sum())


def collect(model: GPTNeoXForCausalLM, rows: Rows, hooks: list[str]) -> list[Tensor]:
    """Activations of the valid tokens at each hook: a list of [tokens, d_model]."""
    seen: dict[str, Tensor] = {}

    def keep(hook: str) -> Callable[[Tensor], None]:
        return lambda x: seen.__setitem__(hook, x)

    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(at_hook(model, hook, keep(hook)))
        hidden_states(model, rows)
    valid = valid_tokens(rows)
    return [seen[h][valid] for h in hooks]
