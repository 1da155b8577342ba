"""References to coders: names, hooks, dtypes, fingerprints, and the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saebench.saes import Codes, Format, SparseCoder, hub, load_sae, measure
from tests.saes.checkpoints import HOOK, NATIVE, OUT, D, F, activations, weights, write


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_run_in_single_precision_unless_told(stored: torch.dtype, tmp_path: Path) -> None:
    folder = write(tmp_path, tensors={k: v.to(stored) for k, v in weights().items()}, dtype=str(stored))
    coder = load_sae(folder)
    assert {t.dtype for t in coder.tensors().values()} == {torch.float32}
    torch.testing.assert_close(coder.W_enc, weights()["W_enc"].to(stored).float())
    asked = load_sae(folder, dtype="bfloat16")
    assert asked.dtype is torch.bfloat16 and asked.fingerprint == coder.fingerprint
    y = asked.reconstruct(activations())
    assert y.dtype is torch.bfloat16
    assert float((y.float() - coder.reconstruct(activations())).norm() / y.float().norm()) < 0.05


@pytest.mark.parametrize("architecture", NATIVE)
def test_every_architecture_conforms_and_decodes_alike_sparse_and_dense(architecture: str, tmp_path: Path) -> None:
    coder, x = load_sae(write(tmp_path, architecture)), activations()
    codes = coder.encode(x)
    assert isinstance(coder, SparseCoder) and isinstance(codes, Codes)
    assert codes.shape == (len(x), F) and bool((codes.values != 0).all())
    assert coder.signed or bool((codes.values > 0).all())
    dense = coder.decode(codes.dense(), codes.ctx)
    few = codes.keep(torch.arange(len(codes.values)) % 11 == 0)
    torch.testing.assert_close(coder.decode(codes), dense, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.decode(few), coder.decode(few.dense(), few.ctx), rtol=1e-5, atol=1e-5)
    assert torch.equal(coder.reconstruct(x), coder.decode(coder.encode(x)))
    assert coder.to(device="cpu", dtype=torch.float32) is coder


@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm_rescale"])
def test_ablation_moves_the_output_by_the_row(norm: str, tmp_path: Path) -> None:
    coder, x = load_sae(write(tmp_path, normalize_activations=norm)), activations()
    codes = coder.encode(x)
    latent = int(codes.fires.argmax())
    moved = coder.decode(codes) - coder.decode(codes.without([latent]))
    scale = codes.ctx["scale"] if coder.normalised else 1
    torch.testing.assert_close(moved, codes.columns([latent]) * coder.W_dec[latent] * scale, rtol=1e-4, atol=1e-4)


def test_zero_activation_keeps_its_numbers(tmp_path: Path) -> None:
    for norm in ("layer_norm", "constant_norm_rescale"):
        coder = load_sae(write(tmp_path, normalize_activations=norm))
        assert bool(coder.reconstruct(torch.zeros(2, D)).isfinite().all())


def test_fingerprint_is_of_weights_settings_and_hook(tmp_path: Path) -> None:
    coder = load_sae(write(tmp_path / "a"))
    again = load_sae(write(tmp_path / "b"), name="other")
    assert coder.fingerprint == again.fingerprint and len(coder.fingerprint) == 16
    half = write(tmp_path / "c", tensors={k: v.half() for k, v in weights().items()})
    single = write(tmp_path / "d", tensors={k: v.half().float() for k, v in weights().items()})
    assert load_sae(half).fingerprint == load_sae(single).fingerprint != coder.fingerprint
    others = [
        load_sae(tmp_path / "a", hook="blocks.0.hook_resid_post"),
        load_sae(write(tmp_path / "e", apply_b_dec_to_input=False)),
        load_sae(write(tmp_path / "f", normalize_activations="layer_norm")),
        load_sae(write(tmp_path / "g", "topk", weights())),
        load_sae(write(tmp_path / "h", "topk", weights(), k=6)),
    ]
    assert len({c.fingerprint for c in (coder, *others)}) == 6


def test_names_come_from_the_path_or_the_argument(tmp_path: Path) -> None:
    folder = write(tmp_path / "topk-16")
    assert load_sae(folder).name == "topk-16" and load_sae(folder).ref == str(folder)
    assert load_sae(folder / "sae_weights.safetensors").name == "topk-16"
    assert load_sae(str(folder), name="mine").name == "mine"


def test_names_tell_apart_what_lies_in_folders_and_files_that_recur(tmp_path: Path) -> None:
    from tests.saes import foreign

    gemma, _ = foreign.gemma("res")(tmp_path)
    assert load_sae(gemma).name == "layer_1-width_16k-average_l0_7"
    qwen, _ = foreign.qwen(tmp_path)
    assert load_sae(qwen).name == f"{qwen.parent.name}-layer1"
    trained, _ = foreign.auto_encoder(tmp_path)
    assert load_sae(trained).name == load_sae(trained / "ae.pt").name == "resid_post_layer_1-trainer_0"


def test_hooks_of_a_transcoder(tmp_path: Path) -> None:
    folder = write(tmp_path, "transcoder")
    assert (load_sae(folder).hook_in, load_sae(folder).hook_out) == (HOOK, OUT)
    assert load_sae(folder, hook=HOOK).hook_out == OUT
    both = load_sae(folder, hook="a -> b")
    assert (both.hook_in, both.hook_out) == ("a", "b")


def test_metadata_is_kept(tmp_path: Path) -> None:
    coder = load_sae(write(tmp_path, "topk"))
    assert coder.metadata["model_name"] == "toy" and coder.metadata["k"] == 5


def test_probe_batch_is_held_against_what_is_declared(tmp_path: Path) -> None:
    coder, x = load_sae(write(tmp_path, "topk")), activations()
    found = measure(coder, x)
    y = coder.reconstruct(x)
    assert found.l0 == 5
    expected = 1 - (x - y).square().sum() / (x - x.mean(0)).square().sum()
    assert found.explained_variance == pytest.approx(float(expected), rel=1e-5)
    liar = coder.replace(metadata={"l0": 50})
    assert any("measured L0 is 5.0, declared 50" in w for w in measure(liar, x).warnings)
    assert not measure(coder, x, coder.reconstruct(x)).warnings


def test_null_of_a_checkpoint_by_reference(tmp_path: Path) -> None:
    folder = write(tmp_path / "sae")
    null = load_sae(f"null:shuffled@{folder}", seed=3)
    assert null.role == "null" and null.name.startswith("shuffled@") and null.metadata["seed"] == 3
    assert null.fingerprint != load_sae(folder).fingerprint
    assert null.fingerprint == load_sae(f"null:shuffled@{folder}", seed=3).fingerprint
    assert null.fingerprint != load_sae(f"null:shuffled@{folder}", seed=4).fingerprint


def test_hub_reference_parts() -> None:
    assert hub.split("o/r") == ("o/r", "", None)
    assert hub.split("o/r/a/b@main") == ("o/r", "a/b", "main")


def test_format_of_another_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saebench.saes import saelens

    other = Format("other", "x.other", lambda p: (p / "x.other").exists(), lambda p: saelens.load(p / "inner"))
    entry = type("Entry", (), {"name": "other", "load": staticmethod(lambda: other)})()
    _install(monkeypatch, entry)
    write(tmp_path / "inner")
    (tmp_path / "x.other").touch()
    assert load_sae(tmp_path).d_sae == F


def test_a_broken_format_of_another_package_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saebench.errors import PluginWarning

    def fail() -> Format:
        raise ImportError("no module named 'theirs'")

    _install(monkeypatch, type("Entry", (), {"name": "theirs", "value": "theirs:FORMAT", "load": staticmethod(fail)})())
    write(tmp_path)
    with pytest.warns(PluginWarning, match="'theirs'.*left out.*no module named"):
        assert load_sae(tmp_path).d_sae == F


def _install(monkeypatch: pytest.MonkeyPatch, entry: object) -> None:
    """Make an entry point the only one that is installed, looked for anew."""
    from saebench.saes import formats

    monkeypatch.setattr(formats.importlib.metadata, "entry_points", lambda group: [entry])
    monkeypatch.setattr(formats, "_installed", formats._installed.__wrapped__)


def test_one_file_of_a_hub_repository_comes_with_the_configurations_beside_and_above_it() -> None:
    wanted = hub._wanted("L1R-8x/checkpoints/final.safetensors")
    assert {"L1R-8x/checkpoints/final.safetensors", "L1R-8x/*.json", "L1R-8x/checkpoints/*.json"} <= set(wanted)
    assert not any(pattern.endswith("*.safetensors") and "final" not in pattern for pattern in wanted)
    assert "layer0.sae.pt" in hub._wanted("layer0.sae.pt") and "*.yaml" in hub._wanted("layer0.sae.pt")
