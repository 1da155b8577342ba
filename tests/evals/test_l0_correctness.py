"""The n-th projection equals a sort, and rises when latents are mixed."""

from __future__ import annotations

import pytest
import torch
from saebench.evals.l0_correctness import nth_projection

from saebench.metric import NotApplicable
from tests.helpers.streams import Given, sparse, taken, unit_rows, values


def _given(bias: float = 0.0) -> Given:
    codes, decoder = sparse(500, 24, 4), unit_rows(24, 16)
    noise = 0.1 * torch.randn(500, 16, generator=torch.Generator().manual_seed(4))
    shift = bias * torch.ones(16)
    return Given(codes, decoder, y=codes @ decoder + noise + shift, bias=shift)


@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_against_a_sort_of_all_projections(bias: float) -> None:
    given = _given(bias)
    found = values(nth_projection, given, n=(2, 6, 12))
    ordered = ((given.y - bias) @ given.decoder.T).flatten().sort(descending=True).values
    for n in (2, 6, 12):
        assert found[f"n={n}"] == pytest.approx(float(ordered[n * 500]), rel=0.01, abs=0.01)


def test_a_right_dictionary_has_nothing_left_beyond_l0_and_a_mixed_one_has() -> None:
    """Orthonormal rows and four latents a token: the sixth projection is 0. Mixing rows in pairs lifts it."""
    codes = sparse(400, 16, 4)
    right = Given(codes, torch.eye(16), y=codes)
    assert values(nth_projection, right, n=(6,))["n=6"] == pytest.approx(0, abs=2e-3)
    mixed = torch.nn.functional.normalize(torch.eye(16) + 0.5 * torch.eye(16).roll(1, 0), dim=-1)
    assert values(nth_projection, right.but(decoder=mixed), n=(6,))["n=6"] > 0.1


def test_what_must_not_move_it_does_not() -> None:
    given = _given()
    whole = values(nth_projection, given, n=(6,), batches=1)
    assert values(nth_projection, given, n=(6,), batches=7) == pytest.approx(whole)
    factor = torch.rand(24, generator=torch.Generator().manual_seed(2)) + 0.5
    moved = given.but(codes=given.codes / factor, decoder=given.decoder * factor[:, None])
    assert values(nth_projection, moved, n=(6,)) == pytest.approx(whole, rel=1e-4)


def test_its_influences_are_those_of_a_quantile() -> None:
    """The error from the influences against a bootstrap of the sort itself."""
    given = _given()
    _, fields = taken(nth_projection, given, n=(6,))
    error = fields["psi"][:, 0].std(ddof=1) / 50**0.5
    projections = (given.y @ given.decoder.T).view(50, -1)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        projections[torch.randint(50, (50,), generator=generator)].flatten().sort(descending=True).values[6 * 500]
        for _ in range(300)
    ]
    assert error == pytest.approx(float(torch.stack(drawn).std()), rel=0.25)


def test_n_beyond_the_dictionary_is_left_out_and_named() -> None:
    tally, _ = taken(nth_projection, _given(), n=(6, 32))
    assert tally.slices == ("n=6",) and any("n = 32" in note for note in tally.notes)
    with pytest.raises(NotApplicable, match="24 latents"):
        _rows(_given())


def _rows(given: Given) -> None:
    views = given.views(slice(0, 9))
    nth_projection.rows(**{name: views[kind] for name, kind in nth_projection.inputs.items()}, n=(32,), tokens=100)
