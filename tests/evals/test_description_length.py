"""Bits equal entropies counted by hand; few values cost few bits, and coarser rounding costs error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from saebench.evals.description_length import description_length, description_length_fvu

from tests.helpers.streams import Given, sparse, unit_rows, values

BINS = (4, 8, 16, 32, 64, 128, 256)


def _given(seed: int = 0, noise: float = 0.05) -> Given:
    codes, decoder = sparse(600, 10, 3, seed), unit_rows(10, 16)
    y = codes @ decoder + noise * torch.randn(600, 16, generator=torch.Generator().manual_seed(7))
    return Given(codes, decoder, y=y, other=sparse(500, 10, 3, seed + 1))


def _entropy(counts: list[int]) -> float:
    total = sum(counts)
    return -sum(c / total * math.log2(c / total) for c in counts if c)


def test_against_entropies_and_errors_in_loops() -> None:
    given = _given()
    bits, fvu = values(description_length, given), values(description_length_fvu, given)
    codes, decoder, y = (part.double().numpy() for part in (given.codes, given.decoder, given.y))
    span = 1.9 * given.other.amax(0).double().numpy()
    plain, chosen = ((y - codes @ decoder) ** 2).sum(), None
    for bins in BINS:
        total, rounded = 0.0, np.zeros_like(codes)
        for i in range(10):
            fires = codes[:, i] != 0
            place = np.minimum(codes[fires, i] / span[i] * bins, bins - 1).astype(int)
            rounded[fires, i] = (place + 0.5) / bins * span[i]
            p = fires.mean()
            total += _entropy([int(fires.sum()), int((~fires).sum())]) + p * _entropy(list(np.bincount(place)))
        error = ((y - rounded @ decoder) ** 2).sum()
        assert bits[f"bins={bins}"] == pytest.approx(total, rel=1e-9)
        assert fvu[f"bins={bins}"] == pytest.approx(error / ((y - y.mean(0)) ** 2).sum(), rel=1e-5)
        if chosen is None and error <= 1.1 * plain:
            chosen = bins
    assert 4 < chosen < 256
    assert (bits["chosen"], fvu["chosen"]) == (bits[f"bins={chosen}"], fvu[f"bins={chosen}"])


def test_a_code_of_one_value_costs_whether_it_fires_and_no_more() -> None:
    """p = 1/2, 1/4 and 0 and always: 1 + 0.811 + 0 + 0 bits; with eight values at each firing of the first 3 p more."""
    n = 800
    codes = torch.zeros(n, 4)
    codes[: n // 2, 0], codes[: n // 4, 1], codes[:, 3] = 1.0, 1.0, 1.0
    flat = Given(codes, torch.eye(4))
    found = values(description_length, flat)["bins=256"]
    assert found == pytest.approx(1 + _entropy([1, 3]))
    eight = codes.clone()
    eight[: n // 2, 0] = torch.arange(1, 9).repeat(n // 16).float()
    assert values(description_length, flat.but(codes=eight))["bins=256"] == pytest.approx(found + 3 / 2)


def test_a_tighter_tolerance_takes_more_bits_for_less_error_and_may_ask_too_much() -> None:
    given = _given()
    loose, tight = ({m.name: values(m, given, tolerance=x)["chosen"] for m in METRICS} for x in (1.0, 0.01))
    assert loose["description_length"] < tight["description_length"]
    assert loose["description_length_fvu"] > tight["description_length_fvu"]
    exact = _given(noise=0.0)
    assert math.isnan(values(description_length, exact)["chosen"])
    assert math.isnan(values(description_length_fvu, exact)["chosen"])


METRICS = (description_length, description_length_fvu)


@pytest.mark.parametrize("metric", METRICS)
def test_what_must_not_move_it_does_not(metric) -> None:  # noqa: ANN001
    given = _given()
    whole = values(metric, given, batches=1)
    assert values(metric, given, batches=6) == pytest.approx(whole)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    factor = torch.linspace(0.3, 7.0, 10)
    moved = given.but(
        codes=given.codes[:, order] * factor,
        other=given.other[:, order] * factor,
        decoder=given.decoder[order] / factor[:, None],
    )
    assert values(metric, moved) == pytest.approx(whole, rel=1e-5)


def test_the_largest_code_may_occur_again_and_lies_on_no_edge() -> None:
    """Half of the codes are the largest of the other text, a little more or less by rounding: the bits stay."""
    given = _given()
    largest = given.other.amax(0)
    again = torch.where((torch.arange(600) % 2 == 0)[:, None] & (given.codes != 0), largest, given.codes)
    found = [values(description_length, given.but(codes=again * (1 + off))) for off in (-1e-6, 0.0, 1e-6)]
    assert found[0] == pytest.approx(found[1], abs=1e-9) and found[2] == pytest.approx(found[1], abs=1e-9)


def test_a_dead_sae_has_no_bits() -> None:
    given = _given()
    dead = given.but(codes=torch.zeros_like(given.codes), other=torch.zeros_like(given.codes))
    assert set(values(description_length, dead).values()) == {0.0}
    uncentred = float(given.y.square().sum() / (given.y - given.y.mean(0)).square().sum())
    assert values(description_length_fvu, dead)["chosen"] == pytest.approx(uncentred, rel=1e-4)


def test_signed_and_rescaled_codes_are_rounded_as_they_are_decoded() -> None:
    given = _given()
    flipped = given.but(codes=-given.codes, other=-given.other, decoder=-given.decoder)
    assert values(description_length_fvu, flipped) == pytest.approx(values(description_length_fvu, given), rel=1e-5)
    scale = torch.rand(600, generator=torch.Generator().manual_seed(3)) + 0.5
    scaled = given.but(scale=scale, y=given.codes @ given.decoder * scale[:, None])
    found = values(description_length_fvu, scaled, tolerance=1e9)
    span = 1.9 * given.other.amax(0)
    rounded = ((given.codes / span * 4).clamp(max=3.5).floor() + 0.5) / 4 * span * (given.codes != 0)
    error = (scale[:, None] * ((rounded - given.codes) @ given.decoder)).square().sum()
    y = scaled.y
    assert found["bins=4"] == pytest.approx(float(error / (y - y.mean(0)).square().sum()), rel=1e-5)
