"""Bad checkpoints and references: one clear sentence each, and nothing from a file is run."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from saebench.errors import UserError
from saebench.saes import check_fits, load_sae, resolve
from tests.saes.checkpoints import HOOK, D, F, weights, write


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def refused(ref: Any, match: str, **options: Any) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load_sae(ref, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["sae_weights.pt", "ae.pt", "model.bin", "x.pkl"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_would_run_code_is_refused_and_not_run(name: str, zipped: bool, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    target = tmp_path / "touched"
    content = {**weights(), "extra": Malicious(target)}
    if zipped:
        torch.save(content, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Malicious(target)))
    refused(tmp_path / name, "may run code" if zipped else "may run code|damaged")
    assert not target.exists()
    if zipped:  # the file is what it claims to be: loaded without care, it acts
        torch.load(tmp_path / name, weights_only=False)
        assert target.exists()


def test_pickle_of_plain_tensors_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    expected = load_sae(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    torch.save(weights(), tmp_path / "sae_weights.pt")
    assert load_sae(tmp_path).fingerprint == expected.fingerprint


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_safetensors(share: float, tmp_path: Path) -> None:
    file = write(tmp_path) / "sae_weights.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refused(tmp_path, "cut short")


def test_damaged_configuration(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "cfg.json").write_text('{"d_in": 16,')
    refused(tmp_path, "Cannot read .*cfg.json")
    (tmp_path / "cfg.json").write_text("[]")
    refused(tmp_path, "JSON list")


def test_nothing_recognisable_says_what_was_looked_for(tmp_path: Path) -> None:
    refused(tmp_path, "Looked for: cfg.json with sae_weights.safetensors .*Found: nothing")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path, "Found: notes.txt")
    refused(tmp_path / "notes.txt", "no SAE in a known format")
    refused(tmp_path / "nowhere", "no such file or directory")


def test_folder_of_saes_names_one_of_them(tmp_path: Path) -> None:
    write(tmp_path / "layer_1")
    write(tmp_path / "layer_2")
    refused(tmp_path, "several SAEs.*layer_1, layer_2")


def test_two_formats_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saebench.saes import formats, saelens

    twin = formats.Format("twin", "anything", saelens.detect, saelens.load)
    monkeypatch.setattr(formats, "formats", lambda: {"saelens": saelens.FORMAT, "twin": twin})
    refused(write(tmp_path), "saelens and twin at once")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec"])
def test_weights_that_are_not_finite_are_named(name: str, value: float, tmp_path: Path) -> None:
    tensors = weights()
    tensors[name].view(-1)[5] = value
    refused(write(tmp_path, tensors=tensors), f"1 of {tensors[name].numel()} entries of '{name}' are NaN or infinite")


def test_sizes_that_disagree(tmp_path: Path) -> None:
    refused(write(tmp_path, d_in=D + 1), rf"says d_in is {D + 1}, but its tensors have {D}")
    refused(write(tmp_path, d_sae=F * 2), "d_sae")
    short = weights() | {"b_enc": torch.zeros(F - 1)}
    refused(write(tmp_path, tensors=short), rf"'b_enc' has shape \[{F - 1}\].*\[{F}\]")
    refused(write(tmp_path, tensors=weights() | {"b_dec": torch.zeros(D + 2)}), "'b_dec'")
    refused(write(tmp_path, tensors=weights() | {"W_dec": weights()["W_dec"].T.contiguous()}), "d_sae|W_dec|W_enc")
    refused(write(tmp_path, "transcoder", apply_b_dec_to_input=True), "apply_b_dec_to_input")
    refused(write(tmp_path, "topk", k=F + 1), f"k is {F + 1}")
    refused(write(tmp_path, "topk", k=None), "whole number k")


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    tensors = weights()
    del tensors["W_dec"]
    refused(write(tmp_path, tensors=tensors), "'W_dec' is missing")
    refused(write(tmp_path, "jumprelu", weights()), "'threshold'")
    refused(write(tmp_path, "gated", weights()), "'b_gate'")


def test_unknown_architecture_and_activation(tmp_path: Path) -> None:
    folder = write(tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    for change, match in (
        ({"architecture": "jumprelo"}, "Unknown architecture.*Did you mean 'jumprelu'"),
        ({"activation_fn_str": "tanh-relu"}, "activation function.*tanh-relu"),
        ({"normalize_activations": "layernorm"}, "Did you mean 'layer_norm'"),
    ):
        (folder / "cfg.json").write_text(json.dumps({**config, **change}))
        refused(folder, match)


def test_no_hook_says_to_pass_one(tmp_path: Path) -> None:
    write(tmp_path, metadata={})
    refused(tmp_path, "hook='blocks.8.hook_resid_post'")
    assert load_sae(tmp_path, hook=HOOK).hook_out == HOOK


def test_every_latent_dead_loads_with_a_warning(tmp_path: Path) -> None:
    tensors = weights() | {"W_enc": torch.zeros(D, F), "b_enc": torch.full((F,), -1.0)}
    coder = load_sae(write(tmp_path, tensors=tensors))
    assert "no latent can ever fire" in coder.warnings[0]
    x = torch.randn(7, D)
    assert coder.encode(x).l0.tolist() == [0] * 7
    torch.testing.assert_close(coder.reconstruct(x), tensors["b_dec"].expand(7, D))


def test_dead_rows_are_counted(tmp_path: Path) -> None:
    tensors = weights()
    tensors["W_dec"][:3] = 0
    tensors["W_enc"][:, 5] = 0
    tensors["b_enc"][5] = -1
    warnings = load_sae(write(tmp_path, tensors=tensors)).warnings
    assert f"3 of {F} decoder rows are zero" in warnings and f"1 of {F} latents can never fire" in warnings


def test_width_of_another_model(tmp_path: Path) -> None:
    coder = load_sae(write(tmp_path))
    check_fits(coder, D, D)
    with pytest.raises(UserError, match=f"input width {D}, but {HOOK} of this model has width 32"):
        check_fits(coder, 32, 32)
    across = load_sae(write(tmp_path, "transcoder", weights("transcoder")))
    with pytest.raises(UserError, match="output width 12"):
        check_fits(across, D, D)


def test_two_saes_of_one_name(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a" / "sae"), write(tmp_path / "b" / "sae", "jumprelu")
    with pytest.raises(UserError, match="Two different SAEs are named 'sae'.*NAME=REF"):
        resolve([one, two])
    assert [c.name for c in resolve([one, f"other={two}"])] == ["sae", "other"]
    assert [c.name for c in resolve({"x": one, "y": two})] == ["x", "y"]
    assert len(resolve([one, one])) == 1
    assert [c.name for c in resolve(str(one))] == ["sae"]


@pytest.mark.parametrize(
    ("ref", "match"),
    [
        ("word:x", "Unknown kind of SAE reference 'word'. Did you mean 'world'"),
        ("baseline:pcs", "Did you mean 'pca'"),
        ("baseline:identity-3", "write baseline:identity"),
        ("null:random-x", "K from 1"),
        ("null:shuffled", "null:shuffled@REF"),
        ("null:nothing@x", "Unknown null"),
        ("hf:onlyowner", "hf:OWNER/REPO"),
        ("hf:owner/repo/../../etc", "hf:OWNER/REPO"),
    ],
)
def test_references_that_are_none(ref: str, match: str) -> None:
    refused(ref, match)


def test_unknown_world_name_offers_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from saebench.data import world

    write(tmp_path / "topk-16")
    monkeypatch.setattr(world, "SAES_DIR", tmp_path)
    monkeypatch.setattr(world, "sae_names", lambda: ["topk-16", "relu-16"])
    refused("world:topk_16", "Unknown SAE of the world 'topk_16'. Did you mean 'topk-16'")
    assert load_sae("world:topk-16").name == "topk-16" and load_sae("world:topk-16").ref == "world:topk-16"


def test_device_that_is_absent_and_dtype_that_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path)
    if not torch.cuda.is_available():
        refused(folder, "'cuda' was asked for, but there is no CUDA device here", device="cuda")
    refused(folder, "Unknown device", device="gpu")
    refused(folder, "Did you mean 'float32'", dtype="float23")


def test_the_description_that_is_offered_can_be_completed(tmp_path: Path) -> None:
    names = {"W_enc": "my.encoder.w", "W_dec": "my.decoder.w", "b_enc": "gain", "b_dec": "middle"}
    held = {own: weights()[ours] for ours, own in names.items()} | {"steps": torch.tensor([3.0])}
    save_file(held, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as caught:
        load_sae(tmp_path)
    offered = str(caught.value).split("`")[1]
    (tmp_path / "saebench.yaml").write_text(offered.replace("k: 32", "k: 4"))
    coder = load_sae(tmp_path)
    assert (coder.architecture, coder.k) == ("topk", 4) and torch.equal(coder.W_dec, held["my.decoder.w"])


def test_a_folder_with_one_sae_somewhere_below_is_that_sae(tmp_path: Path) -> None:
    one = write(tmp_path / "runs" / "seed0")
    assert load_sae(tmp_path).fingerprint == load_sae(one).fingerprint


def test_safetensors_without_configuration(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "sae_weights.safetensors")
    for path in (tmp_path, tmp_path / "sae_weights.safetensors"):
        refused(
            path,
            r"sae_weights.safetensors holds W_dec \[64, 16\], .*in a saebench.yaml.*{architecture: topk.*W_dec: W_dec",
        )
