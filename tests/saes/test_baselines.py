"""Baselines and nulls: principal components against scikit-learn, and controls that know nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saebench.errors import UserError
from saebench.saes import Recipe, SparseCoder, load_sae, nulls
from saebench.saes.baselines import identity, moments, pca
from tests.saes.checkpoints import HOOK, NATIVE, D, activations, write


def data(n: int = 400, width: int = D) -> torch.Tensor:
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(2))
    return activations(n, width) @ mixing + 30


@pytest.mark.parametrize("k", [None, 1, 5, D])
def test_pca_equals_scikit_learn(k: int | None) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = data()
    oracle = decomposition.PCA(n_components=k, svd_solver="full").fit(x.double().numpy())
    coder = pca(x, k, hook=HOOK)
    ours = coder.W_dec.double().numpy()
    signs = np.sign((ours * oracle.components_).sum(1))
    np.testing.assert_allclose(ours * signs[:, None], oracle.components_, atol=1e-5)
    np.testing.assert_allclose(coder.metadata["variances"], oracle.explained_variance_, rtol=1e-6)
    expected = oracle.inverse_transform(oracle.transform(x.double().numpy()))
    error = np.abs(coder.to(dtype=torch.float64).reconstruct(x.double()).numpy() - expected).max()
    assert error / np.abs(expected).max() < 1e-6
    assert coder.d_sae == (k or D) and coder.signed and coder.role == "baseline"
    torch.testing.assert_close(
        coder.encode(x).dense().double() * torch.from_numpy(signs),
        torch.from_numpy(oracle.transform(x.double().numpy())), rtol=1e-3, atol=1e-3,
    )  # fmt: skip


def test_moments_do_not_depend_on_the_batches_nor_on_a_large_mean() -> None:
    x = data() + 1e4
    whole, parts = moments(x), moments(iter(x.split(37)))
    torch.testing.assert_close(whole.mean, parts.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.covariance, parts.covariance, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whole.covariance, torch.cov(x.double().T), rtol=1e-9, atol=1e-9)


def test_identity_is_exact() -> None:
    coder, x = identity(D, hook=HOOK), data()
    assert torch.equal(coder.reconstruct(x), x)
    assert torch.equal(coder.encode(x).dense(), x)
    assert coder.d_sae == D and isinstance(coder, SparseCoder)


@pytest.mark.parametrize(
    ("ref", "name", "latents", "role"),
    [
        ("baseline:identity", "identity", D, "baseline"),
        ("baseline:pca", "pca", D, "baseline"),
        ("baseline:pca-4", "pca-4", 4, "baseline"),
        ("null:random", "random", 8 * D, "null"),
        ("null:random-7", "random-7", 8 * D, "null"),
    ],
)
def test_recipes_become_coders_when_given_activations(ref: str, name: str, latents: int, role: str) -> None:
    recipe = load_sae(ref, seed=1)
    assert isinstance(recipe, Recipe) and recipe.name == name and recipe.role == role
    coder = recipe.fit(data(), hook=HOOK)
    assert isinstance(coder, SparseCoder)
    assert (coder.name, coder.ref, coder.role, coder.d_sae) == (name, ref, role, latents)
    assert coder.hook_in == coder.hook_out == HOOK and coder.d_in == D
    streamed = recipe.fit(iter(data().split(400)), hook=HOOK)
    assert streamed.fingerprint == coder.fingerprint
    assert load_sae(ref, hook="x", name="mine").fit(data()).hook_in == "x"


def test_random_dictionary() -> None:
    x = data()
    coder = load_sae("null:random-6").fit(x, hook=HOOK, width=50)
    assert coder.d_sae == 50
    torch.testing.assert_close(coder.W_dec.norm(dim=1), torch.ones(50))
    assert bool((coder.encode(x).l0 <= 6).all())
    cosine = torch.nn.functional.cosine_similarity(coder.W_enc.T, coder.W_dec)
    torch.testing.assert_close(cosine, torch.ones(50))
    scaled = [float((x - coder.replace(W_enc=coder.W_enc * s).reconstruct(x)).square().sum()) for s in (0.9, 1, 1.1)]
    assert scaled[1] == min(scaled)
    again = load_sae("null:random-6").fit(x, hook=HOOK, width=50)
    other = load_sae("null:random-6", seed=1).fit(x, hook=HOOK, width=50)
    assert coder.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("architecture", NATIVE)
def test_untrained_and_shuffled_twins_of_every_architecture(architecture: str, tmp_path: Path) -> None:
    coder = load_sae(write(tmp_path, architecture))
    fresh, shuffled = nulls.untrained(coder, seed=1), nulls.shuffled(coder, seed=1)
    x = activations()
    for null in (fresh, shuffled):
        assert type(null) is type(coder) and null.role == "null" and isinstance(null, SparseCoder)
        assert null.reconstruct(x).shape == (len(x), coder.d_out)
    assert torch.equal(shuffled.encode(x).dense(), coder.encode(x).dense())
    assert torch.equal(shuffled.W_dec.sort(0).values, coder.W_dec.sort(0).values)
    assert not torch.equal(shuffled.W_dec, coder.W_dec)
    torch.testing.assert_close(fresh.W_dec.norm(dim=1), coder.W_dec.norm(dim=1))
    torch.testing.assert_close(fresh.W_enc.norm(dim=0), coder.W_enc.norm(dim=0))
    assert nulls.untrained(coder, seed=1).fingerprint == fresh.fingerprint
    assert len({coder.fingerprint, fresh.fingerprint, shuffled.fingerprint, nulls.untrained(coder).fingerprint}) == 4


def test_seeds_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    load_sae("null:random").fit(data(), hook=HOOK)
    load_sae("baseline:pca").fit(data(), hook=HOOK)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(UserError, match=f"K is 1 to {D}"):
        load_sae(f"baseline:pca-{D + 1}").fit(data())
    with pytest.raises(UserError, match="fewer than two tokens"):
        pca(data(1))
    with pytest.raises(UserError, match="there are none"):
        load_sae("null:random").fit(iter([]))
    with pytest.raises(UserError, match="K is 1 to 4"):
        load_sae("null:random-5").fit(data(), width=4)
