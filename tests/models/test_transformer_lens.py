"""TransformerLens as the oracle of hook names and values, and its objects as subjects."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.models import load_model
from saebench.models.tlens import HookedSubject
from tests.models.conftest import case_of
from tests.models.families import FAMILIES, VOCABULARY, edited, token_rows

warnings.filterwarnings("ignore", category=DeprecationWarning)
transformer_lens = pytest.importorskip("transformer_lens")

KWARGS: dict[str, Any] = {
    "n_layers": 3, "d_model": 32, "n_heads": 4, "d_head": 8, "d_mlp": 64, "n_ctx": 32, "d_vocab": VOCABULARY,
    "act_fn": "gelu_new", "normalization_type": "LN", "seed": 0, "device": "cpu",
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "parallel": {"parallel_attn_mlp": True, "positional_embedding_type": "rotary", "rotary_dim": 8},
    "gated": {"normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu", "positional_embedding_type": "rotary",
              "rotary_dim": 8},
    "bare": {"normalization_type": None, "output_logits_soft_cap": 2.0},
    "post-norm": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
}  # fmt: skip


def hooked(name: str) -> Any:
    config = transformer_lens.HookedTransformerConfig(**{**KWARGS, **VARIANTS[name]})
    return transformer_lens.HookedTransformer(config)


@pytest.fixture(scope="module")
def hooked_gpt2() -> Any:
    """A HookedTransformer with the weights of the GPT-2 case."""
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    source = case_of("gpt2").model
    config = transformer_lens.HookedTransformerConfig(**{**KWARGS, "n_layers": 4, "d_mlp": 128, "n_ctx": 64})
    model = transformer_lens.HookedTransformer(config)
    model.load_state_dict(convert_gpt2_weights(source, config), strict=False)
    return model.eval()


def replaced(model: Any, tokens: Tensor, hook: str, value: Tensor) -> Tensor:
    """TransformerLens' own intervention at one of its own hooks."""
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda act, hook: value.reshape(act.shape))])


def test_gpt2_activations_and_interventions_equal_hooked_transformer(hooked_gpt2: Any) -> None:
    case = case_of("gpt2")
    with torch.no_grad():
        logits, cache = hooked_gpt2.run_with_cache(case.tokens)
    torch.testing.assert_close(case.plain.logits, logits, rtol=0.0, atol=1e-5)
    own = [hook for hook in case.subject.sites() if hook in cache]
    assert len(own) == 1 + 4 * 9  # all but mlp.hook_in and attn.hook_in, which HookedTransformer lacks
    for hook in own:
        torch.testing.assert_close(case.run.acts[hook], cache[hook].flatten(2), rtol=0.0, atol=1e-5, msg=hook)
        value = edited(case.run.acts[hook])
        ours = case.subject.logits(case.subject.resume(case.run, hook, value))
        theirs = replaced(hooked_gpt2, case.tokens, hook, value)
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-5, msg=hook)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_hooked_transformer_as_a_subject(name: str) -> None:
    model, tokens = hooked(name), token_rows()
    subject = load_model(model)
    assert isinstance(subject, HookedSubject)
    assert ("blocks.1.hook_resid_mid" in subject.sites()) == (name != "parallel")
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    run = subject.forward(tokens, subject.sites())
    assert torch.equal(subject.logits(run.final), logits)
    for hook, act in run.acts.items():
        if not hook.endswith("mlp.hook_in"):
            assert torch.equal(act, cache[hook].flatten(2)), hook
            value = edited(act)
            got = subject.logits(subject.resume(run, hook, value))
            assert torch.equal(got, replaced(model, tokens, hook, value)), hook
        assert torch.equal(subject.resume(run, hook, act), run.final), hook
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooked_transformer_resumes_without_earlier_layers(hooked_gpt2: Any) -> None:
    subject = load_model(hooked_gpt2)
    called: list[int] = []
    for i, block in enumerate(hooked_gpt2.blocks):
        block.register_forward_pre_hook(lambda *_, i=i: called.append(i))
    run = subject.forward(token_rows(), ["blocks.1.hook_resid_post"], final=False)
    assert called[-2:] == [0, 1]
    subject.resume(run, "blocks.1.hook_resid_post", run.acts["blocks.1.hook_resid_post"])
    called.clear()
    subject.resume(run, "blocks.1.hook_resid_post", run.acts["blocks.1.hook_resid_post"])
    assert called == [2, 3]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_bridge_as_oracle_and_as_a_subject(name: str) -> None:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    if name == "gpt_neox_sequential":
        pytest.skip("the bridge knows NeoX as parallel")
    case = case_of(name)
    bridge = build_bridge_from_module(
        copy.deepcopy(case.model), type(case.model).__name__, hf_config=case.model.config, tokenizer=None
    )
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(case.tokens)
    subject = load_model(bridge)
    assert subject.sites() == case.subject.sites()
    run = subject.forward(case.tokens, subject.sites())
    torch.testing.assert_close(subject.logits(run.final), logits, rtol=0.0, atol=1e-5)
    named = 0
    for hook, act in run.acts.items():
        if hook in cache:
            named += 1
            torch.testing.assert_close(case.run.acts[hook], cache[hook].flatten(2), rtol=0.0, atol=1e-5, msg=hook)
        torch.testing.assert_close(act, case.run.acts[hook], rtol=0.0, atol=1e-5, msg=hook)
        assert torch.equal(subject.resume(run, hook, act), run.final), hook
        ours, theirs = (s.resume(r, hook, edited(act)) for s, r in ((subject, run), (case.subject, case.run)))
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-4, msg=hook)
    assert named >= 4 * 5
    with torch.no_grad():
        assert torch.equal(bridge(case.tokens), logits)  # the bridge still works


def test_native_bridge_is_refused() -> None:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_native(
        {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "d_vocab": 50, "n_ctx": 32, "act_fn": "gelu"}
    )
    with pytest.raises(UserError, match="wraps no transformers model"):
        load_model(bridge)
