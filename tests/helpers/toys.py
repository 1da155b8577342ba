"""Tiny models, SAEs and token ids for tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

HOOK = "blocks.1.hook_resid_post"
BOS, EOS = 1, 2
VOCABULARY, WIDTH = 40, 16


def tiny_llama(seed: int = 0, vocabulary: int = VOCABULARY) -> LlamaForCausalLM:
    """A random Llama of three layers whose logits are far from uniform."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model


def token_rows(rows: int = 12, length: int = 9, seed: int = 0, *, bos: bool = True) -> Tensor:
    """Random token ids `[rows, length]`, BOS first, no other special token."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    if bos:
        tokens[:, 0] = BOS
    return tokens


class ToySAE(nn.Module):
    """A ReLU SAE as a plain object with encode and decode, as anyone might write it."""

    def __init__(
        self, d_sae: int = 24, d_in: int = WIDTH, hook: str = HOOK, seed: int = 0, d_out: int | None = None
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hook_name = hook
        self.W_dec = nn.Parameter(torch.randn(d_sae, d_out or d_in, generator=generator) / d_in**0.5)
        self.W_enc = nn.Parameter(torch.randn(d_in, d_sae, generator=generator) / d_in**0.5)
        self.b_enc = nn.Parameter(torch.randn(d_sae, generator=generator) * 0.1 - 0.2)
        self.b_dec = nn.Parameter(torch.randn(d_out or d_in, generator=generator) * 0.1)

    def encode(self, x: Tensor) -> Tensor:
        """Codes `[tokens, d_sae]`."""
        return torch.relu(x @ self.W_enc + self.b_enc)

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstructions `[tokens, d_out]`."""
        return codes @ self.W_dec + self.b_dec
