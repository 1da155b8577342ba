"""The world's untrained model: what its attention heads start from, and two that are started again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from saebench.data import world
from saebench.data.world_build.corpus import BOS, EOS, PAD

RESTARTED = ((3, 2), (4, 3))
"""Block and head of the heads that are started again."""


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
        words: Any = model.get_input_embeddings()
        words.weight.normal_(0, 0.1)
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
