"""Parity with SAELens: every architecture, saved by it and loaded by us, and its own objects."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from saebench.errors import UserError
from saebench.saes import Codes, SparseCoder, load_sae
from tests.saes.checkpoints import HOOK, NATIVE, OUT, D, F, K, activations, config, weights, write

warnings.filterwarnings("ignore")
pytest.importorskip("sae_lens")

NORMS = ("none", "layer_norm", "constant_norm_rescale")


def upstream(architecture: str, **changes: Any) -> Any:
    """SAELens' own object with our random weights."""
    from sae_lens.registry import SAE_CLASS_REGISTRY

    sae = SAE_CLASS_REGISTRY[architecture][0].from_dict(config(architecture, **changes))
    sae.load_state_dict(weights(architecture))
    return sae.eval().requires_grad_(False)


def training(architecture: str, **changes: Any) -> Any:
    """SAELens' training object of BatchTopK or Matryoshka, with a threshold met in training."""
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY

    sae = SAE_TRAINING_CLASS_REGISTRY[architecture][0].from_dict(config(architecture, **changes))
    sae.load_state_dict({**weights(), "topk_threshold": torch.tensor(0.4, dtype=torch.float64)})
    return sae.eval().requires_grad_(False)


def same(coder: SparseCoder, sae: Any, x: torch.Tensor | None = None) -> None:
    x = activations() if x is None else x
    codes = coder.encode(x)
    torch.testing.assert_close(codes.dense(), sae.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.reconstruct(x), sae(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.decode(codes.dense(), codes.ctx), coder.decode(codes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", NATIVE)
def test_saved_by_saelens_and_loaded_here(architecture: str, norm: str, tmp_path: Path) -> None:
    sae = upstream(architecture, normalize_activations=norm)
    sae.save_model(tmp_path / "sae")
    coder = load_sae(tmp_path / "sae")
    same(coder, sae)
    assert isinstance(coder, SparseCoder)
    across = "transcoder" in architecture
    assert (coder.d_in, coder.d_sae, coder.d_out) == (D, F, 12 if across else D)
    assert (coder.hook_in, coder.hook_out) == (HOOK, OUT if across else HOOK)
    assert coder.architecture == architecture and coder.name == "sae"
    assert coder.normalised is (norm != "none" and not across)
    assert coder.signed is (architecture == "abstopk")


@pytest.mark.parametrize("architecture", NATIVE)
def test_its_objects_are_read_not_run(architecture: str) -> None:
    sae = upstream(architecture, normalize_activations="layer_norm")
    coder = load_sae(sae)
    first = coder.encode(activations())
    coder.encode(activations(seed=1))  # SAELens would now decode `first` with the wrong statistics
    torch.testing.assert_close(coder.decode(first), sae(activations()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["standard", "gated", "topk", "jumprelu", "abstopk"])
def test_b_dec_may_be_left_on_the_input(architecture: str) -> None:
    sae = upstream(architecture, apply_b_dec_to_input=False)
    same(load_sae(sae), sae)


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_top_k_in_units_of_the_decoder_norm(architecture: str, tmp_path: Path) -> None:
    sae = upstream(architecture, rescale_acts_by_decoder_norm=True)
    sae.W_dec.data *= torch.linspace(0.1, 3, F)[:, None]
    sae.save_model(tmp_path)
    coder = load_sae(tmp_path)
    same(coder, sae)
    torch.testing.assert_close(coder.W_dec.norm(dim=1), torch.ones(F))


def test_top_k_applies_relu_after_the_selection() -> None:
    sae = upstream("topk")
    sae.b_enc.data -= 3
    same(load_sae(sae), sae)
    assert float(load_sae(sae).encode(activations()).l0.float().mean()) < K


def test_jumprelu_is_strict_and_still_a_relu() -> None:
    sae = upstream("jumprelu", apply_b_dec_to_input=False)
    sae.W_enc.data.zero_()
    sae.b_enc.data = torch.linspace(-1, 1, F)
    sae.threshold.data = sae.b_enc.data.clone()  # equal: does not fire
    assert not len(load_sae(sae).encode(activations()).values)
    sae.threshold.data -= 1  # below: fires, but never below zero
    same(load_sae(sae), sae)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_batch_top_k_as_exported_and_as_checkpointed(architecture: str, rescaled: bool, tmp_path: Path) -> None:
    more = {"matryoshka_widths": [16, F]} if "matryoshka" in architecture else {}
    sae = training(architecture, rescale_acts_by_decoder_norm=rescaled, **more)
    sae.save_inference_model(tmp_path / "exported")
    sae.save_model(tmp_path / "checkpoint")
    from sae_lens import SAE

    exported, checkpoint = load_sae(tmp_path / "exported"), load_sae(tmp_path / "checkpoint")
    oracle = SAE.load_from_disk(tmp_path / "exported").requires_grad_(False)
    same(exported, oracle)
    same(checkpoint, oracle)
    same(load_sae(sae), oracle)
    assert exported.architecture == checkpoint.architecture == architecture
    assert exported.metadata["k"] == checkpoint.metadata["k"] == K
    assert not exported.warnings


def test_threshold_that_was_never_set_is_noticed(tmp_path: Path) -> None:
    sae = training("batchtopk")
    sae.topk_threshold.zero_()
    sae.save_model(tmp_path)
    assert "plain ReLU" in load_sae(tmp_path).warnings[0]


def test_matching_pursuit_is_run_by_saelens(tmp_path: Path) -> None:
    from sae_lens.registry import SAE_CLASS_REGISTRY

    sae = SAE_CLASS_REGISTRY["matching_pursuit"][0].from_dict(config("matching_pursuit", max_iterations=3))
    sae.W_dec.data = torch.nn.functional.normalize(weights()["W_dec"], dim=1)
    sae.requires_grad_(False).save_model(tmp_path / "mp")
    coder = load_sae(tmp_path / "mp")
    same(coder, sae)
    assert coder.linear_decoder and coder.architecture == "matching_pursuit"


@pytest.mark.parametrize("across", ["skip_transcoder", "jumprelu_skip_transcoder"])
def test_skip_connection_is_in_reconstruct_and_needs_its_input(across: str) -> None:
    sae = upstream(across)
    coder, x = load_sae(sae), activations()
    codes = coder.encode(x)
    torch.testing.assert_close(coder.reconstruct(x), sae.decode(sae.encode(x)) + x @ sae.W_skip.T)
    with pytest.raises(UserError, match="ctx=codes.ctx"):
        coder.decode(codes.dense())


def test_configuration_from_before_version_6(tmp_path: Path) -> None:
    new = upstream("topk", apply_b_dec_to_input=True)
    write(tmp_path, "topk", weights("topk") | {"scaling_factor": torch.ones(F)})
    old = {"hook_point": HOOK, "hook_point_layer": 1, "model_name": "toy", "d_in": D, "d_sae": F,
           "dtype": "torch.float32", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K},
           "normalize_activations": False, "context_size": 128}  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    coder = load_sae(tmp_path)
    same(coder, new)
    assert coder.architecture == "topk" and coder.hook_in == HOOK
    assert coder.metadata["model_name"] == "toy" and coder.metadata["k"] == K and coder.metadata["context_size"] == 128


def test_fine_tuned_scaling_factor_goes_into_the_decoder(tmp_path: Path) -> None:
    factor = torch.linspace(0.5, 2, F)
    write(tmp_path, tensors=weights() | {"scaling_factor": factor}, finetuning_scaling_factor=True)
    coder, plain = load_sae(tmp_path), weights()
    torch.testing.assert_close(coder.W_dec, plain["W_dec"] * factor[:, None])
    write(tmp_path, tensors=weights() | {"scaling_factor": factor})
    with pytest.raises(UserError, match="finetuning_scaling_factor"):
        load_sae(tmp_path)


def test_hook_z_takes_flat_activations(tmp_path: Path) -> None:
    hook = "blocks.1.attn.hook_z"
    metadata = {"hook_name": hook, "sae_lens_version": "6.0.0"}
    sae = upstream("standard", reshape_activations="hook_z", metadata=metadata)
    coder, x = load_sae(sae), activations()
    heads = sae(x.view(-1, 4, D // 4))
    torch.testing.assert_close(coder.reconstruct(x), heads.reshape(-1, D), rtol=1e-5, atol=1e-5)


def test_input_scale_of_a_training_run_is_folded_or_refused(tmp_path: Path) -> None:
    write(tmp_path, normalize_activations="expected_average_only_in")
    with pytest.raises(UserError, match="fold_activation_norm_scaling_factor"):
        load_sae(tmp_path)
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 2.5}))
    sae = upstream("standard")
    sae.fold_activation_norm_scaling_factor(2.5)
    same(load_sae(tmp_path), sae)
    write(tmp_path, normalize_activations="covariance_whitening")
    with pytest.raises(UserError, match="fold_activation_whitening"):
        load_sae(tmp_path)
    with pytest.raises(UserError, match="never folded"):
        load_sae(upstream("standard", normalize_activations="expected_average_only_in"))


@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_batch_size_does_not_move_the_numbers(architecture: str) -> None:
    coder, x = load_sae(upstream(architecture)), activations(64)
    parts = Codes.cat([coder.encode(part) for part in x.split(7)])
    torch.testing.assert_close(parts.dense(), coder.encode(x).dense(), rtol=1e-5, atol=1e-6)


def test_release_and_id_are_checked_before_the_network() -> None:
    with pytest.raises(UserError, match="Did you mean 'gpt2-small-res-jb'"):
        load_sae("saelens:gpt2-small-res-jp/blocks.8.hook_resid_pre")
    with pytest.raises(UserError, match="Did you mean 'blocks.8.hook_resid_pre'"):
        load_sae("saelens:gpt2-small-res-jb/blocks.8.hook_resid_pr")
    with pytest.raises(UserError, match="saelens:RELEASE/ID"):
        load_sae("saelens:gpt2-small-res-jb")


def test_release_goes_through_saelens_and_comes_back_native(monkeypatch: pytest.MonkeyPatch) -> None:
    import sae_lens

    sae = upstream("jumprelu")
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", lambda r, i, **_: asked.append((r, i)) or sae)
    coder = load_sae("saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre")
    same(coder, sae)
    assert asked == [("gpt2-small-res-jb", "blocks.8.hook_resid_pre")]
    assert coder.ref == "saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre"
    assert coder.name == "gpt2-small-res-jb/blocks.8.hook_resid_pre"
