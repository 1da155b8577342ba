"""Activations between a norm and its weight: against the norm's formula, in models of several kinds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from saebench.errors import UserError
from saebench.models import load_model
from saebench.models.affine import affine_of
from tests.models.families import FAMILIES, WIDTH, build, edited, token_rows

HOOK, MIDDLE = "blocks.1.ln2.hook_normalized", "blocks.1.hook_resid_mid"
FACTOR: dict[str, Callable[[Tensor], Tensor]] = {"gpt2": lambda w: w, "llama": lambda w: w, "gemma2": lambda w: 1 + w}


def by_formula(name: str, x: Tensor, eps: float) -> Tensor:
    """A layer norm or an RMS norm without its weight."""
    centred = x - x.mean(-1, keepdim=True) if name == "gpt2" else x
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


@pytest.mark.parametrize("name", sorted(FACTOR))
def test_it_is_what_the_norm_gives_before_its_weight(name: str) -> None:
    model, tokens, family = build(name), token_rows(), FAMILIES[name]
    norm = model.get_submodule(f"{family.layers}.1.{family.norm}")
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-2, 1.9, WIDTH))
    subject = load_model(model)
    run = subject.forward(tokens, [HOOK, MIDDLE])
    eps = float(getattr(norm, "eps", getattr(norm, "variance_epsilon", 0.0)))
    torch.testing.assert_close(run.acts[HOOK], by_formula(name, run.acts[MIDDLE], eps), rtol=1e-4, atol=1e-5)
    assert torch.equal(subject.resume(run, HOOK, run.acts[HOOK]), run.final)
    value = edited(run.acts[HOOK])
    moved = (value - run.acts[HOOK]) * FACTOR[name](norm.weight.detach())
    handle = norm.register_forward_hook(lambda _, args, output: output + moved)
    with torch.no_grad():
        expected = model(tokens, use_cache=False).logits
    handle.remove()
    got = subject.logits(subject.resume(run, HOOK, value))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert run.final is not None and (got - subject.logits(run.final)).abs().max() > 1e-2


def test_half_precision() -> None:
    subject = load_model(build("gemma2").to(torch.bfloat16))
    run = subject.forward(token_rows(), [HOOK, MIDDLE])
    assert run.acts[HOOK].dtype == torch.bfloat16
    expected = by_formula("gemma2", run.acts[MIDDLE].float(), 1e-6)
    torch.testing.assert_close(run.acts[HOOK].float(), expected, rtol=0.02, atol=0.02)
    assert torch.equal(subject.resume(run, HOOK, run.acts[HOOK]), run.final)


def test_what_is_no_norm_with_a_weight_is_not_taken_for_one() -> None:
    like = torch.zeros(())
    found = affine_of(nn.LayerNorm(6), 6, like)
    assert found is not None and torch.equal(found.bias, torch.zeros(6))
    silent = nn.RMSNorm(6)
    with torch.no_grad():
        silent.weight[2] = 0
    for module in (silent, nn.Linear(6, 6), nn.Identity(), nn.BatchNorm1d(6), nn.Tanh()):
        assert affine_of(module, 6, like) is None


def test_a_family_without_a_norm_before_its_mlp_says_so() -> None:
    with pytest.raises(UserError, match="does not exist on Olmo2ForCausalLM.*no layer norm or RMS norm"):
        load_model(build("olmo2")).site(HOOK)
