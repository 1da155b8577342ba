"""Running on from a hook: bit-exact with the clean value, equal to hand-written hooks with another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saebench.errors import UserError
from saebench.models import Subject, load_model
from tests.models.conftest import Case
from tests.models.families import LAYERS, build, edited, token_rows


def test_clean_value_gives_the_plain_logits_bit_for_bit(case: Case) -> None:
    for hook, act in case.run.acts.items():
        again = case.subject.resume(case.run, hook, act)
        assert torch.equal(again, case.run.final), hook
        assert torch.equal(case.subject.logits(again), case.plain.logits), hook


def test_resumes_from_a_run_that_left_early(case: Case) -> None:
    for kind in ("hook_resid_post", "hook_mlp_out", "attn.hook_z"):
        hook = f"blocks.2.{kind}"
        run = case.subject.forward(case.tokens, [hook], final=False)
        assert torch.equal(case.subject.resume(run, hook, run.acts[hook]), case.run.final)


def by_hand(case: Case, changes: dict[str, Callable[[Any, Any], Any]], before: bool = False) -> Tensor:
    """Logits of a plain forward with hand-written hooks on modules, named relative to the layer list."""
    handles = []
    for path, change in changes.items():
        module = case.model.get_submodule(path)
        handles.append(module.register_forward_pre_hook(change) if before else module.register_forward_hook(change))
    try:
        with torch.no_grad():
            return case.model(case.tokens, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def out(value: Tensor) -> Callable[..., Any]:
    return lambda _, args, output: (value, *output[1:]) if isinstance(output, tuple) else value


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize(
    "kind", ["hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_z", "mlp.hook_post"]
)
def test_edited_value_equals_a_hand_written_hook(case: Case, layer: int, kind: str) -> None:
    family, hook = case.family, f"blocks.{layer}.{kind}"
    value = edited(case.run.acts[hook])
    place = {
        "hook_resid_pre": "",
        "hook_resid_post": "",
        "hook_attn_out": f".{family.attn_post or family.attn}",
        "hook_mlp_out": f".{family.mlp_post or family.mlp}",
        "attn.hook_z": f".{family.projection}",
        "mlp.hook_post": f".{family.neurons}",
    }[kind]
    path = f"{family.layers}.{layer}{place}"
    if kind in ("hook_resid_pre", "attn.hook_z", "mlp.hook_post"):
        expected = by_hand(case, {path: lambda _, args: (value, *args[1:])}, before=True)
    else:
        expected = by_hand(case, {path: out(value)})
    got = case.subject.logits(case.subject.resume(case.run, hook, value))
    assert torch.equal(got, expected)
    assert (got - case.plain.logits).abs().max() > 1e-2


@pytest.mark.parametrize("layer", [0, LAYERS - 1])
def test_edited_mlp_input_equals_a_hand_written_hook(case: Case, layer: int) -> None:
    hook = f"blocks.{layer}.mlp.hook_in"
    value = edited(case.run.acts[hook])
    path = f"{case.family.layers}.{layer}.{case.family.mlp}"
    expected = by_hand(case, {path: lambda _, args: (value, *args[1:])}, before=True)
    assert torch.equal(case.subject.logits(case.subject.resume(case.run, hook, value)), expected)


def test_edited_embedding_equals_a_hand_written_hook(case: Case) -> None:
    value = edited(case.run.acts["hook_embed"])
    expected = by_hand(case, {case.family.embed: out(value)})
    assert torch.equal(case.subject.logits(case.subject.resume(case.run, "hook_embed", value)), expected)


@pytest.mark.parametrize("layer", [0, 2, LAYERS - 1])
def test_edited_middle_changes_both_the_norms_input_and_the_residual(case: Case, layer: int) -> None:
    if case.family.parallel:
        pytest.skip("no middle in a parallel block")
    acts = case.run.acts
    value = edited(acts[f"blocks.{layer}.hook_resid_mid"])
    needed = value - acts[f"blocks.{layer}.hook_resid_pre"]  # what attention would have to add
    path = f"{case.family.layers}.{layer}.{case.family.attn_post or case.family.attn}"
    expected = by_hand(case, {path: out(needed)})
    got = case.subject.logits(case.subject.resume(case.run, f"blocks.{layer}.hook_resid_mid", value))
    torch.testing.assert_close(got, expected, rtol=0.0, atol=2e-5)


def snapshot(model: nn.Module) -> tuple[Any, ...]:
    """Everything about a model that its user could notice."""
    tree = [(name, id(module), type(module), module.training) for name, module in model.named_modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m))) for m in model.modules()]
    weights = [(name, tensor.data_ptr(), tensor._version) for name, tensor in model.state_dict().items()]
    return tree, hooks, weights, [parameter.requires_grad for parameter in model.parameters()]


def test_the_model_is_left_as_it_was(case: Case) -> None:
    case.model.train()
    case.model.get_submodule(case.family.layers)[1].eval()
    before = snapshot(case.model)
    run = case.subject.forward(case.tokens, case.subject.sites())
    assert torch.equal(run.final, case.run.final)  # dropout was off
    for hook in case.subject.sites():
        case.subject.resume(run, hook, run.acts[hook])
    case.subject.forward(case.tokens, ["blocks.0.hook_mlp_out"], final=False)
    case.subject.logits(run.final)
    assert snapshot(case.model) == before
    case.model.eval()


def test_the_model_is_left_as_it_was_after_an_exception(case: Case) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("from within")

    before = snapshot(case.model)
    handle = case.model.get_submodule(case.family.layers)[LAYERS - 1].register_forward_pre_hook(fail)
    for hook in ("blocks.1.hook_resid_post", "blocks.2.hook_resid_mid", "blocks.2.hook_mlp_out"):
        if hook in case.run.acts:
            with pytest.raises(ValueError, match="from within"):
                case.subject.resume(case.run, hook, case.run.acts[hook])
    with pytest.raises(ValueError, match="from within"):
        case.subject.forward(case.tokens, ["blocks.0.hook_resid_post"])
    handle.remove()
    with pytest.raises((RuntimeError, ValueError)):
        case.subject.logits(torch.randn(2, 3, 5))
    assert snapshot(case.model) == before
    assert torch.equal(case.subject.forward(case.tokens).final, case.run.final)


def test_nothing_given_back_shares_memory_with_what_comes_next(case: Case) -> None:
    hook = "blocks.1.hook_resid_post"
    run = case.subject.forward(case.tokens, [hook, "blocks.2.hook_resid_pre", "blocks.2.hook_mlp_out"])
    value = run.acts[hook].clone()
    case.subject.resume(run, hook, value)
    assert torch.equal(value, run.acts[hook])
    run.acts[hook].zero_()
    assert torch.equal(run.acts["blocks.2.hook_resid_pre"], value)
    again = case.subject.resume(run, "blocks.2.hook_mlp_out", run.acts["blocks.2.hook_mlp_out"])
    assert torch.equal(again, case.run.final)


def test_no_gradient_and_no_autocast_inside(llama_case: Case) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run = llama_case.subject.forward(llama_case.tokens, ["blocks.1.hook_mlp_out"])
    assert torch.equal(run.final, llama_case.run.final)
    assert not run.final.requires_grad and not run.acts["blocks.1.hook_mlp_out"].requires_grad


def test_two_threads_do_not_disturb_each_other(llama_case: Case) -> None:
    subjects: list[Subject] = [llama_case.subject, load_model(llama_case.model)]
    hooks = ["blocks.0.hook_resid_post", "blocks.2.hook_mlp_out"]
    wrong: list[str] = []

    def work(subject: Subject, hook: str) -> None:
        for _ in range(10):
            run = subject.forward(llama_case.tokens, [hook])
            if not torch.equal(subject.resume(run, hook, run.acts[hook]), llama_case.run.final):
                wrong.append(hook)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(subjects, hooks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_half_precision_resumes_exactly() -> None:
    subject = load_model(build("gemma3").to(torch.bfloat16))
    run = subject.forward(token_rows(), subject.sites())
    assert subject.dtype == torch.bfloat16
    assert all(torch.equal(subject.resume(run, hook, act), run.final) for hook, act in run.acts.items())
    value = run.acts["blocks.1.hook_resid_post"].float()  # a float32 SAE's reconstruction is cast
    assert torch.equal(subject.resume(run, "blocks.1.hook_resid_post", value), run.final)


def test_wrong_shape_and_hook_not_kept(llama_case: Case) -> None:
    run = llama_case.subject.forward(llama_case.tokens, ["blocks.1.hook_resid_post"])
    with pytest.raises(UserError, match=r"shape \[3, 20, 5\], expected \[3, 20, 32\]"):
        llama_case.subject.resume(run, "blocks.1.hook_resid_post", torch.zeros(3, 20, 5))
    with pytest.raises(UserError, match="the run kept"):
        llama_case.subject.resume(run, "blocks.2.hook_resid_post", torch.zeros(3, 20, 32))


def test_layers_that_share_state_beside_the_residual_are_refused() -> None:
    model = build("llama")
    kept: list[Tensor] = []
    model.model.layers[0].register_forward_hook(lambda _, args, output: kept.append(output))
    model.model.layers[3].register_forward_hook(lambda _, args, output: output + kept.pop() if kept else output)
    subject = load_model(model)
    run = subject.forward(token_rows(), ["blocks.1.hook_resid_post"])
    with pytest.raises(UserError, match="share state beside the residual"):
        subject.resume(run, "blocks.1.hook_resid_post", run.acts["blocks.1.hook_resid_post"])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_offloaded_weights(name: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    plain = load_model(build(name))
    run = plain.forward(token_rows(), plain.sites())
    offloaded = load_model(accelerate.cpu_offload(build(name), execution_device=torch.device("cpu")))
    again = offloaded.forward(token_rows(), offloaded.sites())
    assert offloaded.device == torch.device("cpu")
    assert offloaded.fingerprint == plain.fingerprint
    assert torch.equal(offloaded.logits(again.final), plain.logits(run.final))
    for hook, act in run.acts.items():
        assert torch.equal(again.acts[hook], act), hook
        assert torch.equal(offloaded.resume(again, hook, act), run.final), hook
