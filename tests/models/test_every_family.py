"""Families whose blocks are built in their own ways: every hook against independent computations, or a clear refusal.

All families of transformers are tried by `python -m tests.models.survey`; these stand for their kinds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf

from saebench.errors import UserError
from saebench.models import load_model
from saebench.models.sites import KINDS
from tests.models.families import token_rows
from tests.models.survey import examined, survey
from tests.models.tiny import tiny

ATTENTION = {"attn.hook_z", "hook_attn_out"}
INTO = {"attn.hook_in", "ln1.hook_normalized"}
NEURONS = "mlp.hook_post"
BRANCHES = {"hook_attn_out", "hook_resid_mid", "hook_mlp_out"}
LACKS: dict[str, set[str]] = {
    "afmoe": {NEURONS},  # norms before and after both branches, mixture of experts in all layers but the first
    "apertus": set(),  # norms under names of its own
    "bamba": {*ATTENTION, *INTO},  # Mamba in some layers, attention in others
    "bart": {"hook_mlp_out", "ln1.hook_normalized"},  # the norm comes after the sum
    "codegen": {"hook_resid_mid"},  # parallel, one norm for both branches
    "dbrx": {NEURONS},  # experts; attention inside a module with its norms
    "falcon_h1": {"hook_attn_out", "hook_resid_mid"},  # attention and Mamba side by side
    "gpt_bigcode": set(),  # one key and value for all heads
    "gpt_neox_japanese": {"hook_attn_out"},  # the last layer adds a bias outside its attention
    "gpt_oss": {NEURONS},  # experts; attention with sinks
    "hyperclovax": set(),  # branches times a constant
    "mamba": {*KINDS} - {"hook_resid_pre", "hook_resid_post"},
    "mllama": {*KINDS},  # one layer runs on images alone
    "moshi": set(),  # projections wrapped in modules
    "openai-gpt": {"hook_mlp_out", "ln1.hook_normalized"},  # blocks that return lists
    "rwkv": {*ATTENTION, "hook_resid_mid", "ln2.hook_normalized", NEURONS},
}
REFUSED = {
    "deepseek_v4": r"pass on \[1, 8, 4, 32\], where one residual stream \[1, 8, 32\] is expected",
    "hrm_text": "its stack of blocks runs 6 times in a pass",
    "reformer": "its logits do not follow from what leaves its stack of blocks",
    "xlm": "what leaves one of its blocks is not what enters the next",
    "xlnet": "not causal",
}


@pytest.mark.parametrize("family", sorted(LACKS))
def test_every_hook_is_what_it_says(family: str) -> None:
    found = survey(family)
    assert not found.unread and not found.refused and not found.faults
    assert set(found.missing) <= LACKS[family]
    assert LACKS[family] <= {*found.missing, "ln2.hook_normalized"}
    assert all(why and not why.endswith(".") for _, why in found.missing.values())


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_what_cannot_be_read_is_refused_in_a_sentence(family: str) -> None:
    with pytest.raises(UserError, match=REFUSED[family]):
        subject = load_model(tiny(family))
        subject.forward(token_rows(), subject.sites())


def test_layers_that_share_more_than_the_residual_cannot_be_resumed() -> None:
    model = tiny("zaya")
    subject = load_model(model)
    run = subject.forward(token_rows(), ["blocks.1.hook_resid_post"])
    with pytest.raises(UserError, match="share state beside the residual"):
        subject.resume(run, "blocks.1.hook_resid_post", run.acts["blocks.1.hook_resid_post"])


@pytest.mark.parametrize(
    ("family", "architecture"),
    [("llava", "LlavaForConditionalGeneration"), ("gemma3", "Gemma3ForConditionalGeneration")],
)
def test_the_text_part_of_a_model_that_also_sees(family: str, architecture: str, tmp_path: Path) -> None:
    model = tiny(family, architecture)
    found = examined(family, model)
    assert not found.refused and not found.faults and not found.missing
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, device="cpu")
    assert "language_model" in loaded._anatomy.trunk  # type: ignore[attr-defined]
    tokens = token_rows()
    with torch.no_grad():
        assert torch.equal(loaded.logits(loaded.forward(tokens).final), model(tokens).logits)  # type: ignore[arg-type]


def test_a_model_that_needs_an_image_says_so() -> None:
    with pytest.raises(UserError, match="Kosmos2ForConditionalGeneration.*does not run on token ids alone.*image"):
        load_model(tiny("kosmos-2", "Kosmos2ForConditionalGeneration")).forward(token_rows())


def test_a_prefix_that_sees_itself_is_not_causal() -> None:
    with pytest.raises(UserError, match="not causal"):
        load_model(tiny("paligemma", "PaliGemmaForConditionalGeneration")).forward(token_rows())


def test_an_encoder_and_a_decoder_are_not_a_causal_model(tmp_path: Path) -> None:
    hf.T5ForConditionalGeneration(
        hf.T5Config(d_model=16, d_ff=16, d_kv=4, num_layers=1, num_heads=2, vocab_size=61)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="Cannot load a causal language model"):
        load_model(tmp_path, device="cpu")
