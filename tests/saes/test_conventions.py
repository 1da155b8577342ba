"""One wrong bit of convention is noticed on real activations, and a right reading is never accused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saebench.data.world import sae_names
from saebench.models import load_model
from saebench.saes import load_sae, measure
from saebench.saes.architectures import ReLU
from saebench.saes.conventions import suspect
from saebench.showing import probe_batch

GOOD = ("relu-mid", "gated-mid", "topk-mid", "batchtopk-mid", "jumprelu-mid", "matryoshka-mid")


@pytest.fixture(scope="module")
def acts() -> dict[str, tuple[Tensor, Tensor]]:
    """Activations of the world's text at the hooks of its SAEs and of its transcoder."""
    model = load_model("world")
    residual, mlp_in, mlp_out = (f"blocks.1.{hook}" for hook in ("hook_resid_post", "mlp.hook_in", "hook_mlp_out"))
    return {
        end: probe_batch(model, hook, end, tokens=800)[:2] for hook, end in ((residual, residual), (mlp_in, mlp_out))
    }


def said(coder: Any, acts: dict[str, tuple[Tensor, Tensor]]) -> str:
    return " ".join(measure(coder, *acts[coder.hook_out]).warnings)


@pytest.mark.parametrize("name", sorted(sae_names()))
def test_no_shipped_sae_is_accused_of_another_convention(name: str, acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    assert "wrong convention" not in said(load_sae(f"world:{name}"), acts)


@pytest.mark.parametrize("name", GOOD)
def test_bias_that_is_not_subtracted_is_noticed(name: str, acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    coder = load_sae(f"world:{name}")
    assert "if b_dec were subtracted from the input" in said(coder.replace(centred=False), acts)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
def test_normalisation_that_was_not_trained_is_noticed(
    name: str, norm: str, acts: dict[str, tuple[Tensor, Tensor]]
) -> None:
    coder = load_sae(f"world:{name}").replace(normalise=norm)
    assert "without normalisation of the input" in said(coder, acts)


@pytest.mark.parametrize("name", GOOD)
def test_scale_that_was_never_folded_is_noticed(name: str, acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    coder = load_sae(f"world:{name}")
    scale = coder.d_in**0.5 / float(acts[coder.hook_in][0].norm(dim=-1).mean())
    trained = coder.replace(W_enc=coder.W_enc / scale, W_dec=coder.W_dec * scale, b_dec=coder.b_dec * scale)
    assert "with activations multiplied by sqrt(d) / their mean norm" in said(trained, acts)


def identity(x: Tensor, reach: float) -> ReLU:
    """A ReLU SAE that is exact on inputs whose components stay above -reach, and clips others."""
    _, _, V = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return ReLU(W_enc=V.T.contiguous(), W_dec=V, b_enc=torch.full((len(V),), reach), b_dec=-reach * V.sum(0))


def test_normalised_sae_read_raw_is_noticed(acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    x, _ = acts["blocks.1.hook_resid_post"]
    coder = identity(x, reach=128**0.5).replace(normalise="layer_norm")
    assert not suspect(coder, x, x)
    told = suspect(coder.replace(normalise="none"), x, x)
    assert "with the input's layer_norm" in told[0] or "with the input's constant_norm_rescale" in told[0], told


def test_square_decoder_transposed_is_noticed(acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    x, _ = acts["blocks.1.hook_resid_post"]
    right = identity(x, reach=1000.0)
    assert not suspect(right, x, x)
    turned = right.replace(W_dec=right.W_dec.T.contiguous())
    assert "with the decoder transposed" in " ".join(suspect(turned, x, x))


def test_unset_threshold_is_noticed_by_the_weights_and_by_the_probe(acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    from saebench.saes.gate import inspect_weights

    coder = load_sae("world:batchtopk-mid").replace(threshold=torch.full((1024,), -1.0))
    assert any("threshold is zero or unset" in warning for warning in inspect_weights(coder))
    assert "declared 20" in said(coder, acts)


def test_controls_are_never_accused(acts: dict[str, tuple[Tensor, Tensor]]) -> None:
    x, _ = acts["blocks.1.hook_resid_post"]
    null = load_sae("null:random-20").fit(x).replace(centred=False)
    assert not suspect(null, x, x)
