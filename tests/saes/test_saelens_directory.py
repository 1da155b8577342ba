"""SAELens' directory of pretrained SAEs: its own loaders on a hub of the tests, held against the readers here.

Two implementations of one format, read from the same files; SAELens' own sizes must not be written into its loader, so
formats of the first Gemma Scope, Qwen Scope, Goodfire and DeepSeek-R1 are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import yaml
from safetensors.torch import save_file

from saebench.errors import UserError
from saebench.saes import load_sae
from tests.helpers.hub import serving
from tests.saes import foreign
from tests.saes.checkpoints import D, F, draw, write
from tests.saes.foreign.case import Forward


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield


def entry(kind: str | None, chosen: Callable[[str], bool]) -> tuple[str, str, str, float | None]:
    """Release and id, repository, path, and factor of the norm, of the first SAE of a loader that is wanted."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    for release, told in get_pretrained_saes_directory().items():
        for sae_id, path in told.saes_map.items() if told.conversion_func == kind else ():
            if chosen(f"{release}/{path}"):
                factors: Any = told.norm_scaling_factor or {}
                return f"{release}/{sae_id}", told.repo_id, path, factors.get(sae_id)
    raise AssertionError(f"SAELens has no {kind} any more")


def files(source: Path, path: str) -> dict[str, bytes]:
    """What a folder or file holds, under its path in a repository."""
    if source.is_file():
        return {path: source.read_bytes()}
    return {f"{path}/{one.relative_to(source)}": one.read_bytes() for one in source.rglob("*") if one.is_file()}


def r1(norm: float) -> Callable[[Path], tuple[Path, Forward]]:
    """Llama Scope of R1: latents open by their pre-activation alone, as SAELens has it."""

    def made(folder: Path) -> tuple[Path, Forward]:
        path, forward = foreign.moss("jumprelu", "dataset-wise", new=False, mean=norm, by_norm=False)(folder)
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "expansion_factor": F // D}))
        return path, forward

    return made


def temporal(folder: Path) -> tuple[Path, None]:
    """As the authors of temporal SAEs save one."""
    folder = folder / "temporal"
    folder.mkdir(parents=True)
    held = {"D": draw(F, D, seed=1), "b": draw(D, seed=2)}
    for name, rows in (("k_ctx", 8), ("q_target", 8), ("v_ctx", F), ("c_proj", F)):
        held |= {f"attn_layers.0.{name}.weight": draw(rows, F, seed=3) / F,
                 f"attn_layers.0.{name}.bias": draw(rows, seed=4) / 10}  # fmt: skip
    save_file({name: one.contiguous() for name, one in held.items()}, folder / "latest_ckpt.safetensors")
    own = {"exp_factor": F / D, "n_heads": 2, "n_attn_layers": 1, "bottleneck_factor": 8, "sae_diff_type": "topk",
           "kval_topk": 4, "tied_weights": True, "scaling_factor": 0.5}  # fmt: skip
    told = {"llm": {"dimin": D}, "sae": own, "data": {"dtype": "float32"}}
    (folder / "conf.yaml").write_text(yaml.safe_dump(told))
    return folder, None


def plain(folder: Path) -> tuple[Path, None]:
    return write(folder / "sae"), None


CASES: dict[str, tuple[str | None, str, Any]] = {
    "saelens": (None, "gpt2-small", lambda _: plain),
    "gemma_3": ("gemma_3", "resid_post/", lambda _: foreign.gemma_2("sae")),
    "gemma_3-transcoder": ("gemma_3", "transcoder/layer_17_width_16k_l0_medium_affine",
                           lambda _: foreign.gemma_2("transcoder", affine=True)),
    "llama_scope": ("llama_scope", "lxr", lambda factor: foreign.llama_scope(
        D**0.5 / factor, D**0.5 / factor, foreign.POST, 0.02, by_norm=False)),
    "r1": ("llama_scope_r1_distill", "", lambda factor: r1(D**0.5 / factor)),
    "topk": ("dictionary_learning_1", "topk", lambda _: foreign.auto_encoder_topk),
    "relu": ("dictionary_learning_1", "standard", lambda _: foreign.auto_encoder),
    "temporal": ("temporal", "", lambda _: temporal),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_saelens_and_the_readers_here_say_the_same(case: str, tmp_path: Path) -> None:
    kind, part, make = CASES[case]
    name, repo, path, factor = entry(kind, lambda place: part in place)
    source, forward = make(factor)(tmp_path / "made")
    with serving({f"models/{repo}": files(source, path)}):
        theirs, ours = load_sae(f"saelens:{name}"), load_sae(f"hf:{repo}/{path}")
    x = draw(40, D, seed=5)
    torch.testing.assert_close(theirs.reconstruct(x), ours.reconstruct(x), rtol=1e-5, atol=1e-5)
    assert (theirs.hook_in, theirs.hook_out) == (ours.hook_in, ours.hook_out)
    if forward is not None:
        torch.testing.assert_close(ours.reconstruct(x), forward(x)[1], rtol=1e-5, atol=1e-5)


def test_what_saelens_asks_the_network_for_is_read_from_the_cache(tmp_path: Path) -> None:
    """SAELens asks for the sizes in a file that it has; without a network the same SAE is loaded nevertheless."""
    name, repo, path, _ = entry("gemma_3", lambda place: "transcoder_all" in place)
    source, forward = foreign.gemma_2("transcoder")(tmp_path / "made")
    with serving({f"models/{repo}": files(source, path)}):
        coder = load_sae(f"saelens:{name}")
    again = load_sae(f"saelens:{name}", offline=True)
    assert torch.equal(again.reconstruct(draw(9, D, seed=1)), coder.reconstruct(draw(9, D, seed=1)))
    assert again.hook_in == coder.hook_in == "blocks.1.mlp.hook_in"


def test_tensors_that_saelens_does_not_expect_are_read_here(tmp_path: Path) -> None:
    """A skip connection in a set of transcoders, which SAELens stops at."""
    name, repo, path, _ = entry("mwhanna_transcoder", lambda _: True)
    source, forward = foreign.circuit(tmp_path / "made")
    sizes = {"d_model": {"value": D}, "d_feature": {"value": F}, "batch_size": {"value": 64}}
    more = {"config.yaml": b"model_name: me/model\n", "wandb-config.yaml": yaml.safe_dump(sizes).encode()}
    with serving({f"models/{repo}": {**files(source, path), **more}}):
        coder = load_sae(f"saelens:{name}")
    x = draw(9, D, seed=1)
    torch.testing.assert_close(coder.reconstruct(x), forward(x)[1])
    assert coder.metadata["model_name"] == "me/model"


def test_layers_of_a_cross_layer_transcoder_are_not_scored_alone() -> None:
    name, repo, *_ = entry("mntss_clt_layer_transcoder", lambda _: True)
    with pytest.raises(UserError, match=f"adds up what it writes to all later layers.*hf:{repo}"):
        load_sae(f"saelens:{name}")


@pytest.mark.parametrize(
    ("told", "module", "meant", "warned"),
    [("blocks.1.hook_mlp_in", "model.layers.1.pre_feedforward_layernorm.output", "blocks.1.mlp.hook_in", False),
     ("blocks.1.hook_resid_pre", "model.layers.1", "blocks.1.hook_resid_post", True),
     ("blocks.1.hook_resid_post", "model.layers.1", "blocks.1.hook_resid_post", False),
     ("blocks.1.hook_resid_post", "encoder.strange", "blocks.1.hook_resid_post", False)],
)  # fmt: skip
def test_the_transformers_module_is_preferred(told: str, module: str, meant: str, warned: bool, tmp_path: Path) -> None:
    folder = write(tmp_path / "sae")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] = {**config["metadata"], "hook_name": told, "hf_hook_name": module}
    (folder / "cfg.json").write_text(json.dumps(config))
    coder = load_sae(folder)
    assert coder.hook_in == meant
    assert any("hf_hook_name" in warning for warning in coder.warnings) == warned
