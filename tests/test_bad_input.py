"""Bad input gets one clear sentence: what, where, the nearest valid thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import saebench as sb
from tests.helpers.toys import BOS, EOS, HOOK, ToySAE, token_rows

QUICK = {"name": "q", "metric": ["l0", "loss_recovered"], "references": {"null": None, "baseline": None}}


def _evaluate(model: nn.Module, sae: Any = None, suite: Any = QUICK, **options: Any) -> sb.Results:
    options.setdefault("data", {"text": token_rows()})
    return sb.evaluate(sae or ToySAE(), suite, model=model, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suite": "croe"}, ["croe", "core"]),
        ({"suite": "no_such_file.yaml"}, ["no_such_file.yaml"]),
        ({"suite": {"name": "x", "metric": ["lo"]}}, ["lo", "l0"]),
        ({"suite": {"name": "x", "metrics": ["l0"]}}, ["metrics", "'metric'"]),
        (
            {"suite": {"name": "x", "metric": ["l0"], "data": {"text": {"source": "world", "tokns": 5}}}},
            ["tokns", "tokens"],
        ),
        ({"suite": {"name": "x", "metric": [{"dense_fraction": {"abov": [0.1]}}]}}, ["abov", "above"]),
        ({"metrics": ["explained_varianc"]}, ["explained_variance"]),
        ({"data": {"txt": "x"}}, ["txt", "text"]),
        ({"data": {"text": "no/such.jsonl"}}, ["no/such.jsonl"]),
        ({"executor": "rya"}, ["rya", "local"]),
        ({"device": "cuda:9"}, ["cuda:9"]),
        ({"device": "gpu"}, ["gpu"]),
        ({"data": {"text": ["some text"]}}, ["tokenizer"]),
        ({"data": {"text": []}}, ["empty"]),
        ({"data": {"text": torch.tensor([[BOS, EOS, 0]])}}, ["special"]),
        ({"data": {"text": torch.tensor([[5], [6]])}}, ["two tokens"]),
        ({"data": {"text": torch.tensor([[1, 5, 4000]])}}, ["4000"]),
        ({"data": {"text": 5}}, ["int"]),
    ],
)
def test_the_sentence_names_what_is_wrong(llama: nn.Module, change: dict, words: list[str]) -> None:
    with pytest.raises(sb.UserError) as error:
        _evaluate(llama, **change)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sae", "words"),
    [
        (ToySAE(d_in=8), ["8", "16"]),
        (ToySAE(hook="blocks.1.hook_resid_pst"), ["hook_resid_pst", "hook_resid_post"]),
        (ToySAE(hook="blocks.7.hook_resid_post"), ["7"]),
    ],
)
def test_a_sae_that_does_not_fit_the_model(llama: nn.Module, sae: ToySAE, words: list[str]) -> None:
    with pytest.raises(sb.UserError) as error:
        _evaluate(llama, sae)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_a_hook_that_this_architecture_does_not_have() -> None:
    """Parallel blocks have no residual stream between attention and MLP."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    with pytest.raises(sb.UserError, match="hook_resid_mid"):
        _evaluate(GPTNeoXForCausalLM(config).eval(), ToySAE(hook="blocks.1.hook_resid_mid"))


def test_weights_with_nan_are_refused_and_the_others_are_scored(llama: nn.Module) -> None:
    rotten = ToySAE(seed=2)
    with torch.no_grad():
        rotten.W_dec[3, 4] = torch.nan
    with pytest.raises(sb.UserError, match="W_dec"):
        _evaluate(llama, rotten)
    results = _evaluate(llama, [sb.load_sae(ToySAE(), name="good"), rotten])
    assert {r.status for r in results.rows if r.sae == "good"} == {"ok"}
    assert all("W_dec" in r.reason for r in results.errors()) and results.errors()


def test_two_different_saes_of_one_name(llama: nn.Module) -> None:
    with pytest.raises(sb.UserError, match="ToySAE"):
        _evaluate(llama, [ToySAE(seed=1), ToySAE(seed=2)])


def test_checkpoints_that_are_broken_or_run_code(llama: nn.Module, tmp_path: Path) -> None:
    import os
    import pickle

    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "ae.pt").write_bytes(pickle.dumps(Trap()))
    (trap / "config.json").write_text("{}")
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "cfg.json").write_text(
        json.dumps({"architecture": "standard", "d_in": 16, "d_sae": 24, "metadata": {"hook_name": HOOK}})
    )
    (cut / "sae_weights.safetensors").write_bytes(b'\x10\x00\x00\x00\x00\x00\x00\x00{"a":')
    for path in (trap, cut, tmp_path / "nothing"):
        with pytest.raises(sb.UserError):
            _evaluate(llama, str(path))
    assert not (tmp_path / "sprung").exists()


def test_an_output_folder_that_cannot_be_written_stops_before_any_work(llama: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(sb.UserError, match="Cannot write"):
        _evaluate(llama, out=tmp_path / "file" / "run")


def test_a_corpus_shorter_than_a_context_is_scored(llama: nn.Module) -> None:
    results = _evaluate(llama, data={"text": token_rows(3, 5)})
    assert {r.status for r in results.rows} == {"ok"} and results.rows[0].tokens == 12


def test_documents_of_only_special_tokens_are_left_out(llama: nn.Module) -> None:
    rows = torch.cat([token_rows(6, 4), torch.tensor([[BOS, EOS, 0, 0]])])
    assert (
        _evaluate(llama, data={"text": rows}).rows[0].value == _evaluate(llama, data={"text": rows[:6]}).rows[0].value
    )


def test_no_sae_and_no_model(llama: nn.Module) -> None:
    with pytest.raises(sb.UserError, match="No SAE"):
        sb.evaluate([], QUICK, model=llama, data={"text": token_rows()})
    with pytest.raises(sb.UserError, match="--model"):
        sb.evaluate(ToySAE(), QUICK, data={"text": token_rows()})


def test_a_column_that_is_not_there(tmp_path: Path, llama: nn.Module) -> None:
    (tmp_path / "mine.jsonl").write_text('{"txt": "a b"}\n')
    with pytest.raises(sb.UserError, match="txt"):
        _evaluate(llama, data={"text": str(tmp_path / "mine.jsonl")})
    (tmp_path / "cut.jsonl").write_text('{"text": "a b"}\n{"text": ')
    with pytest.raises(sb.UserError, match="Line 2"):
        _evaluate(llama, data={"text": str(tmp_path / "cut.jsonl")})
