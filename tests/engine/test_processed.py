"""SAEs trained on weights that TransformerLens processed, scored on the model as it is, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import saebench as sb
from saebench.errors import UserError
from saebench.models import load_model
from tests.models.families import WIDTH, build, token_rows
from tests.saes.checkpoints import weights, write

HOOK = "blocks.1.hook_resid_post"
CENTRED = {"center_writing_weights": True}
SUITE = {"name": "m", "metric": ["ce_clean", "ce_delta", "mse", "l0"]}


def saved(folder: Path, options: dict[str, Any] | None, architecture: str = "standard", **facts: Any) -> Path:
    """A SAELens checkpoint that says how its model was loaded."""
    metadata = {"hook_name": HOOK, "model_name": "toy", "model_from_pretrained_kwargs": options, **facts}
    tensors = weights(architecture, d_in=WIDTH) if "transcoder" not in architecture else None
    sizes = {} if tensors is None else {"d_in": WIDTH}
    return write(folder, architecture, tensors, metadata=metadata, **sizes)


def processed(**options: bool) -> Any:
    """The random GPT-2 as a HookedTransformer, with weights processed as TransformerLens does."""
    import transformer_lens
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    source = build("gpt2")
    config = transformer_lens.HookedTransformerConfig(
        n_layers=4, d_model=WIDTH, n_ctx=64, d_head=WIDTH // 4, n_heads=4, d_mlp=4 * WIDTH, act_fn="gelu_new",
        d_vocab=source.config.vocab_size, normalization_type="LN", device="cpu", eps=source.config.layer_norm_epsilon,
    )  # fmt: skip
    hooked = transformer_lens.HookedTransformer(config)
    off = dict.fromkeys(("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False)
    hooked.load_and_process_state_dict(convert_gpt2_weights(source, config), **{**off, **options})
    return hooked.eval()


def scores(sae: Path, model: Any) -> tuple[dict[str, float | None], list[str]]:
    """Values of a SAE by metric, and what its rows warn of."""
    rows = sb.evaluate(sae, SUITE, model=model, data={"text": token_rows(6, 12, seed=2)}).rows
    own = [row for row in rows if row.role == "sae"]
    return {row.metric: row.value for row in own}, own[0].warnings


def test_trained_on_centred_weights_and_scored_on_the_model_as_it_is(tmp_path: Path) -> None:
    centred, plain = saved(tmp_path / "a", CENTRED), saved(tmp_path / "b", None)
    hooked, source = processed(center_writing_weights=True), build("gpt2")
    expected, _ = scores(plain, hooked)  # the weights alone, on the activations they were trained on
    for model in (source, hooked):
        got, warnings = scores(centred, model)
        for metric, value in expected.items():
            assert got[metric] == pytest.approx(value, rel=1e-4, abs=2e-5), metric
        assert any("center_writing_weights" in warning for warning in warnings)
    uncentred, _ = scores(plain, source)
    assert uncentred["mse"] != pytest.approx(expected["mse"], rel=1e-2)


def test_codes_are_those_of_the_centred_activation(tmp_path: Path) -> None:
    sae = sb.load_sae(saved(tmp_path / "a", CENTRED))
    bare = sb.load_sae(saved(tmp_path / "b", None))
    x: Tensor = torch.randn(5, WIDTH) + 2
    mean = x.mean(-1, keepdim=True)
    torch.testing.assert_close(sae.encode(x).dense(), bare.encode(x - mean).dense())
    torch.testing.assert_close(sae.reconstruct(x), bare.reconstruct(x - mean) + mean)


def test_centring_does_nothing_in_a_model_that_reads_the_mean(tmp_path: Path) -> None:
    """TransformerLens does not centre weights before RMSNorm, so the SAE never saw centred activations."""
    model = build("llama")
    assert not load_model(model).ignores_mean(HOOK) and load_model(build("gpt2")).ignores_mean(HOOK)
    got, warnings = scores(saved(tmp_path / "a", CENTRED), model)
    expected, _ = scores(saved(tmp_path / "b", None), model)
    assert got == expected and not any("center" in warning for warning in warnings)


def test_a_processed_model_is_doubted(tmp_path: Path) -> None:
    hooked = processed(center_writing_weights=True, fold_ln=True)
    assert load_model(hooked).processing == {"center_writing_weights", "fold_ln"}
    assert not load_model(processed()).processing
    _, warnings = scores(saved(tmp_path / "a", None), hooked)
    assert any("center_writing_weights" in warning and "no_processing" in warning for warning in warnings)
    _, warnings = scores(saved(tmp_path / "b", None), processed())
    assert not any("processing" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("options", "facts", "message"),
    [
        ({"fold_value_biases": True}, {"hook_name": "blocks.1.attn.hook_z"}, "moves the biases of the values"),
        ({"fold_ln": True}, {"hook_name": "blocks.1.mlp.hook_in"}, "name ln2.hook_normalized"),
        (CENTRED, {"hook_name_out": "blocks.1.hook_mlp_out"}, "also transcodes"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    tmp_path: Path, options: dict[str, bool], facts: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sb.load_sae(saved(tmp_path / "a", options, **facts))
