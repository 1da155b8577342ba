"""Running on from the middle of rows: what the whole rows give, for every family and every kind of hook."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.models import Run, Subject, load_model
from saebench.models.past import joined
from tests.models.conftest import Case
from tests.models.families import MORE, VOCABULARY, build, token_rows

AT = torch.tensor([2, 9, 0])
LENGTHS = torch.tensor([17, 20, 12])
KINDS = ("hook_resid_pre", "hook_resid_post", "hook_mlp_out", "hook_attn_out", "attn.hook_z")


def _whole(subject: Subject, tokens: Tensor, hook: str, at: Tensor, value: Tensor) -> Tensor:
    """Final states with one position of each row replaced, each row run alone and in full."""
    finals = []
    for row, place in enumerate(at.tolist()):
        run = subject.forward(tokens[row : row + 1], [hook], final=False)
        edited = run.acts[hook].clone()
        edited[0, place] = value[row]
        finals.append(subject.resume(run, hook, edited)[0])
    return torch.stack(finals)


def _check(subject: Subject, hook: str) -> None:
    tokens = token_rows(3, 20)
    for row, length in enumerate(LENGTHS.tolist()):
        tokens[row, length:] = 0  # padding
    run = subject.remember(tokens, hook)
    late = run.after(AT)
    value = 2 * torch.randn(3, run.acts[hook].shape[-1], generator=torch.Generator().manual_seed(0))
    edited = late.acts[hook].clone()
    edited[:, 0] = value
    got = subject.resume(late, hook, edited)
    whole = _whole(subject, tokens, hook, AT, value)
    assert run.final is not None
    for row, (at, end) in enumerate(zip(AT.tolist(), LENGTHS.tolist(), strict=True)):
        assert (whole - run.final)[row, at + 1 : at + 4].abs().max() > 1e-2
        bound = 1e-5 * float(whole.abs().max())
        torch.testing.assert_close(got[row, : end - at], whole[row, at:end], rtol=0.0, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_in_the_middle_gives_what_whole_rows_give(case: Case, kind: str) -> None:
    for layer in (0, 2):
        _check(case.subject, f"blocks.{layer}.{kind}")


@pytest.mark.parametrize("name", sorted(MORE))
def test_more_families_remember(name: str) -> None:
    _check(load_model(build(name)), "blocks.1.hook_resid_post")


def test_rows_are_picked_and_joined(llama_case: Case) -> None:
    """Some rows of two pasts, in another order and twice: as if these rows had been run together."""
    subject, hook = llama_case.subject, "blocks.1.hook_resid_post"
    tokens = token_rows(4, 14, seed=3)
    at = torch.tensor([3, 7, 1, 5])
    parts = [subject.remember(tokens[i : i + 2], hook).after(at[i : i + 2], 7) for i in (0, 2)]
    order = torch.tensor([2, 0, 2, 3])
    past = joined([part.past for part in parts if part.past is not None]).rows(order)
    assert past.valid.shape == (4, 5)
    acts = torch.cat([part.acts[hook] for part in parts])[order]
    run = Run(torch.cat([part.tokens for part in parts])[order], {hook: acts}, None, past=past)
    value = 1.5 * acts
    value[:, 1:] = acts[:, 1:]
    whole = _whole(subject, tokens[order], hook, at[order], value[:, 0])
    got = subject.resume(run, hook, value)
    for row, place in enumerate(at[order].tolist()):
        expected = whole[row, place : place + 7]
        torch.testing.assert_close(got[row, : len(expected)], expected, rtol=0.0, atol=1e-5 * float(whole.abs().max()))


def test_rows_that_start_at_once_have_no_past(case: Case) -> None:
    hook = "blocks.1.hook_resid_post"
    tokens = token_rows(3, 12)
    run = case.subject.remember(tokens, hook)
    late = run.after(torch.zeros(3, dtype=torch.long))
    assert late.past is not None and late.past.valid.shape == (3, 0)
    assert run.final is not None
    again = case.subject.resume(late, hook, late.acts[hook])
    torch.testing.assert_close(again, run.final, rtol=0.0, atol=1e-5 * float(run.final.abs().max()))


def test_gradients_reach_the_edit_and_nothing_else(llama_case: Case) -> None:
    subject, hook = llama_case.subject, "blocks.1.hook_resid_post"
    late = subject.remember(token_rows(3, 12), hook).after(torch.tensor([4, 6, 2]))
    value = late.acts[hook].clone().requires_grad_()
    subject.resume(late, hook, value)[:, -1].sum().backward()
    assert value.grad is not None and float(value.grad[:, 0].abs().min()) > 0
    assert all(parameter.grad is None for parameter in llama_case.model.parameters())


def test_a_model_that_remembers_otherwise_says_so() -> None:
    """Its states are no keys and values: it is run in full, and asking for the past is refused."""
    import transformers as hf

    config = hf.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, state_size=4)
    subject = load_model(hf.MambaForCausalLM(config).eval())
    hook = "blocks.1.hook_resid_post"
    assert not subject.remembers(hook)
    with pytest.raises(UserError, match="cannot run on from the middle"):
        subject.remember(token_rows(), hook)
