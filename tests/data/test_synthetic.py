"""The generator gives what its recipe says, the same by number, whatever was drawn before."""

from __future__ import annotations

import numpy as np
import pytest

import saebench as sb
from saebench.data.synthetic import CHUNK, Synthetic, recipe
from saebench.errors import UserError

N = 12 * CHUNK


def firing(reference: str) -> tuple[Synthetic, np.ndarray]:
    made = Synthetic(recipe(reference))
    return made, made.draw(np.arange(N)).coefficients != 0


def test_the_published_organism() -> None:
    made, fires = firing("synthetic:organism")
    assert made.directions.shape == (32, 16) and (fires.sum(1) == 3).all()
    assert fires.mean(0) == pytest.approx(3 / 32, abs=0.015)
    size = made.draw(np.arange(N)).coefficients[fires]
    assert size.mean() == pytest.approx((2 / np.pi) ** 0.5, abs=0.02), "the absolute value of a standard normal"


def test_flat_features_are_independent_and_as_frequent_as_their_chance() -> None:
    made, fires = firing("synthetic:flat?n=40&l0=3")
    assert fires.sum(1).mean() == pytest.approx(3, abs=0.06)
    assert np.abs(fires.mean(0) - made.chance).max() < 0.02
    assert np.abs(np.corrcoef(fires.T) - np.eye(40)).max() < 0.05


def test_a_child_fires_with_its_parent_alone_and_with_no_sibling() -> None:
    made, fires = firing("synthetic:hierarchical?n=40&children=4&brood=0.6&l0=3")
    children = np.flatnonzero(made.parent >= 0)
    assert len(children) == 32 and not (fires[:, children] & ~fires[:, made.parent[children]]).any()
    for parent in range(8):
        own = fires[:, made.parent == parent]
        assert own.sum(1).max() == 1
        assert own.any(1)[fires[:, parent]].mean() == pytest.approx(0.6, abs=0.06)
    assert fires.sum(1).mean() == pytest.approx(3, abs=0.06)


def test_partners_fire_together_as_often_as_they_should() -> None:
    made, fires = firing("synthetic:correlated?n=10&rho=0.8&l0=2")
    first, second = fires[:, ::2], fires[:, 1::2]
    assert (first & second).sum(0) / first.sum(0) == pytest.approx(0.8, abs=0.04)
    assert second.mean(0) == pytest.approx(first.mean(0), abs=0.02)
    assert (made.partner[made.partner] == np.arange(10)).all()


def test_draws_depend_on_their_number_alone() -> None:
    numbers = np.array([5, 3000, 17, 5, 9000])
    one = Synthetic(recipe("synthetic:flat?noise=0.1")).draw(numbers)
    other = Synthetic(recipe("synthetic:flat?noise=0.1"))
    other.draw(np.arange(4000))
    np.testing.assert_array_equal(other.draw(numbers).activations, one.activations)
    assert (one.activations[0] == one.activations[3]).all() and (one.activations[0] != one.activations[1]).any()


def test_an_activation_is_the_sum_of_its_features() -> None:
    made = Synthetic(recipe("synthetic:flat?d=20&n=50"))
    drawn = made.draw(np.arange(30))
    for coefficients, activation in zip(drawn.coefficients, drawn.activations, strict=True):
        total = sum(c * made.directions[j] for j, c in enumerate(coefficients))
        np.testing.assert_allclose(activation, total, atol=1e-5)
    assert np.linalg.norm(made.directions, axis=1) == pytest.approx(1, abs=1e-6)


def test_the_name_is_a_reference_again() -> None:
    for reference in (
        "synthetic:flat",
        "synthetic:organism?seed=3",
        "synthetic:hierarchical?d=32&rho=0.5&orthogonal=1&n=16",
    ):
        assert recipe(recipe(reference).name) == recipe(reference)
    a, b = (sb.load_model(f"synthetic:flat?seed={seed}") for seed in (0, 1))
    assert a.fingerprint != b.fingerprint and a.fingerprint == sb.load_model("synthetic:flat").fingerprint


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("synthetic:flt", "flat"),
        ("synthetic:flat?feature=3", "feature"),
        ("synthetic:flat?n=many", "no int"),
        ("synthetic:flat?n=0", "between"),
        ("synthetic:flat?d=8&n=9&orthogonal=1", "orthogonal"),
        ("synthetic:correlated?k=3", "flat ones alone"),
    ],
)
def test_says_what_is_wrong_with_a_reference(reference: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        sb.load_model(reference)


def test_reads_no_text_and_is_read_by_no_other_model() -> None:
    from tests.helpers.toys import ToySAE, tiny_llama

    with pytest.raises(UserError, match="reads no text"):
        sb.evaluate(
            ToySAE(), suite="quick", model="synthetic:flat?d=16&n=8", metrics=["l0"], data={"text": ["some text"]}
        )
    with pytest.raises(UserError, match="known dictionary"):
        sb.evaluate(ToySAE(), suite="quick", model=tiny_llama(), metrics=["l0"], data={"text": "synthetic"})
