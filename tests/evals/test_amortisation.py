"""The gap equals a pursuit in loops with scipy's nnls, and is nothing for an encoder that is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from saebench.evals.amortisation import amortisation_gap
from scipy.optimize import nnls

from tests.helpers.streams import Given, sparse, taken, unit_rows, values


def _given(seed: int = 0) -> Given:
    """Codes that are roughly those that made the target, on a dictionary of 24 rows in 16 dimensions."""
    true, rows = sparse(60, 24, 3, seed), unit_rows(24, 16, seed)
    codes = (true + 0.1 * sparse(60, 24, 2, seed + 1)) * 0.8
    return Given(codes, rows, y=true @ rows + 0.5, bias=torch.full((16,), 0.5))


def _by_hand(given: Given) -> tuple[float, float, float]:
    """FVU of the encoder, of the best values on its latents, and of orthogonal matching pursuit with nnls."""
    rows = given.decoder.double().numpy()
    lengths = np.linalg.norm(rows, axis=1)
    units = rows / lengths[:, None]
    encoder = refit = pursuit = 0.0
    for code, y in zip(given.codes.double().numpy(), given.y.double().numpy() - 0.5, strict=True):
        own = np.flatnonzero(code)
        encoder += ((y - code @ rows) ** 2).sum()
        refit += nnls(units[own].T, y)[1] ** 2
        chosen: list[int] = []
        left = y
        for _ in own:
            scores = units @ left
            scores[chosen] = -np.inf
            chosen.append(int(scores.argmax()))
            left = y - nnls(units[chosen].T, y)[0] @ units[chosen]
        pursuit += (left**2).sum()
    y = given.y.double().numpy()
    spread = ((y - y.mean(0)) ** 2).sum()
    return encoder / spread, refit / spread, pursuit / spread


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_against_a_pursuit_in_loops(seed: int) -> None:
    given = _given(seed)
    encoder, refit, pursuit = _by_hand(given)
    found = values(amortisation_gap, given)
    assert found["gap"] == pytest.approx(encoder - pursuit, rel=2e-2, abs=1e-3)
    assert found["values"] == pytest.approx(encoder - refit, rel=1e-4)
    assert found["gap"] == pytest.approx(found["values"] + found["latents"])


def test_top_k_on_an_orthonormal_dictionary_has_no_gap_and_scrambled_codes_a_large_one() -> None:
    x = torch.randn(200, 16, generator=torch.Generator().manual_seed(1)).abs()
    top = x.topk(4, dim=-1)
    codes = torch.zeros_like(x).scatter_(1, top.indices, top.values)
    best = Given(codes, torch.eye(16), y=x)
    assert values(amortisation_gap, best)["gap"] == pytest.approx(0, abs=1e-6)
    scrambled = values(amortisation_gap, best.but(codes=codes.roll(1, 1)))
    assert scrambled["gap"] > 0.5 and scrambled["latents"] > 0.3
    halved = values(amortisation_gap, best.but(codes=codes / 2))
    assert halved["gap"] > 0.1 and halved["latents"] == pytest.approx(0, abs=1e-6)


def test_signed_codes_are_held_against_a_signed_pursuit() -> None:
    """Orthonormal rows and the largest projections by size: no gap, though half of the codes are negative."""
    x = torch.randn(100, 12, generator=torch.Generator().manual_seed(2))
    codes = torch.zeros_like(x).scatter_(1, x.abs().topk(3).indices, 1.0) * x
    assert values(amortisation_gap, Given(codes, torch.eye(12), y=x))["gap"] == pytest.approx(0, abs=1e-6)


def test_what_must_not_move_it_does_not() -> None:
    given = _given()
    whole = values(amortisation_gap, given, batches=1)
    assert values(amortisation_gap, given, batches=5) == pytest.approx(whole, abs=1e-6)
    order, factor = torch.randperm(24, generator=torch.Generator().manual_seed(1)), 2.0 ** (torch.arange(24) % 5)
    moved = given.but(codes=given.codes[:, order] / factor, decoder=given.decoder[order] * factor[:, None])
    assert values(amortisation_gap, moved) == pytest.approx(whole, abs=1e-5)


def test_a_token_that_is_decoded_twice_as_large_counts_four_times() -> None:
    given = _given().but(per_row=1)
    scale = torch.rand(60, generator=torch.Generator().manual_seed(3)) + 0.5
    scaled = given.but(scale=scale, y=(given.y - 0.5) * scale[:, None] + 0.5)
    plain, found = (taken(amortisation_gap, g)[1]["saved"][:, 0] for g in (given, scaled))
    assert found == pytest.approx(plain * scale.square().numpy(), rel=1e-3, abs=1e-5)


def test_tokens_with_too_many_latents_are_left_out_and_nothing_is_undefined_for_want_of_them() -> None:
    given = _given()
    few = (given.codes != 0).sum(1) <= 3
    assert taken(amortisation_gap, given, most=3)[1]["sampled"][:, 0].sum() == int(few.sum())
    assert np.isnan(values(amortisation_gap, given, most=1)["gap"])
    dead = values(amortisation_gap, given.but(codes=torch.zeros_like(given.codes)))
    assert dead["gap"] == 0
