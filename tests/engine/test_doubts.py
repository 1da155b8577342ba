"""Rows of a SAE that was read by a wrong convention or stands at a wrong hook say so; no other rows do."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

import saebench as sb
from saebench.data.random_tokens import random_tokens
from saebench.data.specs import RandomTokensSpec
from saebench.engine.doubts import doubts, places
from saebench.models import load_model
from saebench.saes import load_sae
from saebench.saes.architectures import ReLU
from saebench.saes.coder import Coder
from saebench.showing import probe_batch

SUITE = {
    "name": "q",
    "metric": ["l0", "explained_variance"],
    "data": {"text": {"source": "world", "tokens": 3000}},
    "references": {"null": None, "baseline": None},
}
HERE = "blocks.1.hook_resid_post"


def _exact(x: Tensor) -> ReLU:
    """A square ReLU SAE that is exact on all inputs within reach."""
    _, _, V = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    bias = torch.full((len(V),), 1000.0)
    return ReLU(W_enc=V.T.contiguous(), W_dec=V, b_enc=bias, b_dec=-1000.0 * V.sum(0), hook_in=HERE, hook_out=HERE)


@pytest.fixture(scope="module")
def damaged() -> dict[str, tuple[Coder, str]]:
    """One wrong bit each: the SAE as it would be loaded by mistake, and what its rows must say."""
    topk, batch = load_sae("world:topk-mid"), load_sae("world:batchtopk-mid")
    transcoder = load_sae("world:transcoder-mid")
    x, _, _ = probe_batch(load_model("world"), HERE, HERE, tokens=800)
    exact, scale = _exact(x), 128**0.5 / float(x.norm(dim=-1).mean())
    scaled = topk.replace(W_enc=topk.W_enc / scale, W_dec=topk.W_dec * scale, b_dec=topk.b_dec * scale)
    turned = exact.replace(W_dec=exact.W_dec.T.contiguous())
    fed = {"hook_in": transcoder.hook_out, "hook_out": transcoder.hook_out}
    return {
        "turned": (turned, "with the decoder transposed: a wrong convention?"),
        "uncentred": (topk.replace(centred=False), "if b_dec were subtracted from the input: a wrong convention?"),
        "normalised": (topk.replace(normalise="layer_norm"), "without normalisation of the input"),
        "scaled": (scaled, "with activations multiplied by sqrt(d) / their mean norm"),
        "unset": (batch.replace(threshold=torch.full((1024,), -1.0)), "but the checkpoint declares 20"),
        "early": (load_sae("world:topk-mid", hook="blocks.0.hook_resid_post"), f"at {HERE}: a wrong hook?"),
        "far": (load_sae("world:topk-mid", hook="blocks.4.hook_resid_post"), f"at {HERE}: a wrong hook?"),
        "late": (load_sae("world:topk-mid", hook="blocks.2.hook_resid_post"), f"at {HERE}: a wrong hook?"),
        "fed": (transcoder.replace(**fed), "at blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out: a wrong hook?"),
    }


@pytest.fixture(scope="module")
def warned(damaged: dict[str, tuple[Coder, str]]) -> dict[str, list[tuple[str, ...]]]:
    """The warnings of each row, by SAE."""
    saes = {name: coder for name, (coder, _) in damaged.items()}
    saes |= {name: load_sae(f"world:{name}") for name in ("relu-mid", "topk-mid", "transcoder-mid")}
    named = [coder.replace(name=name, ref="") for name, coder in saes.items()]
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in sb.evaluate(named, SUITE, model="world").rows:
        found.setdefault(row.sae, []).append(tuple(row.warnings))
    return found


@pytest.mark.parametrize(
    "name", ["turned", "uncentred", "normalised", "scaled", "unset", "early", "late", "far", "fed"]
)
def test_rows_say_what_is_wrong(
    name: str, damaged: dict[str, tuple[Coder, str]], warned: dict[str, list[tuple[str, ...]]]
) -> None:
    _, words = damaged[name]
    assert len(warned[name]) == 2
    for warnings in warned[name]:
        assert any(words in one for one in warnings), warnings


@pytest.mark.parametrize("name", ["relu-mid", "topk-mid", "transcoder-mid"])
def test_rows_of_a_right_reading_say_nothing(name: str, warned: dict[str, list[tuple[str, ...]]]) -> None:
    assert not any("wrong" in one for warnings in warned[name] for one in warnings)


def test_the_log_of_a_run_says_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    from saebench.console import PlainProgress

    early = load_sae("world:topk-mid", hook="blocks.0.hook_resid_post")
    sb.evaluate(early, SUITE, model="world", progress=PlainProgress())
    told = [line for line in capsys.readouterr().err.splitlines() if "a wrong hook?" in line]
    assert len(told) == 1 and told[0].startswith("warning topk-mid: explains 0.6")


def test_random_tokens_raise_no_doubt(damaged: dict[str, tuple[Coder, str]]) -> None:
    """The same rows do as text: it is not the SAE that is looked at, but what it is shown."""
    model = load_model("world")
    corpus = random_tokens("uniform", RandomTokensSpec(tokens=500, context=64), model, seed=0)
    turned = damaged["turned"][0]
    assert doubts(model, corpus, [turned]) == [[]]
    assert doubts(model, dataclasses.replace(corpus, name="text"), [turned])[0]


def test_only_hooks_of_the_same_width_are_tried() -> None:
    model, topk = load_model("world"), load_sae("world:topk-mid")
    near, far = places(model, topk)
    assert set(far) == {f"blocks.{layer}.hook_resid_post" for layer in range(3, model.n_layers)}
    assert "blocks.0.hook_resid_post" in near and "blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out" in near
    assert (HERE, HERE) not in near.values()
    assert places(model, dataclasses.replace(topk, hook_in="a + b", hook_out="a + b")) == ({}, {})
