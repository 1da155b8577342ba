"""A device without float64, as Apple's MPS: the model runs there, and no double is ever made there."""

from __future__ import annotations

import pytest
import torch

import saebench as sb
from saebench.devices import default_device, host_of
from saebench.models import load_model
from saebench.suite import load_suite
from tests.helpers import no_float64
from tests.helpers.toys import ToySAE
from tests.models.families import WIDTH, build, edited, token_rows

CORE = {"name": "m", "metric": [*load_suite("core").metric], "references": {"null": "null:random-8"}}

SINGULAR = {"error_linear_r2", "error_nonlinear_fvu", "error_norm_r2"}
"""Least squares on a random model's few tokens, which rounding in attention turns; they are only held to be there."""


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal up to rounding: attention takes another way there, with sums in another order."""
    torch.testing.assert_close(a, b, rtol=0.0, atol=2e-5 * (1 + float(b.abs().max())))


def test_the_device_refuses_doubles() -> None:
    with no_float64.device() as device:
        there = torch.ones(3).to(device)
        assert there.device.type == "mps" and (there + 1).device.type == "mps"
        assert torch.equal(((there + 1) * 2).cpu(), torch.full((3,), 4.0))
        for attempt in (
            there.double,
            lambda: there.sum(dtype=torch.float64),
            lambda: torch.zeros(2, dtype=torch.float64, device=device),
        ):
            with pytest.raises(TypeError, match="float64"):
                attempt()
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_model_runs_there_and_its_activations_come_back(name: str) -> None:
    plain, tokens = load_model(build(name)), token_rows()
    expected = plain.forward(tokens, plain.sites())
    with no_float64.device() as device:
        subject = load_model(build(name), device=device)
        assert subject.runs_on.type == "mps" and subject.device.type == "cpu"
        assert subject.sites() == plain.sites()
        run = subject.forward(tokens, subject.sites())
        for hook, act in expected.acts.items():
            close(run.acts[hook], act)
            value = edited(act)
            got = subject.logits(subject.resume(run, hook, value))
            assert got.device.type == "cpu"
            close(got, plain.logits(plain.resume(expected, hook, value)))


def test_a_run_has_the_numbers_of_the_cpu() -> None:
    rows, sae = {"text": token_rows(6, 12, seed=2)}, ToySAE(d_in=WIDTH)
    expected = sb.evaluate(sae, CORE, model=build("llama"), data=rows)
    with no_float64.device():
        got = sb.evaluate(sae, CORE, model=build("llama"), data=rows, device="mps:0")
    assert len([row for row in got.rows if row.status == "ok"]) > 100
    for there, here in zip(got.rows, expected.rows, strict=True):
        assert (there.sae, there.metric, there.slice, there.status) == (here.sae, here.metric, here.slice, here.status)
        if here.value is not None and here.metric not in SINGULAR:
            assert there.value == pytest.approx(here.value, rel=1e-3, abs=1e-4), here.metric


def test_auto_takes_it_for_the_model_and_the_cpu_for_saes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert default_device().type == "mps" and host_of(default_device()).type == "cpu"
    assert sb.load_sae(ToySAE()).W_dec.device.type == "cpu"
