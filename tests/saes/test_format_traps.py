"""What is wrong with a foreign checkpoint is said in one sentence, before it can give a wrong number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from saebench.errors import UserError
from saebench.saes import load_sae
from saebench.saes.headers import header
from tests.saes import foreign
from tests.saes.checkpoints import HOOK, D, F, K, activations, draw, write
from tests.saes.foreign.case import topk
from tests.saes.test_bad_input import Malicious, refused


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a configuration or a file of tensors."""
    if file.suffix == ".json":
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
    elif file.suffix == ".safetensors":
        content = load_file(file)
        change(content)
        save_file(content, file)
    else:
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)


@pytest.mark.parametrize("write_one", [foreign.batch_topk, foreign.matryoshka], ids=["batchtopk", "matryoshka"])
def test_threshold_that_training_never_set_is_refused_with_the_way_out(write_one: Any, tmp_path: Path) -> None:
    folder, _ = write_one(tmp_path)
    changed(folder / "ae.pt", lambda t: t.update(threshold=torch.tensor(-1.0)))
    refused(folder, "threshold of this .*SAE is -1: training ended before.*`architecture: topk`")
    (folder / "saebench.yaml").write_text(
        f"architecture: topk\nsubtract_b_dec: true\nhook: {HOOK}\nignore: [threshold]\n"
    )
    coder = load_sae(folder)
    assert bool((coder.encode(torch.randn(30, D)).l0 <= K).all()) and coder.metadata["k"] == K


@pytest.mark.parametrize(
    ("write_one", "way"),
    [
        (foreign.batch_topk, "architecture: batchtopk"),
        (foreign.auto_encoder_topk, "architecture: topk\nignore: [threshold]"),
    ],
    ids=["batchtopk", "topk"],
)
def test_two_classes_with_the_same_tensors_are_told_apart_by_a_description(
    write_one: Any, way: str, tmp_path: Path
) -> None:
    folder, forward = write_one(tmp_path)
    (folder / "config.json").write_text(json.dumps({"activation_dim": D, "dict_size": F, "k": K}))  # as the hub's mixin
    refused(folder, "those of AutoEncoderTopK or of BatchTopKSAE.*ignore: .threshold.")
    (folder / "saebench.yaml").write_text(f"{way}\nsubtract_b_dec: true\nhook: {HOOK}\n")
    torch.testing.assert_close(load_sae(folder).reconstruct(activations()), forward(activations())[1])


def test_top_k_of_dictionary_learning_ignores_its_threshold(tmp_path: Path) -> None:
    folder, _ = foreign.auto_encoder_topk(tmp_path)
    unset = load_sae(folder).fingerprint
    changed(folder / "ae.pt", lambda t: t.update(threshold=torch.tensor(0.9)))
    assert load_sae(folder).fingerprint == unset


RELU = foreign.moss("relu", "dataset-wise")
FOLDED = foreign.moss("relu", "inference")
WRONG = [
    (foreign.auto_encoder, "config.json", {"trainer.dict_size": F + 1}, "dict_size is 65.*have 64"),
    (foreign.auto_encoder, "config.json", {"trainer.dict_class": "AutoEncodr"}, "Did you mean 'AutoEncoder'"),
    (foreign.auto_encoder, "ae.pt", {"scale": torch.ones(1)}, "'scale' that this format does not have"),
    (foreign.auto_encoder, "ae.pt", {"bias": None}, "'bias' is missing"),
    (foreign.auto_encoder_topk, "config.json", {"trainer.k": 6}, "k is 6, but its tensors have 5"),
    (foreign.sparsify(), "cfg.json", {"d_in": D + 1}, "d_in is 17"),
    (foreign.sparsify(), "cfg.json", {"expansion_factor": 8}, "number of latents is 128"),
    (foreign.sparsify(), "cfg.json", {"activation": "topkk"}, "Did you mean 'topk'"),
    (foreign.sparsify(), "cfg.json", {"embed_skip": True}, "embed_skip is set"),
    (foreign.sparsify(), "cfg.json", {"skip_connection": True}, "no tensor 'W_skip'"),
    (foreign.sparsify("groupmax"), "cfg.json", {"k": 5}, "equal groups"),
    (foreign.gemma_2("sae"), "config.json", {"architecture": "jump_rely"}, "Did you mean 'jump_relu'"),
    (foreign.gemma_2("sae"), "config.json", {"width": 99}, "width is 99"),
    (foreign.gemma_2("sae"), "params.safetensors", {"w_dec": draw(F, 2, D)}, "cross-layer"),
    (foreign.gemma_2("sae"), "config.json", {"affine_connection": True}, "affine_skip_connection"),
    (RELU, "config.json", {"sae_type": "molt"}, "'molt'; its latents are linear maps"),
    (RELU, "config.json", {"sae_type": "clt_"}, "Did you mean 'clt'"),
    (RELU, "config.json", {"sae_type": "clt"}, "hook_points_in .* must be a list"),
    (RELU, "config.json", {"sae_type": "crosscoder"}, "hook_points .* must be a list"),
    (RELU, "config.json", {"sae_type": "lorsa"}, "'W_Q' is missing"),
    (RELU, "config.json", {"act_fn": "batchtopk"}, "depend on the other tokens"),
    (RELU, "config.json", {"norm_activation": "batch-wise"}, "depend on the other tokens"),
    (RELU, "config.json", {"use_glu_encoder": True}, "'W_E_glu' is missing"),
    (FOLDED, "config.json", {"norm_activation": "dataset-wise"}, "average norm .* is not there"),
    (FOLDED, "config.json", {"act_fn": "jumprelu"}, "has a threshold"),
]
"""A checkpoint, the file that is spoilt, what is set in it (None: removed), and what must be said."""


def _spoil(content: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        *above, last = key.split(".") if key.startswith("trainer.") else [key]
        place = content[above[0]] if above else content
        place.pop(last) if value is None else place.update({last: value})


@pytest.mark.parametrize(("write_one", "file", "changes", "match"), WRONG)
def test_what_disagrees_or_is_not_known_is_refused(
    write_one: Any, file: str, changes: dict[str, Any], match: str, tmp_path: Path
) -> None:
    folder, _ = write_one(tmp_path)
    changed(next(folder.rglob(file)), lambda content: _spoil(content, changes))
    refused(folder, match)


def test_ambiguous_or_lacking_configuration(tmp_path: Path) -> None:
    folder, _ = foreign.batch_topk(tmp_path / "a")
    (folder / "config.json").unlink()
    refused(folder, "AutoEncoderTopK or of BatchTopKSAE")
    folder, _ = foreign.sparsify()(tmp_path / "b")
    (folder / "cfg.json").unlink()
    refused(folder, "no cfg.json")
    path, _ = foreign.openai("TopK")(tmp_path / "c")
    changed(path, lambda t: t.pop("activation"))
    refused(path, "does not say its activation")
    path, _ = foreign.qwen(tmp_path / "d")
    other = tmp_path / "elsewhere"
    other.mkdir()
    refused(path.rename(other / path.name), "names k")


def test_class_is_known_without_a_configuration_where_its_tensors_are_its_own(tmp_path: Path) -> None:
    for name, write_one in (("a", foreign.auto_encoder), ("g", foreign.gated_auto_encoder), ("m", foreign.matryoshka)):
        folder, forward = write_one(tmp_path / name)
        (folder / "config.json").unlink()
        x = torch.randn(9, D)
        torch.testing.assert_close(load_sae(folder, hook=HOOK).reconstruct(x), forward(x)[1], rtol=1e-5, atol=1e-5)
        refused(folder, "does not say which hook")


def test_two_formats_in_one_folder(tmp_path: Path) -> None:
    folder, _ = foreign.batch_topk(tmp_path / "a")
    other, _ = foreign.sparsify()(tmp_path / "b")
    for file in other.iterdir():
        file.rename(folder / file.name)
    refused(folder, "looks like dictionary_learning and sparsify at once")
    assert load_sae(folder / "ae.pt").metadata["format"] == "dictionary_learning"


def test_several_saes_in_one_folder_and_in_folders(tmp_path: Path) -> None:
    path, _ = foreign.qwen(tmp_path / "a")
    torch.save(torch.load(path), path.parent / "layer2.sae.pt")
    refused(path.parent, "holds 2 SAEs of format qwen_scope.*layer1.sae.pt, layer2.sae.pt")
    for name in ("layers.1", "layers.2.mlp"):
        foreign.sparsify()(tmp_path / "b")[0].rename(tmp_path / "b" / name)
    refused(tmp_path / "b", "Name one of them.*There are: layers.1, layers.2.mlp")
    assert load_sae(tmp_path / "b" / "layers.1").hook_in == "blocks.1.hook_resid_post"


def test_shards_are_joined_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder, forward = foreign.sparsify()(tmp_path)
    whole = load_file(folder / "sae.safetensors")
    names = sorted(whole)
    placed = {name: f"sae-0000{1 + (i > 1)}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(placed.values()):
        save_file({name: whole[name] for name in names if placed[name] == shard}, folder / shard)
    (folder / "sae.safetensors").unlink()
    index = folder / "sae.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    x = torch.randn(9, D)
    torch.testing.assert_close(load_sae(folder).reconstruct(x), forward(x)[1], rtol=1e-5, atol=1e-5)
    (folder / "sae-00002-of-00002.safetensors").unlink()
    refused(folder, "sae-00002-of-00002.safetensors is missing: .* holds 'encoder.bias', 'encoder.weight'")
    index.write_text(json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}}))
    refused(folder, "not a file beside it")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize(
    "write_one", [foreign.gemma("res"), foreign.gemma_2("sae"), foreign.auto_encoder, foreign.openai("ReLU")]
)
def test_files_cut_short(write_one: Any, share: float, tmp_path: Path) -> None:
    path, _ = write_one(tmp_path)
    file = path if path.is_file() else next(p for p in path.iterdir() if p.suffix != ".json")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refused(path, "cut short", hook=HOOK)


def test_npz_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    path, _ = foreign.gemma("res")(tmp_path)
    stored = dict(np.load(path / "params.npz"))
    target = tmp_path / "touched"
    np.savez(path / "params.npz", **{**stored, "threshold": np.array([Malicious(target)] * F, dtype=object)})
    refused(path, "cut short or damaged|Object arrays", hook=HOOK)
    assert not target.exists()


def test_pickle_of_a_whole_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 4), tmp_path / "sae.pth")
    refused(tmp_path, "sae.pth was not loaded.*state dict")
    write(tmp_path / "good")
    torch.save({"state": torch.nn.Linear(3, 4)}, tmp_path / "good" / "training_state.pt")
    assert load_sae(tmp_path / "good").d_sae == F, "an odd file beside a good checkpoint does not spoil it"


def test_sizes_are_known_and_too_large_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    folder, _ = foreign.gemma_2("sae")(tmp_path)
    shapes = {
        "w_enc": [2**16, 2**21],
        "w_dec": [2**21, 2**16],
        "b_enc": [2**21],
        "b_dec": [2**16],
        "threshold": [2**21],
    }
    described, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        described[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    (folder / "config.json").unlink()
    with (folder / "params.safetensors").open("wb") as file:  # sparse: a terabyte that takes no room
        text = json.dumps(described).encode()
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    assert header(folder / "params.safetensors").shapes["w_enc"] == (2**16, 2**21)
    refused(folder, r"was not read: its 274,.* numbers need about 1,649.* GB of memory.*GB are free", hook=HOOK)


def test_transcoder_of_the_first_gemma_scope_says_where_its_input_is_taken(tmp_path: Path) -> None:
    path, _ = foreign.gemma("transcoders")(tmp_path)
    assert any("before its norm's weight" in warning for warning in load_sae(path).warnings)


def test_gemma_scope_of_embeddings_reads_them_scaled(tmp_path: Path) -> None:
    """It was trained on embeddings before Gemma multiplies them by sqrt(d); hook_embed holds them after."""
    embedding = tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k"
    embedding.parent.mkdir(parents=True)
    path, forward = foreign.gemma("res")(tmp_path / "x")
    coder, x = load_sae(path.rename(embedding)), activations()
    codes, y = forward(x)
    scale = math.sqrt(x.shape[1])
    assert (coder.hook_in, coder.hook_out) == ("hook_embed", "hook_embed")
    torch.testing.assert_close(coder.encode(scale * x).dense(), codes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.reconstruct(scale * x), scale * y, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("folder", "ends"),
    [("resid_post", foreign.POST), ("attn_out_all", ("blocks.1.attn.hook_z",) * 2),
     ("mlp_out", ("blocks.1.hook_mlp_out",) * 2),
     ("transcoder_all", ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"))],
)  # fmt: skip
def test_gemma_scope_2_without_a_configuration_is_placed_by_its_folders(
    folder: str, ends: tuple[str, str], tmp_path: Path
) -> None:
    path, _ = foreign.gemma_2("sae")(tmp_path / "x")
    (path / "config.json").unlink()
    (tmp_path / "gemma-scope-2-1b-pt" / folder).mkdir(parents=True)
    coder = load_sae(path.rename(tmp_path / "gemma-scope-2-1b-pt" / folder / path.name))
    assert (coder.hook_in, coder.hook_out) == ends and coder.metadata["model_name"] == "google/gemma-3-1b-pt"


@pytest.mark.parametrize(
    ("more", "config", "architecture"),
    [({"activation_function.threshold": draw(F, seed=8).abs()}, "", "jumprelu_skip_transcoder"),
     ({"k": torch.tensor(K)}, "", "topk_skip_transcoder"), ({}, f"activation: topk\nk: {K}", "topk_skip_transcoder")],
)  # fmt: skip
def test_circuit_tracer_layer_with_its_activation_and_hooks(
    more: dict[str, torch.Tensor], config: str, architecture: str, tmp_path: Path
) -> None:
    path, _ = foreign.circuit(tmp_path)
    t = load_file(path)
    save_file({**t, **more}, path)
    told = f"model_name: me/model\nfeature_input_hook: hook_mlp_in\nfeature_output_hook: mlp.hook_out\n{config}\n"
    (tmp_path / "config.yaml").write_text(told)
    coder, x = load_sae(path), activations()
    pre = x @ t["W_enc"].T + t["b_enc"]
    bar = next(iter(more.values())) if "jump" in architecture else 0
    f = pre * (pre > bar) if "jump" in architecture else topk(pre, K)
    y = f @ t["W_dec"] + t["b_dec"] + x @ t["W_skip"].T
    torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-5, atol=1e-5)
    assert (coder.hook_in, coder.hook_out) == ("blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out")
    assert coder.architecture == architecture and coder.metadata["model_name"] == "me/model"


def test_circuit_tracer_topk_without_k_is_refused(tmp_path: Path) -> None:
    path, _ = foreign.circuit(tmp_path)
    (tmp_path / "config.yaml").write_text("model_name: me/model\nactivation: topk\n")
    refused(path, "needs a whole number k")


def test_facts_above_a_gemma_scope_file_are_read(tmp_path: Path) -> None:
    path, _ = foreign.gemma("res")(tmp_path)
    assert load_sae(path).metadata | {"model_name": "google/gemma-2-2b", "l0": 7} == load_sae(path).metadata
    bare = path.rename(tmp_path / "bare")
    refused(bare, "does not say which hook")
    assert load_sae(bare, hook=HOOK).hook_in == HOOK


def test_error_names_itself_once() -> None:
    with pytest.raises(UserError, match="no such file or directory"):
        load_sae("nowhere/ae.pt")
