"""The core metrics equal the same quantities taken from their definitions in loops (tests/helpers/by_hand.py)."""

from __future__ import annotations

import pytest
import torch

import saebench as sb
from tests.helpers.by_hand import core_numbers
from tests.helpers.toys import EOS, ToySAE, token_rows


def _texts(kind: str) -> torch.Tensor:
    rows = token_rows(10, 9, seed=3, bos=kind != "no bos")
    if kind == "eos inside":
        rows[::2, 5] = EOS
    return rows


@pytest.mark.parametrize("kind", ["bos", "no bos", "eos inside"])
def test_every_scalar_equals_the_loop(llama: torch.nn.Module, kind: str) -> None:
    """Specials at the start take the ablation shortcut, specials inside do not: both must be right."""
    rows, sae = _texts(kind), ToySAE(seed=1)
    expected = core_numbers(llama, 1, rows, {0, 1, 2}, sae.encode, sae.decode, sae.W_dec.detach().norm(dim=-1))
    frame = sb.evaluate(sae, "core", model=llama, data={"text": rows}).frame()
    got = frame[(frame.role == "sae") & (frame.slice == "")].set_index("metric").value
    assert set(expected) <= set(got.index)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=2e-5, abs=_float32(name, expected)), name


def _float32(name: str, expected: dict[str, float]) -> float:
    """Losses are good to about 2e-6 nats in float32; a share of loss divides that by its yardstick."""
    ablated = {"loss_recovered": "ce_zero", "loss_recovered_mean": "ce_mean"}.get(name)
    return 4e-6 / abs(expected[ablated] - expected["ce_clean"]) if ablated else 2e-6


def test_a_later_hook_and_an_mlp_transcoder_are_spliced_where_they_belong(llama: torch.nn.Module) -> None:
    """A transcoder from MLP input to MLP output: its target is the MLP's output, and that is what it replaces."""
    rows = token_rows(8, 9, seed=5)
    transcoder = ToySAE(seed=2)
    transcoder.hook_name, transcoder.hook_name_out = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
    frame = sb.evaluate(transcoder, "core", model=llama, data={"text": rows}).frame()
    got = frame[(frame.role == "sae") & (frame.slice == "")].set_index("metric").value

    taken: dict[str, torch.Tensor] = {}
    mlp = llama.model.layers[1].mlp
    watch = mlp.register_forward_hook(lambda _m, i, o: taken.update(x=i[0], y=o))
    with torch.no_grad():
        clean = llama(rows).logits.double().log_softmax(-1)
    watch.remove()
    made = taken["y"].clone()
    made[:, 1:] = transcoder.decode(transcoder.encode(taken["x"][:, 1:])).detach()
    splice = mlp.register_forward_hook(lambda _m, _i, _o: made)
    with torch.no_grad():
        spliced = llama(rows).logits.double().log_softmax(-1)
    splice.remove()
    loss = -spliced[:, 1:-1].gather(-1, rows[:, 2:, None]).mean()
    base = -clean[:, 1:-1].gather(-1, rows[:, 2:, None]).mean()
    assert got["ce_delta"] == pytest.approx(float(loss - base), rel=1e-5, abs=1e-6)
    y, y_hat = taken["y"][:, 1:].double(), made[:, 1:].double()
    centred = y - y.mean((0, 1))
    assert got["explained_variance"] == pytest.approx(
        1 - float(((y - y_hat) ** 2).sum() / (centred**2).sum()), rel=1e-5
    )


def test_geometry_equals_numpy(llama: torch.nn.Module) -> None:
    """Neighbour cosines, mixing and effective rank against dense numpy."""
    import numpy as np

    sae = ToySAE(seed=4)
    frame = sb.evaluate(sae, "core", model=llama, data={"text": token_rows(4)}).frame()
    got = frame[frame.role == "sae"].set_index("metric").value
    decoder = sae.W_dec.detach().double().numpy()
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    assert got["decoder_neighbour_cosine"] == pytest.approx(cosine.max(1).mean(), rel=1e-5)
    np.fill_diagonal(cosine, np.nan)
    assert got["decoder_mixing"] == pytest.approx(np.nanmean(np.abs(cosine)), rel=1e-5)
    sigma = np.linalg.svd(decoder, compute_uv=False)
    p = sigma / sigma.sum()
    assert got["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)
    encoder = sae.W_enc.detach().double().numpy().T
    paired = (encoder * decoder).sum(1) / np.linalg.norm(encoder, axis=1) / np.linalg.norm(decoder, axis=1)
    assert got["encoder_decoder_cosine"] == pytest.approx(paired.mean(), rel=1e-4)
    columns = encoder / np.linalg.norm(encoder, axis=1, keepdims=True)
    near = columns @ columns.T
    np.fill_diagonal(near, -np.inf)
    assert got["encoder_neighbour_cosine"] == pytest.approx(near.max(1).mean(), rel=1e-4)
    assert abs(got["encoder_neighbour_cosine"] - got["decoder_neighbour_cosine"]) > 1e-3


def test_densities_equal_counts(llama: torch.nn.Module) -> None:
    """Dense fractions, activity and histogram against a count over all tokens."""
    rows, sae = token_rows(30, 9, seed=6), ToySAE(seed=5)
    with torch.no_grad():
        x = llama(rows, output_hidden_states=True).hidden_states[2][:, 1:].reshape(-1, 16)
        density = (sae.encode(x) != 0).double().mean(0)
    frame = sb.evaluate(sae, "core", model=llama, data={"text": rows}).frame()
    got = frame[frame.role == "sae"].set_index(["metric", "slice"]).value
    for share in (0.01, 0.1):
        assert got["dense_fraction", f"above={share:g}"] == pytest.approx(float((density > share).double().mean()))
        assert got["dense_activity", f"above={share:g}"] == pytest.approx(
            float(density[density > share].sum() / density.sum())
        )
    tenth = (density >= 0.1).double().mean()
    assert got["density_histogram", "log10=-1"] == pytest.approx(float(tenth))
    assert sum(got["density_histogram"]) == pytest.approx(float((density > 0).double().mean()))


def test_a_latent_that_fires_on_exactly_the_share_is_not_above_it() -> None:
    """0.01 of 50,800 tokens is 508 firings, whatever the batches that the threshold was summed over."""
    import numpy as np

    from saebench.registry import get

    parts = [0.01 * n for n in [4064] * 12 + [2032]]
    fields = {"fires": np.array([[508.0], [509.0], [507.0]]), "threshold": np.full((3, 1), sum(parts))}
    assert get("dense_fraction").finished(fields)["dense"].ravel().tolist() == [False, True, False]


def test_tokens_that_are_decoded_to_zero_are_counted(llama: torch.nn.Module) -> None:
    """A coder without biases that is silent on the tokens whose first channel is negative."""
    rows, sae = token_rows(12, 9, seed=8), ToySAE(seed=7)
    encode, decode = sae.encode, sae.decode
    sae.encode = lambda x: encode(x) * (x[:, :1] > 0)  # type: ignore[method-assign]
    sae.decode = lambda f: decode(f) - decode(torch.zeros_like(f))  # type: ignore[method-assign]
    with torch.no_grad():
        x = llama(rows, output_hidden_states=True).hidden_states[2][:, 1:].reshape(-1, 16)
        share = float((sae.decode(sae.encode(x)) == 0).all(-1).double().mean())
    frame = sb.evaluate(sae, "core", model=llama, data={"text": rows}).frame()
    got = frame[(frame.role == "sae") & (frame.metric == "zero_reconstruction_fraction")].value.item()
    assert got == pytest.approx(share) and 0.2 < share < 0.95
