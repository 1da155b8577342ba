"""What must not move a value, and what must: batch size, order, sharding, scale, shift, permutation, extremes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saebench as sb
from saebench.engine import execute
from saebench.results import add_sums
from tests.helpers.toys import HOOK, WIDTH, ToySAE, token_rows


def _values(sae: object, model: nn.Module, rows: Tensor, suite: str = "core") -> dict[tuple[str, str], float]:
    frame = sb.evaluate(sae, suite, model=model, data={"text": rows}).frame()
    frame = frame[frame.role == "sae"]
    return dict(zip(zip(frame.metric, frame.slice, strict=True), frame.value, strict=True))


def _close(a: dict, b: dict, *, rel: float = 1e-5, but: tuple[str, ...] = ()) -> None:
    assert set(a) == set(b)
    for key, value in a.items():
        if key[0] not in but:
            assert b[key] == pytest.approx(value, rel=rel, abs=1e-5, nan_ok=True), key


class _Changed(nn.Module):
    """A SAE that sees and makes activations through a change of coordinates."""

    def __init__(self, sae: ToySAE, encode, decode, latents: Tensor | None = None) -> None:
        super().__init__()
        order = torch.arange(len(sae.W_dec)) if latents is None else latents
        self.sae, self._in, self._out, self._order = sae, encode, decode, order
        self.hook_name = HOOK
        self.W_dec = nn.Parameter(sae.W_dec.detach()[order])
        self.W_enc = nn.Parameter(sae.W_enc.detach()[:, order])

    def encode(self, x: Tensor) -> Tensor:
        return self.sae.encode(self._in(x))[:, self._order]

    def decode(self, codes: Tensor) -> Tensor:
        back = torch.empty_like(codes)
        back[:, self._order] = codes
        return self._out(self.sae.decode(back))


@pytest.mark.parametrize("budget", [9, 50, 10_000])
def test_the_batch_size_moves_nothing(llama: nn.Module, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    rows, sae = token_rows(20, 9, seed=1), ToySAE(seed=1)
    whole = _values(sae, llama, rows)
    monkeypatch.setattr(execute, "token_budget", lambda *_: budget)
    _close(whole, _values(sae, llama, rows))


def test_the_order_of_documents_moves_no_value(llama: nn.Module) -> None:
    rows, sae = token_rows(20, 9, seed=1), ToySAE(seed=1)
    _close(_values(sae, llama, rows), _values(sae, llama, rows.flip(0)))


def test_permuted_latents_change_nothing(llama: nn.Module) -> None:
    sae = ToySAE(seed=1)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    rows = token_rows(20, 9, seed=1)
    same = _Changed(sae, lambda x: x, lambda y: y, order)
    _close(_values(sae, llama, rows), _values(same, llama, rows))


def test_sums_of_two_shards_are_the_sums_of_the_whole(llama: nn.Module) -> None:
    """Half of the documents in each of two runs: the stored sums add up, so the values can be joined."""
    rows, sae = token_rows(16, 9, seed=2), ToySAE(seed=1)
    runs = [sb.evaluate(sae, "core", model=llama, data={"text": part}).rows for part in (rows, rows[:8], rows[8:])]
    whole, first, second = ({r.metric: r for r in run if r.role == "sae" and not r.slice} for run in runs)
    for name in ("ce_sae", "l0", "mse", "kl", "cosine_similarity"):
        total = {k: v.sum() for k, v in whole[name].sums.items()}
        joined = add_sums(
            {k: v.sum(keepdims=True) for k, v in first[name].sums.items()},
            {k: v.sum(keepdims=True) for k, v in second[name].sums.items()},
        )
        for field, value in total.items():
            assert joined[field][0] == pytest.approx(value, rel=1e-6), (name, field)


def test_scale_and_shift_of_the_activations(llama: nn.Module) -> None:
    """Explained variance is blind to both, cosine and l2 ratio to scale; mse grows with its square."""
    from saebench.inputs import Reconstruction
    from saebench.registry import get

    torch.manual_seed(0)
    y = torch.randn(500, WIDTH) + 2
    y_hat = y + 0.3 * torch.randn(500, WIDTH)

    def value(name: str, target: Tensor, made: Tensor) -> float:
        rows = get(name).rows(Reconstruction(target, target, made))
        centred = target - target.mean(0)
        fields = {
            k: (v if isinstance(v, Tensor) else torch.full((500,), float(v))).double().sum()
            for k, v in rows.fields.items()
        }
        return float(get(name).compute({**fields, "variance": (centred.double() ** 2).sum()}))

    for name in ("explained_variance", "cosine_similarity", "l2_ratio", "nmse", "relative_reconstruction_bias"):
        assert value(name, 7 * y, 7 * y_hat) == pytest.approx(value(name, y, y_hat), rel=1e-5), name
    assert value("explained_variance", y + 5, y_hat + 5) == pytest.approx(
        value("explained_variance", y, y_hat), rel=1e-4
    )
    assert value("mse", 3 * y, 3 * y_hat) == pytest.approx(9 * value("mse", y, y_hat), rel=1e-5)


def test_a_perfect_sae_is_perfect(llama: nn.Module) -> None:
    got = _values(_Identity(), llama, token_rows(12, 9))
    scores = {
        "explained_variance": 1,
        "loss_recovered": 1,
        "loss_recovered_mean": 1,
        "cosine_similarity": 1,
        "kl_score": 1,
        "top1_agreement": 1,
        "l2_ratio": 1,
        "relative_reconstruction_bias": 1,
        "mse": 0,
        "nmse": 0,
        "ce_delta": 0,
        "kl": 0,
        "dead_fraction": 0,
        "l0": WIDTH,
    }
    for name, score in scores.items():
        assert got[name, ""] == pytest.approx(score, abs=2e-5), name


class _Identity(nn.Module):
    hook_name = HOOK

    def __init__(self) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(torch.eye(WIDTH))
        self.W_enc = nn.Parameter(torch.eye(WIDTH))

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, codes: Tensor) -> Tensor:
        return codes


def test_a_dead_sae_scores_like_its_constant(llama: nn.Module) -> None:
    """No latent fires: L0 is 0, all are dead, what has no value is undefined with a reason, and it says so."""
    dead = ToySAE()
    with torch.no_grad():
        dead.b_enc.fill_(-1e6)
        dead.b_dec.zero_()
    results = sb.evaluate(dead, "core", model=llama, data={"text": token_rows(12, 9)})
    rows = {r.metric: r for r in results.rows if r.role == "sae" and not r.slice}
    assert rows["l0"].value == 0 and rows["dead_fraction"].value == 1
    assert rows["loss_recovered"].value == pytest.approx(0, abs=1e-5)
    assert rows["explained_variance"].value < 0.01
    for name in ("cosine_similarity", "uniformity"):
        assert rows[name].value is None and rows[name].reason, name
    assert any("dead" in warning for warning in rows["l0"].warnings)


def test_the_mean_alone_explains_nothing(llama: nn.Module) -> None:
    rows = token_rows(40, 9, seed=8)
    with torch.no_grad():
        mean = llama(rows, output_hidden_states=True).hidden_states[2][:, 1:].mean((0, 1))
    flat = ToySAE()
    with torch.no_grad():
        flat.b_enc.fill_(-1e6)
        flat.b_dec.copy_(mean)
    got = _values(flat, llama, rows)
    assert got["explained_variance", ""] == pytest.approx(0, abs=1e-5)
    assert got["loss_recovered_mean", ""] == pytest.approx(0, abs=1e-4)


def test_negative_codes_fire(llama: nn.Module) -> None:
    sae = ToySAE(seed=1)
    flipped = _Signed(sae)
    rows = token_rows(12, 9)
    got, plain = _values(flipped, llama, rows), _values(sae, llama, rows)
    for name in ("l0", "l1", "dead_fraction", "effective_l0"):
        assert got[name, ""] == pytest.approx(plain[name, ""], rel=1e-6), name


class _Signed(nn.Module):
    """The same SAE with all codes and decoder rows negated."""

    hook_name = HOOK

    def __init__(self, sae: ToySAE) -> None:
        super().__init__()
        self.sae = sae
        self.W_dec = nn.Parameter(-sae.W_dec.detach())

    def encode(self, x: Tensor) -> Tensor:
        return -self.sae.encode(x)

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.W_dec + self.sae.b_dec


def test_more_text_narrows_the_interval(llama: nn.Module) -> None:
    """The standard error of a mean falls as one over the root of the number of documents."""
    sae = ToySAE(seed=1)
    errors = []
    for count in (100, 400):
        rows = sb.evaluate(sae, "quick", model=llama, data={"text": token_rows(count, 9)}, metrics=["l0"]).rows
        errors.append(next(r.stderr for r in rows if r.role == "sae"))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.35)
