"""Temporal SAEs: trained and saved by SAELens, read by the equations here, and scored row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import saebench as sb
from saebench.errors import UserError
from saebench.saes import load_sae
from tests.saes.checkpoints import HOOK, D, F

ROWS, LENGTH, HOW = 6, 10, {"n_heads": 2, "bottleneck_factor": 8, "sae_diff_type": "topk", "kval_topk": 4}


def sequences(rows: int = ROWS, seed: int = 5) -> Tensor:
    """Rows in which a token is nine tenths of the one before it and something new, `[rows, LENGTH, D]`."""
    noise = torch.randn(rows, LENGTH, D, generator=torch.Generator().manual_seed(seed))
    made = [noise[:, 0]]
    for t in range(1, LENGTH):
        made.append(0.9 * made[-1] + noise[:, t])
    return torch.stack(made, 1)


def upstream(steps: int = 0, **changes: Any) -> Any:
    """A temporal SAE of SAELens, trained for some steps."""
    from sae_lens.registry import SAE_CLASS_REGISTRY

    torch.manual_seed(0)
    config = {"architecture": "temporal", "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu",
              "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
              "metadata": {"hook_name": HOOK, "model_name": "toy"}, "n_attn_layers": 2, **HOW, **changes}  # fmt: skip
    sae: Any = SAE_CLASS_REGISTRY["temporal"][0].from_dict(config)
    optimiser = torch.optim.Adam(sae.parameters(), lr=3e-3)
    for step in range(steps):
        x = sequences(16, seed=step)
        loss = (sae(x) - x).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for parameter in (
        sae.parameters() if not steps else ()
    ):  # biases start at zero: move them, so that each is seen to count
        parameter.data += 0.02 * torch.randn_like(parameter)
    return sae.requires_grad_(False)


@pytest.mark.parametrize(
    "changes",
    [{}, {"tied_weights": False}, {"sae_diff_type": "relu"}, {"apply_b_dec_to_input": False}, {"n_attn_layers": 1},
     {"normalize_activations": "constant_scalar_rescale", "activation_normalization_factor": 2.5},
     {"normalize_activations": "constant_norm_rescale"}, {"normalize_activations": "layer_norm"}],
)  # fmt: skip
def test_codes_and_reconstruction_equal_saelens(changes: dict[str, Any]) -> None:
    sae, x = upstream(**changes), sequences()
    coder = load_sae(sae)
    codes = coder.encode_rows(x)
    torch.testing.assert_close(codes.dense().view(ROWS, LENGTH, F), sae.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder.decode(codes).view_as(x), sae(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(coder.reconstruct(x[1]), sae(x[1:2])[0], rtol=1e-4, atol=1e-4)


def test_trained_one_is_better_for_its_memory_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    sae, x = upstream(150), sequences(seed=999)
    sae.save_model(tmp_path)
    coder, again = load_sae(sae), load_sae(tmp_path)
    assert again.fingerprint == coder.fingerprint and again.architecture == "temporal" and again.needs_sequence
    assert torch.equal(again.encode_rows(x).dense(), coder.encode_rows(x).dense())
    whole = again.decode(again.encode_rows(x)).view_as(x)
    alone = torch.stack([torch.cat([again.reconstruct(token[None]) for token in row]) for row in x])
    error, forgetful = ((made - x).square().sum() for made in (whole, alone))
    assert error < 0.7 * forgetful and error < 0.5 * x.square().sum()


def test_dense_codes_need_what_was_predicted() -> None:
    coder = load_sae(upstream())
    codes = coder.encode_rows(sequences())
    torch.testing.assert_close(coder.decode(codes.dense(), codes.ctx), coder.decode(codes), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="'rest' of the input.*ctx=codes.ctx"):
        coder.decode(codes.dense())


def test_normalisation_that_saelens_leaves_out_is_refused() -> None:
    with pytest.raises(UserError, match="expected_average_only_in.*never folds"):
        load_sae(upstream(normalize_activations="expected_average_only_in"))


def test_scores_are_those_of_whole_rows_and_batches_do_not_move_them() -> None:
    """A token is encoded with those before it in its document, special tokens and all, and no padding."""
    from saebench.data.corpus import build_corpus
    from saebench.models import load_model
    from saebench.suite import TextSpec

    model = load_model("world")
    sae = upstream(d_in=model.d_model, d_sae=256, metadata={"hook_name": HOOK})
    suite = {"name": "t", "metric": ["mse", "l0", "ce_delta"], "references": {"null": None, "baseline": None},
             "data": {"text": {"tokens": 600, "context": 32}}}  # fmt: skip
    frame = sb.evaluate([sae], suite, model="world").frame().set_index("metric")
    corpus = build_corpus("text", "world", TextSpec(tokens=600, context=32), model)
    errors, counts = [], []
    with torch.no_grad():
        for row in range(corpus.rows):
            x = model.forward(torch.as_tensor(corpus.row(row)).long()[None], [HOOK], final=False).acts[HOOK]
            valid = torch.from_numpy(corpus.valid[corpus.starts[row] : corpus.starts[row + 1]])
            errors.append((sae(x) - x)[0][valid].square().sum(-1).double())
            counts.append((sae.encode(x)[0][valid] != 0).sum(-1).double())
    assert frame.value["mse"] == pytest.approx(float(torch.cat(errors).mean()), rel=1e-4)
    assert frame.value["l0"] == pytest.approx(float(torch.cat(counts).mean()), rel=1e-4)
    assert set(frame.status) == {"ok"}
