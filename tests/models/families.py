"""Tiny random models of each family, and where their parts are, written down by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers as hf
from torch import Tensor, nn

VOCABULARY, LAYERS, WIDTH, CONTEXT = 61, 4, 32, 64

_LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
}  # fmt: skip
_GEMMA = {**_LLAMA, "head_dim": 8, "sliding_window": 6}
_GPT2: dict[str, Any] = {
    "n_layer": LAYERS, "n_embd": WIDTH, "n_head": 4, "n_positions": CONTEXT, "vocab_size": VOCABULARY,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_NEOX = {k: v for k, v in _LLAMA.items() if k != "num_key_value_heads"}


class Family(NamedTuple):
    """A model and the paths of its parts; names after `layers` are relative to a block."""

    make: Callable[[], nn.Module]
    layers: str = "model.layers"
    embed: str = "model.embed_tokens"
    attn: str = "self_attn"
    projection: str = "self_attn.o_proj"
    attn_post: str | None = None
    norm: str = "post_attention_layernorm"
    mlp: str = "mlp"
    neurons: str = "mlp.down_proj"
    mlp_post: str | None = None
    parallel: bool = False


_GPT2_PATHS: dict[str, Any] = {
    "layers": "transformer.h", "embed": "transformer.wte", "attn": "attn", "projection": "attn.c_proj", "norm": "ln_2",
    "neurons": "mlp.c_proj",
}  # fmt: skip
_NEOX_PATHS: dict[str, Any] = {
    "layers": "gpt_neox.layers", "embed": "gpt_neox.embed_in", "attn": "attention", "projection": "attention.dense",
    "neurons": "mlp.dense_4h_to_h",
}  # fmt: skip
_GEMMA_PATHS: dict[str, Any] = {
    "attn_post": "post_attention_layernorm", "norm": "pre_feedforward_layernorm",
    "mlp_post": "post_feedforward_layernorm",
}  # fmt: skip

FAMILIES: dict[str, Family] = {
    "gpt2": Family(lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**_GPT2)), **_GPT2_PATHS),
    "gpt_neox": Family(lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**_NEOX)), **_NEOX_PATHS, parallel=True),
    "gpt_neox_sequential": Family(
        lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**_NEOX, use_parallel_residual=False)), **_NEOX_PATHS
    ),
    "llama": Family(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_LLAMA))),
    "gemma2": Family(
        lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**_GEMMA, final_logit_softcapping=3.0)), **_GEMMA_PATHS
    ),
    "gemma3": Family(
        lambda: hf.Gemma3ForCausalLM(
            hf.Gemma3TextConfig(**_GEMMA, layer_types=["sliding_attention", "full_attention"] * 2)
        ),
        **_GEMMA_PATHS,
    ),
    "qwen3": Family(lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_LLAMA, head_dim=8, tie_word_embeddings=True))),
    "mistral": Family(lambda: hf.MistralForCausalLM(hf.MistralConfig(**_LLAMA, sliding_window=6))),
}

MORE: dict[str, Callable[[], nn.Module]] = {
    "olmo2": lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**_LLAMA)),
    "glm4": lambda: hf.Glm4ForCausalLM(hf.Glm4Config(**_LLAMA, head_dim=8, pad_token_id=0, eos_token_id=1)),
    "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**_LLAMA)),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**_LLAMA, pad_token_id=0, eos_token_id=1)),
    "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**_LLAMA, num_local_experts=4)),
    "granite": lambda: hf.GraniteForCausalLM(
        hf.GraniteConfig(**_LLAMA, residual_multiplier=0.3, attention_multiplier=0.3, logits_scaling=2.0)
    ),
    "cohere": lambda: hf.CohereForCausalLM(hf.CohereConfig(**_LLAMA, eos_token_id=1)),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(
            hidden_size=WIDTH, ffn_dim=48, num_hidden_layers=LAYERS, num_attention_heads=4, vocab_size=VOCABULARY,
            max_position_embeddings=CONTEXT, word_embed_proj_dim=WIDTH,
        )
    ),
    "bloom": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(hidden_size=WIDTH, n_layer=LAYERS, n_head=4, vocab_size=VOCABULARY)
    ),
    "falcon": lambda: hf.FalconForCausalLM(
        hf.FalconConfig(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4, vocab_size=VOCABULARY)
    ),
    "gpt_neo": lambda: hf.GPTNeoForCausalLM(
        hf.GPTNeoConfig(
            hidden_size=WIDTH, num_layers=LAYERS, attention_types=[[["global", "local"], 2]], num_heads=4,
            vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, window_size=6, bos_token_id=0, eos_token_id=0,
        )
    ),
    "mpt": lambda: hf.MptForCausalLM(
        hf.MptConfig(d_model=WIDTH, n_heads=4, n_layers=LAYERS, vocab_size=VOCABULARY, max_seq_len=CONTEXT)
    ),
}  # fmt: skip


def build(name: str, seed: int = 0) -> Any:
    """A random model whose attention and MLP both matter."""
    torch.manual_seed(seed)
    model = (FAMILIES[name].make if name in FAMILIES else MORE[name])().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            elif parameter.abs().sum() == 0:
                parameter.normal_(std=0.1)
    return model


def token_rows(rows: int = 3, length: int = 20, seed: int = 0) -> Tensor:
    """Random ids `[rows, length]`."""
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def edited(value: Tensor, seed: int = 1) -> Tensor:
    """An activation changed at every position."""
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed), dtype=value.dtype)
    return value * 0.7 + noise * value.std()
