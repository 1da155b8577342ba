"""Checkpoints of several layers, each by its equations: multi-layer SAEs, crosscoders, cross-layer transcoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import saebench as sb
from saebench.errors import UserError
from saebench.saes import load_sae, resolve
from tests.saes.checkpoints import D, F, activations, draw
from tests.saes.test_bad_input import refused
from tests.saes.test_plain import BASIC, ROWS, B, C, W, described, largest

HOOKS = [f"blocks.{layer}.hook_resid_post" for layer in range(3)]
LISTED = f"[{', '.join(HOOKS)}]"
BOTH = activations(20, 3 * D)
"""Activations of three hooks side by side."""
E = torch.stack([draw(D, F, seed=seed) for seed in (20, 21, 22)])
G = torch.stack([draw(F, D, seed=seed) for seed in (23, 24, 25)])
H = torch.stack([draw(D, seed=seed) for seed in (26, 27, 28)])
CROSS = {"W_enc": E, "W_dec": G, "b_enc": B, "b_dec": H}


def test_multi_layer_sae_is_one_dictionary_at_every_hook(tmp_path: Path) -> None:
    held = {"encoder.weight": W.T, "decoder.weight": ROWS.T, "pre_encoder_bias": C, "last_nonzero": torch.ones(F)}
    folder = described(tmp_path, held, architecture="mlsae", k=5, hook=LISTED, transposed="[W_enc, W_dec]",
                       subtract_b_dec="null")  # fmt: skip
    coders, x = resolve([folder]), activations(20)
    assert [coder.hook_in for coder in coders] == HOOKS and len({coder.name for coder in coders}) == 3
    assert coders[1].name == f"{tmp_path.name} at {HOOKS[1]}" and coders[1].metadata["format"] == "plain"
    mean, deviation = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    z = (x - mean) / (deviation + 1e-5)
    f = torch.stack([largest(((token - C) @ W).clamp_min(0), 5) for token in z])
    for coder in coders:
        torch.testing.assert_close(coder.encode(x).dense(), f, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(coder.reconstruct(x), (f @ ROWS + C) * deviation + mean, rtol=1e-4, atol=1e-4)
    refused(folder, "is scored at each of 3 hooks. Pass one of them, such as hook='blocks.0.hook_resid_post'")
    elsewhere = load_sae(folder, hook="blocks.7.hook_resid_pre", name="mine")
    assert (elsewhere.hook_in, elsewhere.name) == ("blocks.7.hook_resid_pre", "mine")
    assert load_sae(folder, hook=HOOKS[2]).fingerprint == coders[2].fingerprint != coders[1].fingerprint


@pytest.mark.parametrize("lens", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_multi_layer_sae_as_its_authors_save_it(lens: bool, inside: bool, tmp_path: Path) -> None:
    """Standardised, through the layer's lens where there is one, encoded; decoded, through the lens, scaled back."""
    folder = tmp_path / "mlsae-pythia-70m-deduped-x4-k5"
    folder.mkdir()
    held = {"encoder.weight": W.T.contiguous(), "decoder.weight": ROWS.T.contiguous(), "pre_encoder_bias": C}
    maps = {f"{side}_lens.{at}.weight": torch.eye(D) + draw(D, D, seed=60 + 10 * (side == "decoder") + at)
            for side in ("encoder", "decoder") for at in range(2)} if lens else {}  # fmt: skip
    before = "autoencoder." if inside else ""
    other = {"transformer.model.embed_in.weight": torch.ones(3, 3)} if inside else {"last_nonzero": torch.ones(F)}
    save_file({before + name: one for name, one in (held | maps).items()} | other, folder / "model.safetensors")
    told = {"layers": [0, 2], "n_inputs": D, "n_latents": F, "k": 5, "dead_steps_threshold": 76, "auxk": 256,
            "standardize": True, "lens": lens}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(told))
    coders, x = resolve([folder]), activations(20)
    assert [coder.hook_in for coder in coders] == [HOOKS[0], HOOKS[2]] == [coder.hook_out for coder in coders]
    assert (
        coders[0].metadata["format"] == "mlsae" and coders[0].metadata["model_name"] == "EleutherAI/pythia-70m-deduped"
    )
    mean, deviation = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    for at, coder in enumerate(coders):
        into, out = (maps.get(f"{side}_lens.{at}.weight", torch.eye(D)) for side in ("encoder", "decoder"))
        z = (x - mean) / (deviation + 1e-5) @ into.T
        f = torch.stack([largest(((token - C) @ W).clamp_min(0), 5) for token in z])
        torch.testing.assert_close(coder.encode(x).dense(), f, rtol=1e-4, atol=1e-5)
        y = ((f @ ROWS + C) @ out.T) * deviation + mean
        torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-4, atol=1e-4)


def test_multi_layer_sae_without_its_layers_or_a_lens_is_refused(tmp_path: Path) -> None:
    held = {"encoder.weight": W.T.contiguous(), "decoder.weight": ROWS.T.contiguous(), "pre_encoder_bias": C}
    save_file(held, tmp_path / "model.safetensors")
    refused(tmp_path, "no config.json beside it lists its `layers`")
    (tmp_path / "config.json").write_text(json.dumps({"layers": [0, 1], "k": 5, "n_latents": 8 * F}))
    refused(tmp_path, f"n_latents is {8 * F}, but its tensors have {F}")
    (tmp_path / "config.json").write_text(json.dumps({"layers": [0, 1], "k": 5, "lens": True}))
    save_file(held | {"encoder_lens.0.weight": torch.eye(D)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"'decoder_lens.0.weight' must be \[16, 16\], found none"):
        load_sae(tmp_path, hook=HOOKS[0])


def top(p: Tensor) -> Tensor:
    return torch.stack([largest(row, 5) for row in p.clamp_min(0)])


ACTIVATIONS = [
    ("crosscoder", {}, {}, lambda p: p.clamp_min(0)),
    ("topk_crosscoder", {}, {"k": 5}, top),
    ("jumprelu_crosscoder", {"threshold": torch.full((F,), 0.7)}, {}, lambda p: torch.where(p > 0.7, p, 0)),
    ("jumprelu_crosscoder", {}, {"threshold": 0.7}, lambda p: torch.where(p > 0.7, p, 0)),
]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("architecture", "more", "keys", "act"), ACTIVATIONS)
def test_crosscoder_reads_all_hooks_and_writes_each(
    flipped: bool, architecture: str, more: dict[str, Tensor], keys: dict[str, Any], act: Any, tmp_path: Path
) -> None:
    held = {**CROSS, **more, **({"W_dec": G.transpose(0, 1)} if flipped else {})}
    keys = {"architecture": architecture, "hook": LISTED, "subtract_b_dec": "null", **keys}
    coders = resolve([described(tmp_path, held, **keys)])
    x = BOTH.view(20, 3, D)
    f = act(sum(x[:, layer] @ E[layer] for layer in range(3)) + B)
    for layer, coder in enumerate(coders):
        assert coder.hook_in == " + ".join(HOOKS) and coder.hook_out == HOOKS[layer]
        torch.testing.assert_close(coder.encode(BOTH).dense(), f, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(coder.reconstruct(BOTH), f @ G[layer] + H[layer], rtol=1e-4, atol=1e-4)
    assert 0 < float(coders[0].encode(BOTH).l0.double().mean()) < F
    assert ["beyond" in " ".join(coder.warnings) for coder in coders] == [True, True, False]


def test_crosscoder_with_a_scale_for_each_hook(tmp_path: Path) -> None:
    keys = {"architecture": "crosscoder", "hook": LISTED, "subtract_b_dec": "null", "input_scale": "[0.5, 2.0, 3.0]"}
    coder = load_sae(described(tmp_path, CROSS, **keys), hook=HOOKS[1])
    scaled = BOTH.view(20, 3, D) * torch.tensor([0.5, 2.0, 3.0])[:, None]
    f = (torch.einsum("nld,ldf->nf", scaled, E) + B).clamp_min(0)
    torch.testing.assert_close(coder.reconstruct(BOTH), (f @ G[1] + H[1]) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("held", "keys", "match"),
    [
        (CROSS, {"hook": HOOKS[0]}, "list them under `hook:`"),
        (CROSS, {"hook": f"[{HOOKS[0]}, {HOOKS[1]}]"}, "compares two models"),
        ({**CROSS, "W_dec": G.transpose(1, 2)}, {"hook": LISTED}, r"'W_dec' of a crosscoder .* found \[3, 16, 64\]"),
        ({**CROSS, "b_dec": H[0]}, {"hook": LISTED}, r"'b_dec' has shape \[16\]"),
        (CROSS, {"hook": LISTED, "input_scale": "[1, 2]"}, "input_scale has 2 factors, but there are 3 hooks"),
        (CROSS, {"hook": LISTED, "normalise": "layer_norm"}, "fold them in"),
        (BASIC, {"architecture": "standard", "hook": HOOKS[0], "input_scale": "[1, 2]"}, "is one number"),
    ],
)  # fmt: skip
def test_crosscoder_that_contradicts_its_description(
    held: dict[str, Tensor], keys: dict[str, Any], match: str, tmp_path: Path
) -> None:
    refused(
        described(tmp_path, held, **{"architecture": "crosscoder", "subtract_b_dec": "null", **keys}), match, hook=""
    )


def test_hook_that_a_crosscoder_does_not_write(tmp_path: Path) -> None:
    folder = described(tmp_path, CROSS, architecture="crosscoder", hook=LISTED, subtract_b_dec="null")
    refused(folder, "Did you mean 'blocks.2.hook_resid_post'", hook="blocks.4.hook_resid_post")
    refused(f"at:{HOOKS[0]}", "write at:HOOK@REF")
    refused(f"at:blocks.4.hook_resid_post@{folder}", "Did you mean 'blocks.2.hook_resid_post'.*at:HOOK@REF")


def test_reference_to_one_hook_of_several(tmp_path: Path) -> None:
    folder = described(tmp_path, CROSS, architecture="crosscoder", hook=LISTED, subtract_b_dec="null")
    ref = f"at:{HOOKS[1]}@{folder}"
    coder = load_sae(ref)
    assert coder.fingerprint == load_sae(folder, hook=HOOKS[1]).fingerprint
    assert (coder.ref, coder.name) == (ref, f"{tmp_path.name} at {HOOKS[1]}")
    assert [one.name for one in resolve([f"mine={ref}"])] == ["mine"]
    assert float(sb.match(ref, ref).mean_max_cosine) == pytest.approx(1)


# cross-layer transcoders


def circuit_tracer(folder: Path, threshold: bool = False, skip: bool = False) -> Path:
    """Three layers as circuit-tracer saves them: encoders latents by width, decoders from their own layer on."""
    for s in range(3):
        enc = {f"W_enc_{s}": E[s].T, f"b_enc_{s}": B + s / 10, f"b_dec_{s}": H[s]}
        bar = {f"threshold_{s}": torch.full((F,), 0.2 + s)} if threshold else {}
        bar |= {f"W_skip_{s}": draw(D, D, seed=60 + s)} if skip else {}
        save_file({name: one.contiguous() for name, one in (enc | bar).items()}, folder / f"W_enc_{s}.safetensors")
        save_file({f"W_dec_{s}": decoder(s)[:, s:].contiguous()}, folder / f"W_dec_{s}.safetensors")
    told = "model_name: google/gemma-2-2b\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n"
    (folder / "config.yaml").write_text(told)
    return folder


def gemma_scope(folder: Path) -> Path:
    """Three layers as Gemma Scope 2 has them: decoders to every layer, an affine skip connection."""
    for s in range(3):
        held = {"w_enc": E[s], "b_enc": B + s / 10, "b_dec": H[s], "threshold": torch.full((F,), 0.2 + s),
                "w_dec": decoder(s), "affine_skip_connection": draw(D, D, seed=60 + s)}  # fmt: skip
        save_file({name: one.contiguous() for name, one in held.items()}, folder / f"params_layer_{s}.safetensors")
    return folder


def decoder(source: int) -> Tensor:
    """`[F, layers, D]`."""
    return torch.stack([draw(F, D, seed=30 + 10 * source + target) for target in range(3)], 1)


def across(x: Tensor, layer: int, bars: list[float], *, skip: bool = False) -> Tensor:
    """What a cross-layer transcoder writes at a layer, source by source; `x [n, layers, D]`."""
    y = H[layer].expand(len(x), D)
    for s in range(layer + 1):
        p = x[:, s] @ E[s] + B + s / 10
        y = y + torch.where(p > bars[s], p, 0) @ decoder(s)[:, layer]
    return y + x[:, layer] @ draw(D, D, seed=60 + layer) if skip else y


@pytest.mark.parametrize(
    ("write", "bars", "skip"),
    [(circuit_tracer, [0, 0, 0], False), (lambda f: circuit_tracer(f, True), [0.2, 1.2, 2.2], False),
     (gemma_scope, [0.2, 1.2, 2.2], True), (lambda f: circuit_tracer(f, skip=True), [0, 0, 0], True)],
)  # fmt: skip
def test_cross_layer_transcoder_at_each_layer(write: Any, bars: list[float], skip: bool, tmp_path: Path) -> None:
    coders, x = resolve([write(tmp_path)]), BOTH.view(20, 3, D)
    assert [coder.hook_out for coder in coders] == [f"blocks.{layer}.hook_mlp_out" for layer in range(3)]
    assert coders[1].hook_in == "blocks.0.mlp.hook_in + blocks.1.mlp.hook_in"
    assert [coder.d_sae for coder in coders] == [F, 2 * F, 3 * F]
    for layer, coder in enumerate(coders):
        part = x[:, : layer + 1].flatten(1)
        torch.testing.assert_close(coder.reconstruct(part), across(x, layer, bars, skip=skip), rtol=1e-4, atol=1e-4)
        again = load_sae(tmp_path, hook=coder.hook_out)
        assert again.fingerprint == coder.fingerprint and torch.equal(again.reconstruct(part), coder.reconstruct(part))


def test_cross_layer_transcoder_that_is_not_whole(tmp_path: Path) -> None:
    refused(circuit_tracer(tmp_path) / "W_enc_1.safetensors", "one layer of a cross-layer transcoder.*its folder")
    (tmp_path / "config.yaml").unlink()
    refused(tmp_path, "no config.yaml with feature_input_hook")
    (tmp_path / "W_enc_1.safetensors").unlink()
    refused(tmp_path, "layer 1 is missing")


def test_tensor_of_a_cross_layer_transcoder_that_is_not_known(tmp_path: Path) -> None:
    circuit_tracer(tmp_path)
    held = load_file(tmp_path / "W_enc_0.safetensors")
    save_file({**held, "gain_0": torch.ones(F)}, tmp_path / "W_enc_0.safetensors")
    refused(tmp_path, "'gain_0' that this format does not have", hook="blocks.0.hook_mlp_out")


# scored on a model


def test_scores_of_a_crosscoder_are_those_of_the_hooks_side_by_side(tmp_path: Path) -> None:
    from saebench.data.corpus import build_corpus
    from saebench.models import load_model
    from saebench.suite import TextSpec

    model, d = load_model("world"), 128
    held = {"W_enc": draw(2, d, 256, seed=1), "W_dec": draw(2, 256, d, seed=2) / 9, "b_enc": draw(256, seed=3),
            "b_dec": draw(2, d, seed=4)}  # fmt: skip
    folder = described(tmp_path, held, architecture="topk_crosscoder", k=8, hook=f"[{HOOKS[0]}, {HOOKS[2]}]",
                       subtract_b_dec="null")  # fmt: skip
    text: dict[str, Any] = {"tokens": 400, "context": 32}
    suite = {"name": "t", "metric": ["mse", "l0", "ce_delta"], "references": {"null": None, "baseline": None},
             "data": {"text": text}}  # fmt: skip
    frame = sb.evaluate([folder], suite, model="world").frame()
    assert set(frame.hook_out) == {HOOKS[0], HOOKS[2]} and set(frame.status) == {"ok"}
    corpus = build_corpus("text", "world", TextSpec(**text), model)
    errors: dict[str, list[Tensor]] = {HOOKS[0]: [], HOOKS[2]: []}
    with torch.no_grad():
        for row in range(corpus.rows):
            acts = model.forward(torch.as_tensor(corpus.row(row)).long()[None], list(errors), final=False).acts
            valid = torch.from_numpy(corpus.valid[corpus.starts[row] : corpus.starts[row + 1]])
            x = torch.stack([acts[hook][0][valid] for hook in errors], 1)
            f = torch.stack(
                [largest(p.clamp_min(0), 8) for p in torch.einsum("nld,ldf->nf", x, held["W_enc"]) + held["b_enc"]]
            )
            for layer, hook in enumerate(errors):
                y = f @ held["W_dec"][layer] + held["b_dec"][layer]
                errors[hook].append((y - x[:, layer]).square().sum(-1).double())
    mse = frame[frame.metric == "mse"].set_index("hook_out").value
    for hook, parts in errors.items():
        assert mse[hook] == pytest.approx(float(torch.cat(parts).mean()), rel=1e-4)
