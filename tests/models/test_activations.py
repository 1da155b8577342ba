"""Activations at hooks against transformers' own hidden states and against arithmetic on the modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saebench.errors import UserError
from saebench.models import load_model
from saebench.models.sites import KINDS
from tests.models.conftest import Case
from tests.models.families import LAYERS, MORE, VOCABULARY, WIDTH, build, token_rows


def part(case: Case, layer: int, name: str | None) -> nn.Module:
    """A block's part by its path, or the identity for no part."""
    return case.model.get_submodule(f"{case.family.layers}.{layer}.{name}") if name else nn.Identity()


def test_every_hook_exists_but_the_middle_of_a_parallel_block(case: Case) -> None:
    expected = [k for k in KINDS if not (case.family.parallel and k == "hook_resid_mid")]
    hooks = ["hook_embed", *(f"blocks.{i}.{kind}" for i in range(LAYERS) for kind in expected)]
    assert case.subject.sites() == hooks
    assert sorted(case.run.acts) == sorted(hooks)
    widths = {hook: act.shape[-1] for hook, act in case.run.acts.items()}
    assert widths == {hook: case.subject.site(hook).width for hook in hooks}


def test_residual_stream_equals_transformers_hidden_states(case: Case) -> None:
    states, acts = case.plain.hidden_states, case.run.acts
    for layer in range(LAYERS):
        assert torch.equal(acts[f"blocks.{layer}.hook_resid_pre"], states[layer])
        if layer < LAYERS - 1:
            assert torch.equal(acts[f"blocks.{layer}.hook_resid_post"], states[layer + 1])
    assert case.run.final is not None
    assert torch.equal(case.run.final, states[-1])  # transformers' last entry is after the final norm


def test_embedding_is_the_embedding_modules_output(case: Case) -> None:
    with torch.no_grad():
        assert torch.equal(case.run.acts["hook_embed"], case.model.get_submodule(case.family.embed)(case.tokens))


def test_branches_equal_the_modules_applied_by_hand(case: Case) -> None:
    family, acts = case.family, case.run.acts
    for layer in range(LAYERS):
        at = {kind: acts.get(f"blocks.{layer}.{kind}") for kind in KINDS}
        pre, z, attn_out, mlp_in = at["hook_resid_pre"], at["attn.hook_z"], at["hook_attn_out"], at["mlp.hook_in"]
        assert pre is not None and z is not None and attn_out is not None and mlp_in is not None
        _check_attention_input(case, layer)
        with torch.no_grad():
            by_z = part(case, layer, family.attn_post)(part(case, layer, family.projection)(z))
            mid = pre if family.parallel else pre + attn_out
            by_norm = part(case, layer, family.norm)(mid)
            by_mlp = part(case, layer, family.mlp_post)(part(case, layer, family.mlp)(mlp_in))
            by_neurons = part(case, layer, family.mlp_post)(part(case, layer, family.neurons)(at["mlp.hook_post"]))
        close = {"rtol": 0.0, "atol": 1e-5}
        torch.testing.assert_close(attn_out, by_z, **close)
        torch.testing.assert_close(mlp_in, by_norm, **close)
        torch.testing.assert_close(at["hook_mlp_out"], by_mlp, **close)
        torch.testing.assert_close(at["hook_mlp_out"], by_neurons, **close)
        torch.testing.assert_close(at["hook_resid_post"], pre + attn_out + by_mlp, rtol=0.0, atol=2e-5)
        if not family.parallel:
            torch.testing.assert_close(at["hook_resid_mid"], mid, **close)


def _check_attention_input(case: Case, layer: int) -> None:
    """attn.hook_in is what a hand-written hook sees go into attention; ln1.hook_normalized has the norm undone."""
    seen: list[Tensor] = []

    def see(_: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = part(case, layer, case.family.attn).register_forward_pre_hook(see, with_kwargs=True)
    with torch.no_grad():
        case.model(case.tokens, use_cache=False)
    handle.remove()
    acts = case.run.acts
    assert torch.equal(acts[f"blocks.{layer}.attn.hook_in"], seen[0])
    pre = acts[f"blocks.{layer}.hook_resid_pre"]
    if torch.equal(seen[0], pre):  # a block whose norms come after its branches
        assert f"blocks.{layer}.ln1.hook_normalized" not in acts
        return
    centred = any(isinstance(module, nn.LayerNorm) for module in case.model.modules())
    level = pre - pre.mean(-1, keepdim=True) if centred else pre
    unit = level / level.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
    torch.testing.assert_close(acts[f"blocks.{layer}.ln1.hook_normalized"], unit, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["attn.hook_z", "mlp.hook_post"])
def test_hand_written_hook_sees_the_same_heads_and_neurons(case: Case, kind: str) -> None:
    seen: list[Tensor] = []
    into = {"attn.hook_z": case.family.projection, "mlp.hook_post": case.family.neurons}[kind]
    handle = part(case, 1, into).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        case.model(case.tokens, use_cache=False)
    handle.remove()
    assert torch.equal(case.run.acts[f"blocks.1.{kind}"], seen[0])


def test_logits_equal_the_models_own(case: Case) -> None:
    assert case.run.final is not None
    logits = case.subject.logits(case.run.final)
    assert torch.equal(logits, case.plain.logits)
    some = case.tokens % 3 == 0
    torch.testing.assert_close(case.subject.logits(case.run.final[some]), case.plain.logits[some], rtol=0.0, atol=1e-5)
    one = case.subject.logits(case.run.final[0, 0])
    assert one.shape == (VOCABULARY,)
    torch.testing.assert_close(one, case.plain.logits[0, 0], rtol=0.0, atol=1e-5)


def test_padding_on_the_right_moves_no_earlier_value(case: Case) -> None:
    padded = torch.cat([case.tokens, torch.full((len(case.tokens), 7), 5)], dim=1)
    run = case.subject.forward(padded, case.subject.sites())
    length = case.tokens.shape[1]
    for hook, act in run.acts.items():
        torch.testing.assert_close(act[:, :length], case.run.acts[hook], rtol=0.0, atol=2e-5, msg=hook)


@pytest.mark.parametrize("length", [5, 6])
def test_a_hook_alone_gives_what_it_gives_among_all(case: Case, length: int) -> None:
    tokens = case.tokens[:, :length]
    every = case.subject.forward(tokens, case.subject.sites()).acts
    for hook in case.subject.sites()[1::3]:
        run = case.subject.forward(tokens, [hook], final=False)
        assert run.final is None
        assert torch.equal(run.acts[hook], every[hook])


def test_early_exit_skips_later_layers(case: Case) -> None:
    called: list[int] = []
    layers = case.model.get_submodule(case.family.layers)
    handles = [
        layer.register_forward_pre_hook(lambda *_, i=i: called.append(i)) for i, layer in enumerate(layers.children())
    ]
    handles.append(case.model.get_output_embeddings().register_forward_pre_hook(lambda *_: called.append(99)))
    case.subject.forward(case.tokens, ["blocks.1.hook_resid_post"], final=False)
    early = list(called)
    called.clear()
    case.subject.forward(case.tokens, ["blocks.2.hook_resid_pre", "hook_embed"], final=False)
    before = list(called)
    called.clear()
    case.subject.forward(case.tokens, ["blocks.1.hook_resid_post"])
    full = list(called)
    for handle in handles:
        handle.remove()
    assert early == [0, 1]
    assert before in ([0, 1, 2], [0, 1])  # the third layer is entered, not run
    assert full == list(range(LAYERS))  # and never the head


def test_resuming_runs_only_later_layers(case: Case) -> None:
    called: list[int] = []
    layers = case.model.get_submodule(case.family.layers)
    handles = [
        layer.register_forward_hook(lambda *_, i=i: called.append(i)) for i, layer in enumerate(layers.children())
    ]
    for hook, expected in {"blocks.1.hook_resid_post": [2, 3], "blocks.1.hook_mlp_out": [1, 2, 3]}.items():
        case.subject.resume(case.run, hook, case.run.acts[hook])
        called.clear()
        case.subject.resume(case.run, hook, case.run.acts[hook])
        assert called == expected
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", sorted(MORE))
def test_other_families_resume_exactly_from_every_hook(name: str) -> None:
    model, tokens = build(name), token_rows()
    subject = load_model(model)
    with torch.no_grad():
        plain = model(tokens, use_cache=False)
    run = subject.forward(tokens, subject.sites())
    assert {"attn.hook_z", "hook_attn_out", "mlp.hook_in", "hook_mlp_out"} <= {subject.site(h).kind for h in run.acts}
    for hook, act in run.acts.items():
        assert torch.equal(subject.logits(subject.resume(run, hook, act)), plain.logits), hook
    attn_out, mlp_out = (run.acts[f"blocks.2.{kind}"] for kind in ("hook_attn_out", "hook_mlp_out"))
    pre, post = (run.acts[f"blocks.2.{kind}"] for kind in ("hook_resid_pre", "hook_resid_post"))
    scale = 0.3 if name == "granite" else 1.0
    torch.testing.assert_close(pre + scale * (attn_out + mlp_out), post, rtol=0.0, atol=2e-5)
    assert pre.shape == (*tokens.shape, WIDTH)


def test_hooks_read_side_by_side_are_both_and_their_parts(case: Case) -> None:
    both = "blocks.1.hook_resid_pre + blocks.0.hook_mlp_out"
    run = case.subject.forward(case.tokens, [both, "blocks.0.hook_resid_post"])
    parts = [run.acts["blocks.1.hook_resid_pre"], run.acts["blocks.0.hook_mlp_out"]]
    assert torch.equal(run.acts[both], torch.cat(parts, dim=-1))
    assert case.subject.site(both).width == 2 * WIDTH and case.subject.site(both).layer == 0
    with pytest.raises(UserError, match="hook_mlp_ou"):
        case.subject.site("blocks.1.hook_resid_pre + blocks.0.hook_mlp_ou")
