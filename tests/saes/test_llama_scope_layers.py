"""Crosscoders, cross-layer transcoders, Lorsa and GLU encoders as Language-Model-SAEs saves them.

The forwards here are written out one token, head and layer at a time. That they are the library's was tried once on
its own modules (llamascopium 2.0.0b34; 92 settings, reconstructions to 2e-6, the same latents active throughout).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

import saebench as sb
from saebench.saes import load_sae, resolve
from tests.saes.checkpoints import D, F, K, draw
from tests.saes.foreign.case import topk
from tests.saes.test_bad_input import refused
from tests.saes.training import Held, explained, squared

LAYERS, ROWS, LENGTH, HEADS, WIDTH = 3, 4, 7, 4, 8
NORMS = ("dataset-wise", "inference")
ACTS = ("relu", "jumprelu", "topk")


def saved(folder: Path, tensors: dict[str, Tensor], average: dict[str, float], **config: Any) -> Path:
    """A folder of the library, with average norms by hook."""
    folder.mkdir(parents=True)
    norms = {f"dataset_average_activation_norm.{hook}": torch.tensor(norm) for hook, norm in average.items()}
    stored = {name: one.contiguous() for name, one in {**tensors, **norms}.items()}
    save_file(stored, folder / "sae_weights.safetensors")
    told = {"d_model": D, "expansion_factor": F / D, "top_k": K, "use_decoder_bias": True, **config}
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def gate(act: str, log: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The activation, of pre-activations times norms."""
    if act == "topk":
        return lambda pre: topk(pre, K)
    bar = torch.zeros(()) if log is None else log.exp()
    return lambda pre: pre * (pre > bar)


def hooks(name: str) -> list[str]:
    return [f"blocks.{layer}.{name}" for layer in range(LAYERS)]


def scale(norm: str, average: dict[str, float], hook: str) -> float:
    return math.sqrt(D) / average[hook] if norm == "dataset-wise" else 1.0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("act", ACTS)
def test_crosscoder(act: str, norm: str, tmp_path: Path) -> None:
    places = hooks("hook_resid_post")
    average = {hook: 3.0 + at for at, hook in enumerate(places)}
    t = {"W_E": draw(LAYERS, D, F, seed=1), "b_E": draw(LAYERS, F, seed=2), "W_D": draw(LAYERS, F, D, seed=3),
         "b_D": draw(LAYERS, D, seed=4)}  # fmt: skip
    log = draw(F, seed=5) - 0.5 if act == "jumprelu" else None
    more = {} if log is None else {"activation_function.log_jumprelu_threshold": log}
    folder = saved(tmp_path / "sae", {**t, **more}, average, sae_type="crosscoder", hook_points=places, act_fn=act,
                   norm_activation=norm)  # fmt: skip
    x = draw(50, LAYERS, D, seed=6)
    scales = [scale(norm, average, hook) for hook in places]
    pre = sum(scales[at] * x[:, at] @ t["W_E"][at] + t["b_E"][at] for at in range(LAYERS))
    assert isinstance(pre, Tensor)
    for at, coder in enumerate(resolve([folder])):
        norms = t["W_D"][at].norm(dim=1)
        f = gate(act, log)(pre * norms) / norms
        y = (f @ t["W_D"][at] + t["b_D"][at]) / scales[at]
        torch.testing.assert_close(coder.reconstruct(x.flatten(1)), y, rtol=1e-5, atol=1e-5)
        assert torch.equal(coder.encode(x.flatten(1)).dense() != 0, f != 0)
        assert (coder.hook_in, coder.hook_out) == (" + ".join(places), places[at])


@pytest.mark.parametrize("by_norm", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("act", [*ACTS, "layertopk"])
def test_cross_layer_transcoder(act: str, norm: str, by_norm: bool, tmp_path: Path) -> None:
    reads, writes = hooks("ln2.hook_normalized"), hooks("hook_mlp_out")
    average = {hook: 3.0 + at for at, hook in enumerate([*reads, *writes])}
    t = {"W_E": draw(LAYERS, D, F, seed=1), "b_E": draw(LAYERS, F, seed=2)}
    t |= {f"W_D.{at}": draw(at + 1, F, D, seed=3 + at) for at in range(LAYERS)}
    t |= {f"b_D.{at}": draw(D, seed=9 + at) for at in range(LAYERS)}
    log = draw(LAYERS, F, seed=5) - 0.5 if act == "jumprelu" else None
    more = {} if log is None else {"activation_function.log_jumprelu_threshold": log}
    folder = saved(tmp_path / "sae", {**t, **more}, average, sae_type="clt", hook_points_in=reads,
                   hook_points_out=writes, act_fn=act, norm_activation=norm,
                   sparsity_include_decoder_norm=by_norm)  # fmt: skip
    x = draw(50, LAYERS, D, seed=6)
    norms = torch.ones(LAYERS, F)
    if by_norm:
        for at in range(LAYERS):
            norms[at] = torch.cat([t[f"W_D.{to}"][at] for to in range(at, LAYERS)], dim=1).norm(dim=1)
    scales = [scale(norm, average, hook) for hook in reads]
    pre = torch.stack([scales[at] * x[:, at] @ t["W_E"][at] + t["b_E"][at] for at in range(LAYERS)], 1) * norms
    f = (topk(pre.flatten(1), K).view_as(pre) if act == "layertopk" else gate(act, log)(pre)) / norms
    for at, coder in enumerate(resolve([folder])):
        y = t[f"b_D.{at}"] + sum(f[:, source] @ t[f"W_D.{at}"][source] for source in range(at + 1))
        inputs = x.flatten(1) if act == "layertopk" else x[:, : at + 1].flatten(1)
        got = coder.reconstruct(inputs)
        torch.testing.assert_close(got, y / scale(norm, average, writes[at]), rtol=1e-5, atol=1e-5)
        assert torch.equal(coder.encode(inputs).dense() != 0, f[:, : at + 1].flatten(1) != 0)
        assert coder.d_in == coder.hook_in.count("+") * D + D


POSITIONS = {
    "rotary": {"rotary_dim": WIDTH}, "half": {"rotary_dim": 4, "rotary_adjacent_pairs": False},
    "none": {"rotary_dim": WIDTH, "positional_embedding_type": "none"},
    "repeated": {"rotary_dim": 8, "rotary_scale": 2},
    "normed": {"rotary_dim": WIDTH, "use_post_qk_ln": True, "normalization_type": "RMS", "attn_scale": 2.0},
    "stretched": {"rotary_dim": WIDTH, "use_NTK_by_parts_rope": True, "NTK_by_parts_factor": 8.0, "rotary_base": 500,
                  "NTK_by_parts_low_freq_factor": 1.0, "NTK_by_parts_high_freq_factor": 4.0, "old_context_len": 64},
}  # fmt: skip


def turned(q: Tensor, position: int, how: dict[str, Any]) -> Tensor:
    """One query or key at a position, entry by entry."""
    if how.get("positional_embedding_type") == "none":
        return q
    q = q.repeat_interleave(how.get("rotary_scale", 1))
    size, base, out = how["rotary_dim"], how.get("rotary_base", 10000), q.clone()
    for pair in range(size // 2):
        turn = base ** (-2 * pair / size)
        if how.get("use_NTK_by_parts_rope"):
            wave = how["old_context_len"] * turn / (2 * math.pi)
            low, high = how["NTK_by_parts_low_freq_factor"], how["NTK_by_parts_high_freq_factor"]
            share = min(max((wave - low) / (high - low), 0), 1)
            turn = (1 - share) * turn / how["NTK_by_parts_factor"] + share * turn
        i, j = (2 * pair, 2 * pair + 1) if how.get("rotary_adjacent_pairs", True) else (pair, pair + size // 2)
        cos, sin = math.cos(position * turn), math.sin(position * turn)
        out[i], out[j] = q[i] * cos - q[j] * sin, q[j] * cos + q[i] * sin
    return out


def attended(t: dict[str, Tensor], x: Tensor, how: dict[str, Any]) -> Tensor:
    """Pre-activations of rows `[rows, length, D]`, one latent's head after the other."""
    made = torch.zeros(*x.shape[:2], F)
    for r in range(len(x)):
        for head in range(HEADS):
            ends = []
            for name, gain in (("Q", "ln_q.w"), ("K", "ln_k.w")):
                flat = x[r] @ t[f"W_{name}"][head] + t[f"b_{name}"][head]
                if how.get("use_post_qk_ln"):
                    flat = flat / (flat.square().mean(1, keepdim=True) + 1e-6).sqrt() * t[gain][head]
                ends.append(torch.stack([turned(flat[p], p, how) for p in range(len(flat))]))
            logits = ends[0] @ ends[1].T / how.get("attn_scale", math.sqrt(WIDTH))
            pattern = logits.masked_fill(torch.ones_like(logits).triu(1) > 0, -math.inf).softmax(-1)
            own = slice(head * (F // HEADS), (head + 1) * (F // HEADS))
            made[r, :, own] = pattern @ (x[r] @ t["W_V"][own].T + t["b_V"][own])
    return made


def lorsa(**how: Any) -> dict[str, Tensor]:
    t = {"W_Q": draw(HEADS, D, WIDTH, seed=1), "W_K": draw(HEADS, D, WIDTH, seed=2), "W_V": draw(F, D, seed=3),
         "W_O": draw(F, D, seed=4), "b_Q": draw(HEADS, WIDTH, seed=5), "b_K": draw(HEADS, WIDTH, seed=6),
         "b_V": draw(F, seed=7), "b_D": draw(D, seed=8)}  # fmt: skip
    gains = {"ln_q.w": draw(HEADS, WIDTH, seed=9) + 1, "ln_k.w": draw(HEADS, WIDTH, seed=10) + 1}
    return {**t, **gains} if how.get("use_post_qk_ln") else t


ENDS = ("blocks.1.ln1.hook_normalized", "blocks.1.hook_attn_out")


@pytest.mark.parametrize("by_norm", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("act", "positions"), [*((act, "rotary") for act in ACTS), *(("topk", p) for p in POSITIONS)])
def test_lorsa(act: str, positions: str, norm: str, by_norm: bool, tmp_path: Path) -> None:
    how, average = POSITIONS[positions], {ENDS[0]: 3.0, ENDS[1]: 5.0}
    t = lorsa(**how)
    log = draw(F, seed=11) - 0.5 if act == "jumprelu" else None
    more = {"mask": torch.ones(9, 9) > 0, "IGNORE": torch.tensor(-math.inf)}
    more |= {} if log is None else {"activation_function.log_jumprelu_threshold": log}
    folder = saved(tmp_path / "sae", {**t, **more}, average, sae_type="lorsa", hook_point_in=ENDS[0],
                   hook_point_out=ENDS[1], act_fn=act, norm_activation=norm, sparsity_include_decoder_norm=by_norm,
                   n_qk_heads=HEADS, d_qk_head=WIDTH, n_ctx=9, **how)  # fmt: skip
    coder, x = load_sae(folder), draw(ROWS, LENGTH, D, seed=12)
    norms = t["W_O"].norm(dim=1) if by_norm else torch.ones(F)
    f = gate(act, log)((attended(t, scale(norm, average, ENDS[0]) * x, how) * norms).flatten(0, 1)) / norms
    y = (f @ t["W_O"] + t["b_D"]) / scale(norm, average, ENDS[1])
    codes = coder.encode_rows(x)
    torch.testing.assert_close(coder.decode(codes), y, rtol=1e-4, atol=1e-4)
    assert torch.equal(codes.dense() != 0, f != 0)
    assert (coder.architecture, coder.hook_in, coder.hook_out) == ("lorsa", *ENDS)
    first = coder.encode(x[0])
    torch.testing.assert_close(first.dense(), codes[:LENGTH].dense(), rtol=1e-5, atol=1e-5)


def test_trained_lorsa_replaces_an_attention_head(tmp_path: Path) -> None:
    """Trained, saved and loaded: what a layer of random attention writes is explained, and the file gives the same."""
    true = lorsa()

    def target(x: Tensor) -> Tensor:
        return torch.stack([fast(true, row)[:, :8] @ true["W_O"][:8] for row in x])

    def fast(t: Held, row: Tensor) -> Tensor:
        """`attended` of one row without positions, by einsum, so that it can be trained."""
        q, k = (torch.einsum("ld,hdn->hln", row, t[f"W_{e}"]) + t[f"b_{e}"][:, None] for e in "QK")
        logits = (q @ k.transpose(1, 2)) / math.sqrt(WIDTH)
        pattern = logits.masked_fill(torch.ones(len(row), len(row)).triu(1) > 0, -math.inf).softmax(-1)
        values = (row @ t["W_V"].T + t["b_V"]).unflatten(1, (HEADS, -1)).transpose(0, 1)
        return (pattern @ values).transpose(0, 1).flatten(1)

    def made(t: Held, x: Tensor) -> Tensor:
        codes = torch.stack([fast(t, row) for row in x]).relu()
        return codes @ t["W_O"] + t["b_D"]

    t = {name: (0.5 * one).requires_grad_(True) for name, one in lorsa().items()}
    t = {name: one.detach().roll(1, 0).requires_grad_(True) for name, one in t.items()}
    optimiser = torch.optim.Adam(t.values(), lr=1e-2)
    for step in range(200):
        x = draw(16, LENGTH, D, seed=100 + step)
        loss = squared(made(t, x), target(x))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    held = {name: one.detach() for name, one in t.items()}
    folder = saved(tmp_path / "sae", held, {}, sae_type="lorsa", hook_point_in=ENDS[0], hook_point_out=ENDS[1],
                   act_fn="relu", norm_activation="inference", n_qk_heads=HEADS, d_qk_head=WIDTH, n_ctx=LENGTH,
                   rotary_dim=WIDTH, positional_embedding_type="none")  # fmt: skip
    coder, x = load_sae(folder), draw(ROWS, LENGTH, D, seed=99)
    y = coder.decode(coder.encode_rows(x)).view_as(x)
    torch.testing.assert_close(y, made(held, x), rtol=1e-4, atol=1e-4)
    assert explained(y.flatten(0, 1), target(x).flatten(0, 1)) > 0.5
    again = load_sae(folder)
    assert torch.equal(again.decode(again.encode_rows(x)).view_as(x), y) and again.fingerprint == coder.fingerprint


def test_lorsa_is_scored_in_the_place_of_attention(tmp_path: Path) -> None:
    """A Lorsa made of a model's own attention, one latent for each of a head's directions, changes no prediction."""
    from tests.helpers.toys import tiny_llama, token_rows

    model = tiny_llama()
    layer = model.model.layers[1]
    attention, d = layer.self_attn, model.config.hidden_size
    heads = model.config.num_attention_heads
    size, shared = d // heads, heads // model.config.num_key_value_heads
    each = [w.weight.detach() for w in (attention.q_proj, attention.k_proj, attention.v_proj)]
    q, k, v = (w.view(-1, size, d) if w is each[0] else w.view(-1, size, d).repeat_interleave(shared, 0) for w in each)
    gain = layer.input_layernorm.weight.detach()
    out = attention.o_proj.weight.detach().T.view(heads, size, d)
    both = torch.cat([v, -v], 1) * gain  # a latent for each sign, as codes are not negative
    t = {"W_Q": q.transpose(1, 2) * gain[:, None], "W_K": k.transpose(1, 2) * gain[:, None], "W_V": both.flatten(0, 1),
         "W_O": torch.cat([out, -out], 1).flatten(0, 1), "b_Q": torch.zeros(heads, size), "b_V": torch.zeros(2 * d),
         "b_K": torch.zeros(heads, size), "b_D": torch.zeros(d)}  # fmt: skip
    base = model.config.rope_parameters["rope_theta"]
    folder = saved(tmp_path / "sae", t, {}, sae_type="lorsa", hook_point_in=ENDS[0], hook_point_out=ENDS[1],
                   act_fn="relu", norm_activation="inference", n_qk_heads=heads, d_qk_head=size, n_ctx=64, d_model=d,
                   expansion_factor=2, rotary_dim=size, rotary_base=base, rotary_adjacent_pairs=False)  # fmt: skip
    rows = token_rows(12, 9, seed=3)
    scored = sb.evaluate(folder, "core", model=model, data={"text": rows}).rows
    values = {row.metric: row.value for row in scored if row.role == "sae"}
    assert values["explained_variance"] == pytest.approx(1, abs=1e-4)
    assert values["ce_delta"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("act", ACTS)
def test_glu_encoder(act: str, norm: str, tmp_path: Path) -> None:
    hook, average = "blocks.1.hook_resid_post", {"blocks.1.hook_resid_post": 6.0}
    t = {"W_E": draw(D, F, seed=1), "b_E": draw(F, seed=3), "W_D": draw(F, D, seed=2), "b_D": draw(D, seed=4),
         "W_E_glu": draw(D, F, seed=5), "b_E_glu": draw(F, seed=6)}  # fmt: skip
    log = draw(F, seed=8) - 0.5 if act == "jumprelu" else None
    more = {} if log is None else {"activation_function.log_jumprelu_threshold": log}
    folder = saved(tmp_path / "sae", {**t, **more}, average, sae_type="sae", hook_point_in=hook, hook_point_out=hook,
                   act_fn=act, norm_activation=norm, use_glu_encoder=True)  # fmt: skip
    s, x, norms = scale(norm, average, hook), draw(50, D, seed=9), t["W_D"].norm(dim=1)
    pre = (s * x @ t["W_E"] + t["b_E"]) * (s * x @ t["W_E_glu"] + t["b_E_glu"]).sigmoid() * norms
    f = gate(act, log)(pre) / norms
    coder = load_sae(folder)
    torch.testing.assert_close(coder.reconstruct(x), (f @ t["W_D"] + t["b_D"]) / s, rtol=1e-5, atol=1e-5)
    assert torch.equal(coder.encode(x).dense() != 0, f != 0) and coder.architecture == "glu"


def test_matryoshka_declares_its_widths(tmp_path: Path) -> None:
    from saebench.saes.prefixes import prefixes

    hook = "blocks.1.hook_resid_post"
    t = {"W_E": draw(D, F, seed=1), "b_E": draw(F, seed=3), "W_D": draw(F, D, seed=2), "b_D": draw(D, seed=4)}
    folder = saved(tmp_path / "sae", t, {}, sae_type="matryoshka_sae", hook_point_in=hook, hook_point_out=hook,
                   act_fn="relu", norm_activation="inference", matryoshka_widths=[8, F])  # fmt: skip
    coder, x = load_sae(folder), draw(50, D, seed=9)
    small, whole = prefixes(coder)
    f = functional.relu(x @ t["W_E"] + t["b_E"])
    torch.testing.assert_close(small.reconstruct(x), f[:, :8] @ t["W_D"][:8] + t["b_D"])
    torch.testing.assert_close(whole.reconstruct(x), f @ t["W_D"] + t["b_D"])


WRONG = [
    ({"n": 0}, {"hook_points_out": ["blocks.0.hook_mlp_out"]}, "3 hook_points_in, but 1 hook_points_out"),
    ({"n": 0}, {"act_fn": "batchlayertopk"}, "depend on the other tokens"),
    ({"n": 0}, {"norm_activation": "token-wise"}, "its target's norm"),
    ({"n": 0}, {"hook_points_in": ["a", "a", "b"]}, "names one hook twice"),
    ({"W_D.1": draw(2, F, D + 1, seed=1)}, {}, "'W_D.1' has shape"),
    ({"W_D.3": draw(4, F, D, seed=1)}, {}, "'W_D.3' that this format does not have"),
    ({"n": 0}, {"expansion_factor": 7}, "d_sae is"),
]


@pytest.mark.parametrize(("tensors", "config", "match"), WRONG)
def test_what_disagrees_is_refused(tensors: dict[str, Any], config: dict[str, Any], match: str, tmp_path: Path) -> None:
    t = {"W_E": draw(LAYERS, D, F, seed=1), "b_E": draw(LAYERS, F, seed=2)}
    t |= {f"W_D.{at}": draw(at + 1, F, D, seed=3 + at) for at in range(LAYERS)}
    t |= {f"b_D.{at}": draw(D, seed=9 + at) for at in range(LAYERS)}
    t |= {name: one for name, one in tensors.items() if isinstance(one, Tensor)}
    told = {"sae_type": "clt", "hook_points_in": hooks("ln2.hook_normalized"), "act_fn": "relu",
            "hook_points_out": hooks("hook_mlp_out"), "norm_activation": "inference", **config}  # fmt: skip
    refused(saved(tmp_path / "sae", t, {}, **told), match, hook="blocks.1.hook_mlp_out")


def test_weights_of_many_processes_are_told_how_to_be_joined(tmp_path: Path) -> None:
    (tmp_path / "sae_weights.dcp").mkdir()
    (tmp_path / "sae_weights.dcp" / ".metadata").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"sae_type": "clt"}')
    refused(tmp_path, "dcp_to_torch")
