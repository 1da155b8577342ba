"""Pairs equal dense numpy; copies have phi 1, latents that take turns never meet, opposed ones interfere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from saebench.evals.coactivation import connectivity, max_phi, negative_interference

from tests.helpers.streams import Given, sparse, taken, unit_rows, values

METRICS = (connectivity, max_phi, negative_interference)


def _given() -> Given:
    codes = sparse(500, 20, 4)
    codes[:, 19] = 0
    codes[7:, 18] = 0
    return Given(codes, unit_rows(20, 8))


def test_against_dense_numpy() -> None:
    given = _given()
    z, d = given.codes.double().numpy(), given.decoder.double().numpy()
    fires = (z != 0).astype(float)
    together = fires.T @ fires
    found = values(connectivity, given)
    assert found["all"] == pytest.approx((together == 0).mean())
    live = fires.sum(0) > 0
    assert found["live"] == pytest.approx((together[np.ix_(live, live)] == 0).mean())
    kept = np.flatnonzero(fires.sum(0) >= 10)
    phi = np.corrcoef(fires[:, kept].T)
    np.fill_diagonal(phi, -np.inf)
    assert values(max_phi, given)[""] == pytest.approx(phi.max(1).mean())
    norm = np.linalg.norm(np.maximum(-(z.T @ z) / 500 * (d @ d.T), 0), ord=2)
    assert values(negative_interference, given)[""] == pytest.approx(norm, rel=1e-5)


def test_latents_that_take_turns_never_meet_and_copies_always_do() -> None:
    turns = torch.nn.functional.one_hot(torch.arange(400) % 8, 8).float()
    apart = Given(turns, unit_rows(8, 8))
    assert values(connectivity, apart)["all"] == pytest.approx(7 / 8)
    assert values(max_phi, apart)[""] == pytest.approx(-1 / 7, rel=1e-6)
    copies = apart.but(codes=turns.repeat_interleave(2, 1), decoder=unit_rows(16, 8))
    assert values(max_phi, copies)[""] == pytest.approx(1)
    full = apart.but(codes=torch.ones(400, 8))
    assert values(connectivity, full)["all"] == 0


def test_latents_that_cancel_interfere_and_orthogonal_ones_do_not() -> None:
    """Two opposed unit rows that fire together with 2 and 1: the one pair has 2 x 1 x 1, the largest singular value."""
    codes = torch.tensor([[2.0, 1.0, 0.0]]).repeat(50, 1)
    opposed = Given(codes, torch.tensor([[1.0, 0], [-1.0, 0], [0, 1.0]]))
    assert values(negative_interference, opposed)[""] == pytest.approx(2)
    assert values(negative_interference, opposed.but(decoder=torch.eye(3)))[""] == 0
    assert values(negative_interference, opposed.but(codes=codes * torch.tensor([1.0, 0, 1])))[""] == 0


@pytest.mark.parametrize("metric", METRICS)
def test_what_must_not_move_it_does_not(metric) -> None:  # noqa: ANN001
    given = _given()
    whole = values(metric, given, batches=1)
    assert values(metric, given, batches=6) == pytest.approx(whole)
    order, factor = torch.randperm(20, generator=torch.Generator().manual_seed(1)), 2.0 ** (torch.arange(20) % 4)
    moved = given.but(codes=given.codes[:, order] / factor, decoder=given.decoder[order] * factor[:, None])
    assert values(metric, moved) == pytest.approx(whole, rel=1e-5)


def test_a_dead_sae() -> None:
    dead = _given().but(codes=torch.zeros(500, 20))
    assert values(connectivity, dead)["all"] == 1 and np.isnan(values(connectivity, dead)["live"])
    assert np.isnan(values(max_phi, dead)[""])
    assert values(negative_interference, dead)[""] == 0


def test_a_wide_sae_is_sampled_and_so_are_tokens() -> None:
    given = _given()
    tally, _ = taken(connectivity, given, latents=8, tokens=200)
    assert tally.fields["together"].shape == (8, 8)
    assert any("8 of its 20 latents" in note for note in tally.notes)
    assert 120 < tally.fields["tokens"][0] < 280
    again, _ = taken(connectivity, given, latents=8, tokens=200, batches=7)
    assert (again.fields["together"] == tally.fields["together"]).all()
