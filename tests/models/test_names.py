"""Models by the names that SAEs give them: TransformerLens' short ones lead to the hub's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch

import saebench as sb
from saebench.errors import UserError
from saebench.models import load_model
from saebench.models.names import hub_id
from saebench.needs import wanted
from saebench.suite import load_suite
from tests.helpers.hub import serving
from tests.helpers.toys import ToySAE, token_rows

SUITE = {"metric": ["l0"], "references": {"null": None, "baseline": None}}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt2-small", "gpt2"), ("gpt2", "gpt2"), ("gemma-2-2b", "google/gemma-2-2b"), ("gemma-2b", "google/gemma-2b"),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped"), ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
        ("qwen3-1.7b", "Qwen/Qwen3-1.7B"), ("owner/gpt2-small", "owner/gpt2-small"), ("unheard-of", "unheard-of"),
    ],
)  # fmt: skip
def test_short_names_of_the_pretrained_directory(name: str, found: str) -> None:
    assert hub_id(name) == found


def test_every_short_name_is_transformer_lens_own() -> None:
    from transformer_lens.loading_from_pretrained import get_official_model_name
    from transformer_lens.supported_models import MODEL_ALIASES

    names = [short for shorts in MODEL_ALIASES.values() for short in shorts if "/" not in short]
    assert len(names) > 100
    assert {name: hub_id(name) for name in names} == {name: get_official_model_name(name) for name in names}


def test_the_table_is_read_without_importing_the_library() -> None:
    code = "from saebench.models.names import hub_id; hub_id('gpt2-small')"
    code += "\nimport sys; print('transformer_lens' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.fixture
def files(llama: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny model as files of a repository, and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    llama.save_pretrained(tmp_path / "model")  # type: ignore[operator]
    return {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}


def test_a_short_name_is_loaded_from_the_hub_and_rows_carry_the_hub_s(files: dict[str, bytes]) -> None:
    with serving({"models/google/gemma-2-2b": files}):
        assert load_model("gemma-2-2b", device="cpu").name == "google/gemma-2-2b"
        named = [ToySAE(seed=seed) for seed in (1, 2)]
        saes = [sb.load_sae(sae, name=name) for sae, name in zip(named, "ab", strict=True)]
        for sae, name in zip(saes, ("gemma-2-2b", "google/gemma-2-2b"), strict=True):
            sae.metadata["model_name"] = name
        results = sb.evaluate(saes, SUITE, data={"text": token_rows(4)}, device="cpu")
    assert {row.model for row in results.rows} == {"google/gemma-2-2b"}


def test_a_folder_of_that_name_goes_before_the_hub(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").rename(tmp_path / "gemma-2-2b")
    monkeypatch.chdir(tmp_path)
    assert load_model("gemma-2-2b", device="cpu").name == "gemma-2-2b"


def test_what_cannot_be_got_is_said_by_the_hub_s_name() -> None:
    with serving({}), pytest.raises(UserError, match="Cannot load a causal language model from 'google/gemma-2-2b'"):
        load_model("gemma-2-2b", device="cpu")


def test_what_a_run_needs_is_listed_by_the_hub_s_name() -> None:
    (need, *_) = wanted(load_suite("quick"), model="gpt2-small", saes=["hf:owner/sae"])
    assert (need.kind, need.reference) == ("model", "gpt2")
