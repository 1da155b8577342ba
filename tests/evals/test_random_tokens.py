"""Latents that fire on random tokens more than on text are counted; the tokens are drawn evenly and once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from saebench.evals.random_tokens import false_feature_rate, random_explained_variance
from torch import nn

import saebench as sb
from saebench.data.datasets import load_dataset
from saebench.data.specs import RandomTokensSpec
from saebench.errors import UserError
from saebench.models import load_model
from tests.helpers.streams import Given, unit_rows, values
from tests.helpers.toys import BOS, HOOK, VOCABULARY, ToySAE, tiny_llama, token_rows


def _codes(shares: list[float], n: int = 1000) -> torch.Tensor:
    """Each latent fires on the first so many of n tokens."""
    return torch.stack([(torch.arange(n) < share * n).float() for share in shares], dim=1)


def test_what_fires_on_noise_and_not_on_text_is_false() -> None:
    """By latent: false; frequent everywhere; rare; false at the lower threshold only; never on text but at most tau."""
    random, text = [0.5, 0.5, 0.005, 0.05, 0.1], [0.01, 0.6, 0.0, 0.0, 0.0]
    given = Given(_codes(random), unit_rows(5, 8), other=_codes(text, 500))
    assert values(false_feature_rate, given) == pytest.approx({"above=0.1": 1 / 5, "above=0.01": 3 / 5})
    assert values(false_feature_rate, given, times=0.0)["above=0.1"] == pytest.approx(2 / 5)
    assert values(false_feature_rate, given, times=60.0)["above=0.1"] == 0
    assert values(false_feature_rate, given, batches=7) == values(false_feature_rate, given, batches=1)


def test_a_sae_that_fires_alike_on_both_has_none_and_so_has_a_dead_one() -> None:
    same = Given(_codes([0.3, 0.2]), unit_rows(2, 8), other=_codes([0.3, 0.2]))
    assert set(values(false_feature_rate, same).values()) == {0.0}
    dead = same.but(codes=torch.zeros(1000, 2))
    assert set(values(false_feature_rate, dead).values()) == {0.0}


def test_explained_variance_is_one_for_what_is_reproduced() -> None:
    given = Given(_codes([0.3, 0.2]), unit_rows(2, 8))
    assert values(random_explained_variance, given)[""] == pytest.approx(1)
    flat = given.but(codes=torch.zeros(1000, 2), y=given.y_hat, bias=given.y_hat.mean(0))
    assert values(random_explained_variance, flat)[""] == pytest.approx(0, abs=1e-6)


def test_tokens_are_drawn_evenly_from_the_vocabulary_without_specials() -> None:
    model = load_model(tiny_llama())
    spec = RandomTokensSpec(tokens=8000, context=50)
    drawn = load_dataset("random_tokens", "default", spec, model, seed=0).corpus
    assert drawn.content >= 8000 and set(drawn.lengths) == {50} and set(drawn.tokens[drawn.starts[:-1]]) == {BOS}
    counts = np.bincount(drawn.tokens[drawn.valid], minlength=VOCABULARY)
    assert not counts[:3].any()
    expected = drawn.content / (VOCABULARY - 3)
    assert ((counts[3:] - expected) ** 2 / expected).sum() < 65  # chi-squared of 36 degrees: 0.2 %
    again = load_dataset("random_tokens", "default", spec, model, seed=0).corpus
    other = load_dataset("random_tokens", "default", spec, model, seed=1).corpus
    assert again.hash == drawn.hash != other.hash
    with pytest.raises(UserError, match="drawn, not read"):
        load_dataset("random_tokens", "my.jsonl", spec, model, seed=0)


class _Novelty(nn.Module):
    """Latent 0 fires where the activation is none of those of the text, latent 1 where it is."""

    hook_name = HOOK

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = known
        self.W_dec = nn.Parameter(torch.eye(2, 16))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        familiar = torch.cdist(x, self.known).amin(-1) < 1e-3
        return torch.stack([~familiar, familiar], dim=1).float()

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return codes @ self.W_dec


def test_through_the_engine_the_density_on_text_is_that_of_text() -> None:
    """A suite of random tokens alone still reads the text, for what is held against it."""
    rows = token_rows(60)
    with torch.no_grad():
        known = tiny_llama()(rows, output_hidden_states=True).hidden_states[2][:, 1:].reshape(-1, 16)
    suite = {
        "metric": ["false_feature_rate", "random_explained_variance"],
        "data": {"text": {"tokens": 200, "context": 9}, "random_tokens": {"tokens": 300, "context": 9}},
        "references": {"null": None, "baseline": None},
    }
    results = sb.evaluate(_Novelty(known), suite, model=tiny_llama(), data={"text": rows})
    found = {(row.metric, row.slice): row for row in results.rows}
    assert found["false_feature_rate", "above=0.1"].value == 0.5
    assert found["false_feature_rate", "above=0.1"].corpus == "random_tokens"
    assert "fit:" in found["false_feature_rate", "above=0.1"].signature
    toy = sb.evaluate(ToySAE(), suite, model=tiny_llama(), data={"text": rows})
    assert not toy.errors() and toy.rows[-1].value < 1


def test_without_text_there_is_nothing_to_hold_it_against() -> None:
    suite = {
        "metric": ["false_feature_rate", "random_explained_variance"],
        "data": {"random_tokens": {"tokens": 100, "context": 9}},
        "references": {"null": None, "baseline": None},
    }
    results = sb.evaluate(ToySAE(), suite, model=tiny_llama(), data={"text": "no/such/file.jsonl"})
    found = {row.metric: row for row in results.rows}
    assert found["false_feature_rate"].status == "error" and "no text" in found["false_feature_rate"].reason
    assert found["random_explained_variance"].status == "ok"
