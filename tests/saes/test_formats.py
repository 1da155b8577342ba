"""Every format against its library's own forward, and every detector against the others' files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saebench.saes import Codes, load_sae
from saebench.saes.dictionary_learning import CLASSES
from saebench.saes.formats import formats
from saebench.saes.hook_names import hook_of_module
from tests.saes import foreign
from tests.saes.checkpoints import HOOK, D, F, activations, write
from tests.saes.foreign import CASES, POST, Case

IDS = [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_codes_and_reconstruction_are_the_library_s_own(case: Case, tmp_path: Path) -> None:
    path, forward = case.write(tmp_path)
    coder = load_sae(path, hook=None if case.hooks[0] else HOOK)
    x = activations(80) * 1.3
    expected, y = forward(x)
    found = coder.encode(x)
    assert isinstance(found, Codes) and (coder.d_in, coder.d_sae, coder.d_out) == (D, F, D)
    torch.testing.assert_close(found.dense(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-5, atol=1e-5)
    assert 0 < float(found.l0.double().mean()) < F, "a case in which nothing, or everything, fires shows little"


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_format_and_hooks_are_told(case: Case, tmp_path: Path) -> None:
    path, _ = case.write(tmp_path)
    coder = load_sae(path, hook=None if case.hooks[0] else HOOK)
    assert coder.metadata["format"] == case.format
    assert (coder.hook_in, coder.hook_out) == (case.hooks if case.hooks[0] else (HOOK, HOOK))


def _saelens(folder: Path) -> tuple[Path, foreign.Forward]:
    return write(folder), lambda x: (x, x)


def _plain(folder: Path) -> tuple[Path, foreign.Forward]:
    (folder / "saebench.yaml").write_text("architecture: standard")
    return folder, lambda x: (x, x)


OWN = [Case("saelens", "saelens", _saelens, POST), Case("plain", "plain", _plain, POST)]


@pytest.mark.parametrize("case", [*CASES, *OWN], ids=[*IDS, "saelens", "plain"])
def test_each_detector_takes_its_own_and_no_other(case: Case, tmp_path: Path) -> None:
    path, _ = case.write(tmp_path)
    assert [kind.name for kind in formats().values() if kind.detect(path)] == [case.format]


NAMED = ("language_model_saes", "qwen_scope", "circuit_tracer", "nanda", "e2e_sae")
NAMELESS = [case for case in CASES if case.format not in NAMED]
"""`sae_weights` is SAELens' name too, the names of Qwen Scope's and circuit-tracer's files are layers, and those of
training scripts have their configuration's name."""


@pytest.mark.parametrize("case", NAMELESS, ids=[case.name for case in NAMELESS])
def test_the_name_of_the_weights_does_not_matter(case: Case, tmp_path: Path) -> None:
    path, forward = case.write(tmp_path / "one")
    file = path if path.is_file() else next(p for p in path.rglob("*") if p.suffix in (".pt", ".npz", ".safetensors"))
    other = file.rename(file.with_name(f"weights{file.suffix}"))
    coder = load_sae(other, hook="blocks.1.hook_resid_post")
    torch.testing.assert_close(coder.reconstruct(activations()), forward(activations())[1], rtol=1e-5, atol=1e-5)


def test_checkpoints_of_a_run_lie_one_folder_below_its_configuration(tmp_path: Path) -> None:
    folder, forward = foreign.batch_topk(tmp_path)
    (folder / "checkpoints").mkdir()
    file = (folder / "ae.pt").rename(folder / "checkpoints" / "ae_100.pt")
    torch.testing.assert_close(load_sae(file).reconstruct(activations()), forward(activations())[1])
    assert load_sae(folder).metadata["k"] == 5


def test_compiled_training_leaves_its_mark_on_every_name(tmp_path: Path) -> None:
    folder, forward = foreign.auto_encoder(tmp_path)
    tensors = torch.load(folder / "ae.pt", weights_only=True)
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}, folder / "ae.pt")
    torch.testing.assert_close(load_sae(folder).reconstruct(activations()), forward(activations())[1])


@pytest.mark.parametrize(
    ("trainer", "buffer", "hooks"),
    [
        ({"submodule_name": "resid_post_layer_1"}, {"io": "out"}, ("hook_resid_post", "hook_resid_post")),
        ({"submodule_name": "resid_post_layer_1"}, {"io": "in"}, ("hook_resid_pre", "hook_resid_pre")),
        ({"submodule_name": "mlp_layer_1"}, {"io": "out"}, ("hook_mlp_out", "hook_mlp_out")),
        ({"submodule_name": "mlp_layer_1"}, {"io": "in_and_out"}, ("mlp.hook_in", "hook_mlp_out")),
        ({"submodule_name": "attention_layer_1"}, {"io": "out"}, ("hook_attn_out", "hook_attn_out")),
        ({"submodule_name": None}, {}, ("hook_resid_post", "hook_resid_post")),
    ],
)
def test_hook_follows_submodule_and_side(trainer: dict, buffer: dict, hooks: tuple[str, str], tmp_path: Path) -> None:
    import json

    folder, _ = foreign.auto_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"trainer": config["trainer"] | trainer, "buffer": buffer}))
    coder = load_sae(folder)
    assert (coder.hook_in, coder.hook_out) == tuple(f"blocks.1.{hook}" for hook in hooks)
    assert bool(coder.warnings) == (trainer["submodule_name"] is None)


@pytest.mark.parametrize(
    ("module", "side", "hook"),
    [
        ("layers.3", "output", "blocks.3.hook_resid_post"),
        ("gpt_neox.layers.8", "output", "blocks.8.hook_resid_post"),
        ("h.2", "input", "blocks.2.hook_resid_pre"),
        ("transformer.h.2.mlp", "input", "blocks.2.mlp.hook_in"),
        ("model.layers.3.mlp", "output", "blocks.3.hook_mlp_out"),
        ("layers.3.attention", "output", "blocks.3.hook_attn_out"),
        ("model.layers.3.self_attn.o_proj.input", "output", "blocks.3.attn.hook_z"),
        ("model.layers.3.post_feedforward_layernorm.output", "input", "blocks.3.hook_mlp_out"),
        ("model.embed_tokens", "output", "hook_embed"),
        ("blocks.3.mlp.hook_in", "output", "blocks.3.mlp.hook_in"),
        ("layers.3.mlp.down_proj", "input", "blocks.3.mlp.hook_post"),
        ("layers.3.mlp.up_proj", "input", ""),
        ("layers.3.post_attention_layernorm", "output", ""),
        ("layer_3", "output", ""),
    ],
)
def test_modules_by_our_names(module: str, side: str, hook: str) -> None:
    assert hook_of_module(module, side) == hook


WORLD = {"topk-mid": "AutoEncoderTopK", "relu-mid": "AutoEncoder", "gated-mid": "GatedAutoEncoder"}


@pytest.mark.parametrize(("name", "kind"), WORLD.items())
def test_shipped_sae_saved_in_another_layout_is_the_same_sae(name: str, kind: str, tmp_path: Path) -> None:
    """Same fingerprint, so the same rows and the same cache, whichever library wrote it."""
    own = load_sae(f"world:{name}")
    layout = CLASSES[kind]
    stored = {theirs: getattr(own, ours).T if ours in layout.transposed else getattr(own, ours)
              for ours, theirs in layout.names.items()}  # fmt: skip
    sizes = {"activation_dim": own.d_in, "dict_size": own.d_sae, "k": getattr(own, "k", None)}
    folder = foreign.dictionary(tmp_path, kind, stored, **sizes)
    assert load_sae(folder).fingerprint == own.fingerprint
