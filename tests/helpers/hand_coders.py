"""Coders made by hand whose latents are known: exact detectors of words of the world, and latents that know nothing."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import saebench as sb
from saebench.data.world import MODEL_DIR, word_labels

EMBED = "hook_embed"


@cache
def world_model() -> sb.models.Subject:
    """The world's model, loaded once."""
    return sb.load_model(str(MODEL_DIR))


def words(label: str) -> set[str]:
    """Words of the world's vocabulary that have a label in themselves, such as `sentiment=positive`."""
    family, _, value = label.partition("=")
    return {word for word, known in word_labels().items() if known.get(family) == value}


class WordDetectors:
    """A coder at the embedding whose latents fire exactly on the words of a label, each word by its own strength."""

    def __init__(self, labels: list[str]) -> None:
        model = world_model()
        self.hook_name = EMBED
        table = model.model.get_input_embeddings().weight.detach().float()
        vocabulary = model.tokenizer.get_vocab()
        strength = torch.zeros(len(table), len(labels))
        for latent, label in enumerate(labels):
            for word in words(label):
                strength[vocabulary[word], latent] = 1 + (len(word) % 5) / 4
        self._table, self._strength = table, strength
        self.W_dec = torch.nn.functional.normalize(strength.T @ table, dim=-1)
        self.b_dec = torch.zeros(table.shape[1])

    def encode(self, x: Tensor) -> Tensor:
        """Codes `[tokens, labels]`."""
        return self._strength[torch.cdist(x.float(), self._table).argmin(-1)]

    def decode(self, codes: Tensor) -> Tensor:
        """A sum of the labels' directions."""
        return codes @ self.W_dec + self.b_dec


class Coins:
    """A coder whose latents fire as coins fall: on a share of all tokens, whatever they are."""

    def __init__(self, latents: int, share: float, hook: str = "blocks.1.hook_resid_post") -> None:
        self.hook_name, self._share = hook, share
        generator = torch.Generator().manual_seed(0)
        self.W_dec = torch.nn.functional.normalize(torch.randn(latents, 128, generator=generator), dim=-1)
        self.b_dec = torch.zeros(128)

    def encode(self, x: Tensor) -> Tensor:
        """Codes `[tokens, latents]`: far digits of projections."""
        digits = (x.double() @ self.W_dec.double().T * 1e5).remainder(1.0)
        return torch.where(digits < self._share, digits + 0.5, torch.zeros_like(digits)).float()

    def decode(self, codes: Tensor) -> Tensor:
        """A sum of random directions."""
        return codes @ self.W_dec + self.b_dec
