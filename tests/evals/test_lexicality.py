"""Lexicality equals entropies counted by hand: 0 for a detector of one token, 1 for a latent blind to tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from saebench.evals.lexicality import lexicality
from scipy.stats import entropy

from tests.helpers.streams import Given, sparse, taken, unit_rows, values


def _given(n: int = 2000, vocabulary: int = 50) -> Given:
    """Ids by Zipf's law, the most frequent first."""
    generator = torch.Generator().manual_seed(0)
    weight = 1 / (torch.arange(vocabulary) + 2.0)
    ids = torch.multinomial(weight, n, replacement=True, generator=generator)
    return Given(sparse(n, 12, 3), unit_rows(12, 8), ids=ids, vocabulary=vocabulary)


def test_against_counts_by_hand() -> None:
    given = _given()
    given.codes[:, 3] *= given.ids < 5
    given.codes[15:, 4] = 0
    whole = entropy(np.bincount(given.ids.numpy()))
    ratios = []
    for i in range(12):
        fires = (given.codes[:, i] != 0).numpy()
        if fires.sum() >= 20:
            ratios.append(entropy(np.bincount(given.ids.numpy()[fires])) / whole)
    found = values(lexicality, given, below=(0.5, 0.9))
    assert len(ratios) == 11
    assert found["mean"] == pytest.approx(np.mean(ratios))
    assert found["below=0.5"] == pytest.approx(np.mean(np.array(ratios) < 0.5)) == pytest.approx(1 / 11)


def test_a_detector_of_one_token_is_lexical_and_a_latent_blind_to_tokens_is_not() -> None:
    ids = torch.arange(4000) % 40
    detectors = torch.nn.functional.one_hot(ids, 40).float()
    found = values(lexicality, Given(detectors, unit_rows(40, 8), ids=ids))
    assert found["mean"] == 0 and found["below=0.1"] == 1
    blind = (torch.rand(4000, 40, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    found = values(lexicality, Given(blind, unit_rows(40, 8), ids=ids))
    assert found["mean"] == pytest.approx(1, abs=0.01) and found["below=0.5"] == 0


def test_what_must_not_move_it_does_not() -> None:
    given = _given()
    whole = values(lexicality, given, batches=1)
    assert values(lexicality, given, batches=7) == pytest.approx(whole)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    moved = given.but(codes=-3 * given.codes[:, order], ids=49 - given.ids)
    assert values(lexicality, moved) == pytest.approx(whole)
    assert values(lexicality, given, least=10**6)["mean"] != values(lexicality, given)["mean"]


def test_a_dead_sae_is_undefined() -> None:
    given = _given()
    assert np.isnan(values(lexicality, given.but(codes=torch.zeros_like(given.codes)))["mean"])


def test_a_large_vocabulary_shares_buckets_and_a_wide_sae_is_sampled() -> None:
    """The most frequent half of the buckets hold one id each, the others some five; memory is what was asked for."""
    given = _given(20000, 400)
    given.codes[:, :6] *= (given.ids < 30)[:, None]
    order = np.argsort(-np.bincount(given.ids.numpy(), minlength=400), kind="stable")
    bucket = 64 + np.arange(400) * 2654435761 % 2**32 % 64
    bucket[order[:64]] = np.arange(64)
    said = bucket[given.ids.numpy()]
    parts = [entropy(np.bincount(said[(given.codes[:, i] != 0).numpy()])) for i in range(12)]
    found = values(lexicality, given, buckets=128)["mean"]
    assert found == pytest.approx(np.mean(parts) / entropy(np.bincount(said)))
    assert values(lexicality, given)["mean"] < found < 1
    assert max(np.bincount(bucket)[64:]) < 20
    tally, fields = taken(lexicality, given, buckets=128, latents=8)
    assert tally.fields["counts"].shape == (9, 128) and fields["latents"].shape[0] == 8
    assert any("8 of its 12 latents" in note for note in tally.notes)
    assert any("128 buckets" in note for note in tally.notes)
