"""`saebench show` of a SAE: what was detected, what was measured, and the verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saebench.cli import main
from saebench.errors import UserError
from saebench.listing import shown
from tests.helpers.toys import HOOK, token_rows
from tests.saes import foreign
from tests.saes.checkpoints import D, F, draw


@pytest.fixture
def model(llama: torch.nn.Module, tmp_path: Path) -> tuple[str, str]:
    """A model on disk, sixteen channels wide, and token ids for it."""
    import numpy as np

    llama.save_pretrained(tmp_path / "model")  # type: ignore[operator]
    np.save(tmp_path / "rows.npy", token_rows(40, 9).numpy())
    return str(tmp_path / "model"), str(tmp_path / "rows.npy")


def test_what_was_detected_is_told_without_a_model(tmp_path: Path) -> None:
    folder, _ = foreign.batch_topk(tmp_path)
    text = shown(str(folder))
    for line in ("format                   dictionary_learning", "architecture             batchtopk",
                 f"d_in {D}, d_sae {F}, d_out {D}", f"hook                     {HOOK}",
                 "above its threshold: 0.7, all alike",
                 "b_dec subtracted", "declared model_name      toy/lm", "declared k               5",
                 "no warning: the weights pass the load gate"):  # fmt: skip
        assert line in text
    assert "verdict" not in text


def test_transcoder_shows_both_hooks_and_its_skip_connection(tmp_path: Path) -> None:
    folder, _ = foreign.sparsify(transcode=True, skip=True)(tmp_path)
    text = shown(str(folder))
    assert "blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out" in text and "a linear skip connection" in text
    assert "the 4 largest of a token" in text and "b_dec not subtracted" in text


def test_sae_that_was_not_trained_on_the_model_gets_a_warning_and_a_verdict(
    model: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = foreign.auto_encoder_topk(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["show", str(folder), "--model", model[0], "--text", model[1]])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert "L0                       5 (declared 5)" in told and "320 tokens of" in told
    assert "warning: explains less variance than the mean does" in told
    assert told.rstrip().endswith("verdict: do not trust its scores before this is explained")


def test_sae_of_another_width_is_refused(model: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="input width 128, but blocks.1.hook_resid_post of this model has width 16"):
        shown("world:topk-mid", model=model[0], text=model[1])


def test_sae_of_the_world_is_tried_on_the_world() -> None:
    text = shown("world:topk-mid")
    assert "explained variance       0.9" in text and "L0                       20 (declared 20)" in text
    assert "verdict: it behaves as declared on the probe batch" in text


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("baseline:pca-32", "Principal components"),
        ("baseline:identity", "reconstructed exactly"),
        ("null:random-32", "Random unit rows"),
    ],
)
def test_what_is_made_of_activations_is_told_in_words(ref: str, words: str) -> None:
    text = shown(ref)
    assert words in text and "made of a model's activations when a run starts" in text


def test_a_checkpoint_of_several_hooks_is_shown_at_its_first(tmp_path: Path) -> None:
    save_file({"pre_encoder_bias": draw(D), "encoder.weight": draw(F, D), "decoder.weight": draw(D, F)},
              tmp_path / "model.safetensors")  # fmt: skip
    (tmp_path / "config.json").write_text('{"layers": [0, 2], "k": 5}')
    text = shown(str(tmp_path))
    assert "hook                     blocks.0.hook_resid_post" in text
    assert "scored at 2 hooks, this the first (--hook for another): blocks.0.hook_resid_post, blocks.2" in text
    other = shown(str(tmp_path), hook="blocks.2.hook_resid_post")
    assert "hook                     blocks.2.hook_resid_post" in other and "scored at" not in other


def test_damaged_sae_of_the_world_draws_a_verdict() -> None:
    text = shown("world:topk-mid-shuffled")
    assert "explains less variance than the mean does" in text and "verdict: do not trust" in text
