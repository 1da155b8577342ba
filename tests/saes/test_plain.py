"""`saebench.yaml`: every architecture against its equations written out token by token, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saebench.saes import load_sae
from saebench.saes.styles import STYLES
from tests.saes.checkpoints import HOOK, D, F, activations, draw
from tests.saes.test_bad_input import refused

W, B, ROWS, C = draw(D, F, seed=1), draw(F, seed=3), draw(F, D, seed=2), draw(D, seed=4)
UNIT = ROWS / ROWS.norm(dim=1, keepdim=True)
BASIC = {"W_enc": W, "b_enc": B, "W_dec": ROWS, "b_dec": C}
T = draw(F, seed=8).abs()


def described(folder: Path, held: dict[str, Tensor], **keys: Any) -> Path:
    """A folder of weights with a description, as a user writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in held.items()}, folder / "weights.safetensors")
    lines = [f"{key}: {value}" for key, value in {"subtract_b_dec": "true", "hook": HOOK, **keys}.items()]
    (folder / "saebench.yaml").write_text("\n".join(lines))
    return folder


def largest(values: Tensor, k: int) -> Tensor:
    """The values with all but their k largest set to zero."""
    return torch.where(values >= values.sort(descending=True).values[k - 1], values, 0)


def relu(x: Tensor) -> Tensor:
    return ((x - C) @ W + B).clamp_min(0)


def top(x: Tensor) -> Tensor:
    return largest(relu(x), 5)


def end_to_end(x: Tensor) -> Tensor:
    return (x @ W + B).clamp_min(0)


def jump(x: Tensor) -> Tensor:
    p = (x - C) @ W + B
    return torch.where(p > T, p, 0)


def gated(x: Tensor) -> Tensor:
    shared = (x - C) @ W
    return torch.where(shared + B > 0, (shared * T.exp() + C.sum()).clamp_min(0), 0)


def abs_top(x: Tensor) -> Tensor:
    p = (x - C) @ W + B
    return torch.where(p.abs() >= p.abs().sort(descending=True).values[4], p, 0)


def group_max(x: Tensor) -> Tensor:
    f = torch.zeros(F)
    for group in range(4):
        p = relu(x)[group * F // 4 : (group + 1) * F // 4]
        f[group * F // 4 + int(p.argmax())] = p.max()
    return f


def k_sparse(x: Tensor) -> Tensor:
    return largest((x - C) @ ROWS.T + B, 5)


def pursuit(x: Tensor) -> Tensor:
    f, r = torch.zeros(F), x - C
    for _ in range(7):
        products = UNIT @ r
        i = int(products.argmax())
        f[i] += max(float(products[i]), 0)
        r = r - max(float(products[i]), 0) * UNIT[i]
    return f


def itda(x: Tensor) -> Tensor:
    f = torch.zeros(F)
    for _ in range(4):
        r = x - C - ROWS.T @ f
        products = ROWS @ r
        support = f != 0
        support[int(products.argmax())] = True
        gradient = torch.where(support, products, 0)
        image = ROWS.T @ gradient
        f = (f + (image @ r) / max(float(image @ image), 1e-3) * gradient).clamp_min(0)
    return largest(f, 4)


def codebook(x: Tensor) -> Tensor:
    cosines = torch.nn.functional.cosine_similarity(ROWS, x, dim=1)
    return (cosines >= cosines.sort(descending=True).values[4]).float()


def adaptive(x: Tensor) -> Tensor:
    score = min(max(float(x @ draw(D, seed=6)) + 4.0, 0), 10) / 10
    k = round(2 + 10 / (1 + math.exp(-6 * (score - 0.5))))
    return largest(relu(x), k)


def top_afa(x: Tensor) -> Tensor:
    f = ((x - C) @ W).clamp_min(0)
    share = (f * ROWS.norm(dim=1)) ** 2
    order = share.argsort(descending=True)
    gaps = [abs(math.sqrt(float(share[order[:k]].sum())) - float((x - C).norm())) for k in range(1, F)]
    return torch.zeros(F).scatter(0, order, f[order] * (torch.arange(F) <= int(torch.tensor(gaps).argmin())))


def kron(x: Tensor) -> Tensor:
    p, q = ((x - C) @ draw(D, 16, seed=6)).clamp_min(0), ((x - C) @ draw(D, 16, seed=7)).clamp_min(0)
    z = [math.sqrt(float(p[h * 4 + i] * q[h * 4 + j])) for h in range(4) for i in range(4) for j in range(4)]
    return largest(torch.tensor(z), 3)


TIED = {"W_dec": ROWS, "b_dec": C}
CASES: dict[str, tuple[dict[str, Tensor], dict[str, Any], Callable[[Tensor], Tensor], Tensor]] = {
    "standard": (BASIC, {}, relu, ROWS),
    "topk": (BASIC, {"k": 5}, top, ROWS),
    "msae": (BASIC, {"k": 5}, top, ROWS),
    "e2e": (BASIC, {"subtract_b_dec": "null"}, end_to_end, UNIT),
    "vsae": ({**BASIC, "var_encoder.weight": W.T, "var_encoder.bias": B}, {"k": 5}, top, ROWS),
    "g_sae": (BASIC, {"k": 5}, top, ROWS),
    "jumprelu": ({**BASIC, "threshold": T}, {}, jump, ROWS),
    "gated": ({"W_enc": W, "W_dec": ROWS, "b_dec": C, "gate_bias": B, "r_mag": T, "mag_bias": C.sum().expand(F)},
              {}, gated, ROWS),
    "abstopk": (BASIC, {"k": 5}, abs_top, ROWS),
    "groupmax": (BASIC, {"k": 4}, group_max, ROWS),
    "k_sparse": ({**TIED, "b_enc": B}, {"k": 5}, k_sparse, ROWS),
    "matching_pursuit": ({**TIED, "W_dec": UNIT}, {"k": 7, "transposed": "[]"}, pursuit, UNIT),
    "itda": ({**TIED, "mean": C}, {"k": 4, "transposed": "[]", "subtract_b_dec": "false"}, itda, ROWS),
    "codebook": ({"W_dec": ROWS}, {"k": 5, "transposed": "[]"}, codebook, ROWS),
    "adaptive_topk": ({**BASIC, "probe": draw(D, seed=6), "probe_bias": torch.tensor([4.0])},
                      {"options": "{k_min: 2, k_max: 12}"}, adaptive, ROWS),
    "top_afa": ({"W_enc": W, "W_dec": ROWS, "b_dec": C}, {"transposed": "[]"}, top_afa, ROWS),
    "kron": ({**TIED, "P": draw(D, 16, seed=6), "Q": draw(D, 16, seed=7)},
             {"k": 3, "transposed": "[]", "options": "{heads: 4}"}, kron, ROWS),
}  # fmt: skip
"""Tensors, keys, the codes of one token, and the decoder's rows."""

SAME_FORWARD = {
    "standard": ("relu", "p_anneal", "transcoder", "skip_transcoder", "gba"),
    "topk": ("archetypal_topk", "topk_transcoder"),
    "jumprelu": ("batchtopk", "matryoshka_batchtopk", "jumprelu_transcoder", "jumprelu_skip_transcoder",
                 "archetypal_jumprelu", "feature_choice", "mutual_choice"),
}  # fmt: skip
"""Names that differ in training only."""

LAYERED = {"mlsae", "crosscoder", "topk_crosscoder", "jumprelu_crosscoder"}
"""Those of several layers, which test_layered.py holds."""


def test_every_architecture_has_a_case() -> None:
    assert set(CASES) | {name for names in SAME_FORWARD.values() for name in names} | LAYERED == set(STYLES)
    assert all(STYLES[name] == STYLES[of] for of, names in SAME_FORWARD.items() for name in names)


@pytest.mark.parametrize("name", list(CASES))
def test_codes_and_reconstruction_follow_the_equations(name: str, tmp_path: Path) -> None:
    tensors, keys, one, rows = CASES[name]
    coder = load_sae(described(tmp_path, tensors, architecture=name, **keys))
    x = activations(40)
    expected = torch.stack([one(token) for token in x])
    torch.testing.assert_close(coder.encode(x).dense(), expected, rtol=1e-4, atol=1e-5)
    y = expected @ rows + tensors.get("b_dec", torch.zeros(D))
    torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-4, atol=1e-4)
    assert 0 < float(coder.encode(x).l0.double().mean()) < F
    assert (coder.d_in, coder.d_sae, coder.d_out) == (D, F, D) and len(coder.fingerprint) == 16
    assert coder.to(dtype=torch.float64).encode(x).n == 40
    assert bool(coder.warnings) == (name == "g_sae")


@pytest.mark.parametrize("flip", [(), ("W_enc",), ("W_dec",), ("W_enc", "W_dec")])
def test_matrices_are_turned_by_their_sizes(flip: tuple[str, ...], tmp_path: Path) -> None:
    tensors = {name: tensor.T if name in flip else tensor for name, tensor in BASIC.items()}
    coder = load_sae(described(tmp_path, tensors, architecture="standard"))
    torch.testing.assert_close(coder.reconstruct(activations()), (relu(activations()) @ ROWS) + C, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flip", [(), ("W_enc",), ("W_dec",), ("W_enc", "W_dec")])
def test_without_a_vector_over_latents_the_decoders_bias_tells(flip: tuple[str, ...], tmp_path: Path) -> None:
    bare = {name: tensor for name, tensor in BASIC.items() if name != "b_enc"}
    plain = load_sae(described(tmp_path / "plain", bare, architecture="topk", k=3, transposed="[]"))
    turned = {name: tensor.T if name in flip else tensor for name, tensor in bare.items()}
    found = load_sae(described(tmp_path / "turned", turned, architecture="topk", k=3))
    assert torch.equal(plain.reconstruct(activations()), found.reconstruct(activations()))


def test_square_matrices_must_be_said_to_lie_one_way_or_the_other(tmp_path: Path) -> None:
    square = {"W_enc": draw(D, D, seed=1), "b_enc": draw(D, seed=3), "W_dec": draw(D, D, seed=2), "b_dec": C}
    refused(described(tmp_path, square, architecture="standard"), "do not tell which way round 'W_enc'.*`transposed:")
    x = activations()
    for said, wide, rows in (("[]", 0, 0), ("[W_enc]", 1, 0), ("[W_dec]", 0, 1)):
        coder = load_sae(described(tmp_path, square, architecture="standard", transposed=said))
        W_enc, W_dec = (square[n].T if t else square[n] for n, t in (("W_enc", wide), ("W_dec", rows)))
        y = ((x - C) @ W_enc + square["b_enc"]).relu() @ W_dec + C
        torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-4, atol=1e-4)


def test_names_scale_norms_and_hooks_can_be_said(tmp_path: Path) -> None:
    odd = {"my.enc": W, "my.bias": B, "dictionary": 3 * UNIT, "b_dec": C, "steps": torch.ones(1)}
    keys = {"architecture": "standard", "tensors": "{W_enc: my.enc, b_enc: my.bias}", "ignore": "[steps]",
            "decoder_rows": "unit norm", "hook": "blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out", "model": "toy",
            "l0": 12, "metadata": "{seed: 4}"}  # fmt: skip
    coder, x = load_sae(described(tmp_path, odd, **keys)), activations()
    torch.testing.assert_close(coder.reconstruct(x), relu(x) @ UNIT + C, rtol=1e-4, atol=1e-4)
    assert (coder.hook_in, coder.hook_out) == ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
    assert coder.metadata | {"model_name": "toy", "l0": 12, "seed": 4, "format": "plain"} == coder.metadata
    scaled = load_sae(described(tmp_path, BASIC, architecture="standard", input_scale=2.5))
    torch.testing.assert_close(scaled.encode(x).dense(), relu(2.5 * x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaled.reconstruct(x), (relu(2.5 * x) @ ROWS + C) / 2.5, rtol=1e-4, atol=1e-4)


def test_one_threshold_for_all_and_normalised_input(tmp_path: Path) -> None:
    coder, x = load_sae(described(tmp_path, BASIC, architecture="jumprelu", threshold=0.6)), activations()
    torch.testing.assert_close(coder.encode(x).dense(), torch.where(relu(x) > 0.6, relu(x), 0), rtol=1e-4, atol=1e-5)
    coder = load_sae(described(tmp_path, BASIC, architecture="standard", normalise="layer_norm"))
    mean, deviation = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    y = (relu((x - mean) / (deviation + 1e-5)) @ ROWS + C) * deviation + mean
    torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tensors", "keys", "match"),
    [
        (BASIC, {"architecture": "jumprelo"}, "Unknown architecture 'jumprelo'.*Did you mean 'jumprelu'.*register"),
        (BASIC, {"architecture": "standard", "subtract_bdec": "true"}, "Unknown key.*'subtract_b_dec'"),
        (BASIC, {"architecture": "standard", "subtract_b_dec": "null"}, "must say whether it is subtracted"),
        (BASIC, {"architecture": "standard", "normalise": "layernorm"}, "Key 'normalise'"),
        (BASIC, {"architecture": "topk"}, "whole number k"),
        (BASIC, {"architecture": "topk", "k": F + 1}, "k is 65"),
        (BASIC, {"architecture": "jumprelu"}, "needs a tensor 'threshold'"),
        (BASIC, {"architecture": "gated"}, "needs a tensor 'b_gate'"),
        ({**BASIC, "threshold": T}, {"architecture": "standard"}, "'threshold', which this architecture"),
        ({**BASIC, "extra": T}, {"architecture": "standard"}, "part of tensor 'extra' is not known"),
        (BASIC, {"architecture": "standard", "tensors": "{W_enc: W_encc}"}, "no tensor 'W_encc'. Did you mean 'W_enc'"),
        (BASIC, {"architecture": "standard", "weights": "other.pt"}, "no such file beside it"),
        ({**TIED}, {"architecture": "matching_pursuit", "k": 3, "transposed": "[]"}, "needs decoder rows of norm 1"),
        (CASES["kron"][0], {"architecture": "kron", "k": 3, "transposed": "[]"}, "needs the option 'heads'"),
        (BASIC, {"architecture": "standard", "options": "{heads: 2}"}, "unknown option 'heads'"),
    ],
)  # fmt: skip
def test_what_a_description_leaves_open_or_gets_wrong(
    tensors: dict[str, Tensor], keys: dict[str, Any], match: str, tmp_path: Path
) -> None:
    refused(described(tmp_path, tensors, **keys), match)


def test_description_that_is_no_yaml_or_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "saebench.yaml").write_text("architecture: standard")
    refused(tmp_path, "say which file holds the weights")
    (tmp_path / "saebench.yaml").write_text("- a")
    refused(tmp_path, "must hold keys")
    (tmp_path / "saebench.yaml").write_text("a: [")
    refused(tmp_path, "is not YAML")
    save_file(BASIC, tmp_path / "a.safetensors")
    save_file(BASIC, tmp_path / "b.safetensors")
    (tmp_path / "saebench.yaml").write_text("architecture: standard\nsubtract_b_dec: true\nweights: a.safetensors")
    assert load_sae(tmp_path, hook=HOOK).d_sae == F and load_sae(tmp_path / "a.safetensors", hook=HOOK).d_sae == F
    refused(tmp_path / "b.safetensors", "describes a.safetensors, not b.safetensors")
