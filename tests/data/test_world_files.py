"""The shipped artefacts: they load in the libraries they are for, and their figures hold on fresh text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from transformers import AutoModelForCausalLM, AutoTokenizer

from saebench.data import world
from saebench.data.world_build import accept, corpus, lm, measure


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(world.MODEL_DIR).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.WORLD_DIR / "acceptance.json").read_text())
    return found


@pytest.fixture(scope="module")
def reference() -> measure.Yardstick:
    return measure.yardstick(world.MODEL_DIR)


def test_everything_shipped_is_small() -> None:
    assert sum(p.stat().st_size for p in world.WORLD_DIR.rglob("*") if p.is_file()) < 25e6


def test_the_tokenizer_adds_bos_and_round_trips() -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.MODEL_DIR)
    assert len(tokenizer) == len(world.vocabulary())
    for d in world.documents(40):
        ids = tokenizer(d.text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and len(ids) == len(d.tokens) + 1
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == d.text
    assert tokenizer("zzzz")["input_ids"] == [tokenizer.bos_token_id, tokenizer.unk_token_id]
    assert tokenizer.padding_side == "right" and tokenizer.pad_token_id == 0


def test_the_model_is_float32_from_half_precision_weights(model: Any) -> None:
    assert model.dtype == torch.float32
    assert all(torch.equal(p, p.half().float()) for p in model.parameters())
    assert model.config.vocab_size == len(world.vocabulary())


def test_acceptance_figures_hold_on_other_documents(model: Any, figures: dict[str, Any]) -> None:
    """Documents that the figures were not measured on; within five standard errors or 0.03."""
    fresh = lm.monitor(model, corpus.pack(world.HELD_OUT_SEED + 1, 0, 400))
    assert fresh["gap"] == pytest.approx(figures["teacher_forced"]["gap"], abs=0.03)
    some = accept.quiz_accuracy(model, world.quizzes(200, seed=5))
    assert some["by_letter"]["value"] == pytest.approx(figures["quizzes"]["by_letter"]["value"], abs=0.12)
    assert accept.attribute_accuracy(model)["value"] == pytest.approx(figures["attributes"]["value"], abs=0.01)
    words = list(world.spelling_words())[::5]
    spelt = accept.spelling_accuracy(model, words)["value"]
    assert spelt == pytest.approx(figures["first_letters"]["value"], abs=0.05)


def test_sae_lens_loads_every_sae() -> None:
    assert world.sae_names()
    for name, entry in world.sae_index().items():
        sae = SAE.load_from_disk(world.SAES_DIR / name)
        assert sae.cfg.metadata.model_name == "saebench-world"
        assert sae.cfg.metadata.hook_name == entry["hook"]
        assert (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.dtype) == (128, 1024, "float32")
        assert all(bool(p.isfinite().all()) for p in sae.parameters())
    folders = {p.parent.name for p in Path(world.SAES_DIR).glob("*/cfg.json")}
    assert folders == set(world.sae_names())


@pytest.mark.parametrize("name", ["topk-mid", "relu-low", "batchtopk-high", "topk-mid-shuffled", "transcoder-mid"])
def test_recorded_figures_of_saes_hold(name: str, reference: measure.Yardstick) -> None:
    recorded = world.sae_index()[name]["measured"]
    found = measure.measure(SAE.load_from_disk(world.SAES_DIR / name), reference)
    assert found["l0"] == pytest.approx(recorded["l0"], rel=1e-3)
    assert found["explained_variance"] == pytest.approx(recorded["explained_variance"], abs=1e-3)
    assert found["loss_recovered"] == pytest.approx(recorded["loss_recovered"], abs=1e-3)


def test_the_known_order_holds() -> None:
    index = world.sae_index()
    parent = index["topk-mid"]["measured"]
    for name, entry in index.items():
        rank = entry["order"].get("damage", 0)
        if rank:
            assert entry["measured"]["explained_variance"] < parent["explained_variance"] - 0.005, name
    for architecture in {e["architecture"] for e in index.values()} - {"transcoder"}:
        by_level = [index[f"{architecture}-{level}"]["measured"] for level in ("low", "mid", "high")]
        assert by_level[0]["l0"] < by_level[1]["l0"] < by_level[2]["l0"]
        assert by_level[0]["explained_variance"] < by_level[1]["explained_variance"] < by_level[2]["explained_variance"]
