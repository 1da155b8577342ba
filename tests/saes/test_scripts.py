"""Checkpoints of training scripts: what they leave open is refused, what they say beside the weights is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from saebench.saes import load_sae, resolve
from saebench.saes.prefixes import prefixes
from tests.saes import foreign
from tests.saes.checkpoints import D, F, K, activations, draw
from tests.saes.foreign.case import linear
from tests.saes.test_bad_input import refused
from tests.saes.test_format_traps import changed

NANDA = "config.json"


@pytest.mark.parametrize("unset", [False, True])
def test_without_a_threshold_batchtopk_is_refused_and_the_way_out_works(unset: bool, tmp_path: Path) -> None:
    """The scripts of the first repository keep none; those of the second start it at zero."""
    folder, _ = foreign.nanda("batch-topk", unit_norm=True)(tmp_path)
    changed(folder / "sae.pt", lambda t: t.update(threshold=torch.tensor(0.0)) if unset else t.pop("threshold"))
    refused(folder, f"a batch-topk SAE chooses among the tokens.*`k: {K}`, `normalise: layer_norm`")
    way = f"architecture: topk\nk: {K}\nnormalise: layer_norm\nsubtract_b_dec: true\nhook: blocks.1.hook_resid_pre\n"
    (folder / "saebench.yaml").write_text(way + ("ignore: [threshold]\n" if unset else ""))
    _, forward = foreign.nanda("topk", unit_norm=True)(tmp_path / "per-token")
    torch.testing.assert_close(load_sae(folder).reconstruct(activations()), forward(activations())[1])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"group_sizes": "[8, 8"}, f"group_sizes must be whole numbers that add up to {F}, found '.8, 8'"),
        ({"group_sizes": [8, 8]}, f"group_sizes must be whole numbers that add up to {F}, found .8, 8."),
        ({"top_k": "many"}, "needs a whole number k of at least 1, found 'many'"),
    ],
)
def test_groups_of_a_matryoshka_must_be_those_of_its_tensors(
    told: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder, _ = foreign.nanda("global-matryoshka-topk")(tmp_path)
    changed(folder / NANDA, lambda config: config.update(told))
    refused(folder, message)


def test_a_matryoshka_is_as_wide_as_its_groups_whatever_dict_size_says(tmp_path: Path) -> None:
    folder, _ = foreign.nanda("global-matryoshka-topk")(tmp_path)
    changed(folder / NANDA, lambda config: config.update(dict_size=7))
    assert load_sae(folder).d_sae == F


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"sae_type": "batch-tokp"}, "sae_type in the configuration of .*'batch-tokp'. Did you mean 'batchtopk'"),
        ({"activation": "gelu"}, "its activation is 'gelu', but only relu is known"),
        ({"dict_size": 2 * F}, f"dict_size is {2 * F}, but its tensors have {F}"),
        ({"top_k": None}, "needs a whole number k of at least 1, found None"),
        ({"top_k": F + 1}, f"k is {F + 1}, but there are {F} latents"),
    ],
)
def test_what_the_configuration_says_must_be_known_and_fit(told: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder, _ = foreign.nanda("topk")(tmp_path)
    changed(folder / NANDA, lambda config: config.update(told))
    refused(folder, message)


def test_encoder_bias_counts_only_where_the_forward_adds_it(tmp_path: Path) -> None:
    folder, forward = foreign.nanda("topk")(tmp_path)
    changed(folder / "sae.pt", lambda t: t.update(b_enc=torch.full((F,), 9.0)))
    left_out = load_sae(folder)
    assert any("does not add it" in warning for warning in left_out.warnings)
    torch.testing.assert_close(left_out.reconstruct(activations()), forward(activations())[1])
    changed(folder / NANDA, lambda config: config.update(use_encoder_bias=True))
    added = load_sae(folder)
    assert not added.warnings and torch.equal(added.b_enc, torch.full((F,), 9.0))


def test_tied_weights_decode_by_the_encoder(tmp_path: Path) -> None:
    folder, _ = foreign.nanda("topk")(tmp_path)
    changed(folder / NANDA, lambda config: config.update(tied_weights=True))
    coder = load_sae(folder)
    torch.testing.assert_close(coder.W_dec, coder.W_enc.T)


def test_prefixes_of_a_matryoshka_are_its_groups(tmp_path: Path) -> None:
    folder, _ = foreign.nanda("global-matryoshka-topk")(tmp_path)
    assert [part.d_sae for part in prefixes(load_sae(folder))] == [F // 4, F // 2, F]


def test_training_of_several_places_is_a_sae_for_each(tmp_path: Path) -> None:
    tensors = {}
    for at, key in enumerate(("blocks-0-hook_resid_pre", "blocks-1-hook_mlp_out")):
        own = {**linear(), "decoder.bias": draw(D, seed=70 + at)}
        tensors |= {f"{key}.{name.replace('encoder.', 'encoder.0.')}": tensor for name, tensor in own.items()}
    torch.save(tensors, tmp_path / "samples_8.pt")
    coders = resolve([tmp_path])
    assert [coder.hook_out for coder in coders] == ["blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out"]
    assert [torch.equal(coder.b_dec, draw(D, seed=70 + at)) for at, coder in enumerate(coders)] == [True, True]


def test_a_yaml_that_names_several_places_does_not_say_which_sae_this_is(tmp_path: Path) -> None:
    file, _ = foreign.end_to_end(published=True)(tmp_path)
    told = {"saes": {"sae_positions": ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"]}}
    file.with_suffix(".yaml").write_text(json.dumps(told))
    refused(file, "names 2 places .*but it holds one SAE")
    file.with_suffix(".yaml").write_text(json.dumps({"saes": {"sae_positions": 5}}))
    refused(file, "sae_positions in its configuration must be hooks, found 5")


def test_the_first_script_read_the_neurons_of_one_layer(tmp_path: Path) -> None:
    file, forward = foreign.nanda()(tmp_path)
    own = file.with_name(f"{file.stem}_cfg.json")
    own.write_text(json.dumps({"seed": 49, "d_mlp": D, "dict_mult": F // D, "enc_dtype": "fp32"}))
    coder = load_sae(file)
    assert coder.hook_in == "blocks.0.mlp.hook_post" and any("names no hook" in said for said in coder.warnings)
    torch.testing.assert_close(coder.reconstruct(activations()), forward(activations())[1])
