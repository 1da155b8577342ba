"""What the error is made of, against numpy's least squares on the same two texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saebench as sb
from saebench.models import load_model
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

METRICS = ["error_linear_r2", "error_nonlinear_fvu", "error_norm_r2", "nmse_by_error_decile"]
SCORED, ROWS, LENGTH = 60, 400, 9


def _suite(tokens: int) -> dict:
    return {
        "metric": METRICS,
        "data": {"text": {"tokens": tokens, "context": LENGTH}},
        "references": {"null": None, "baseline": None},
    }


class _Shrunk(ToySAE):
    """Reconstructs 0.8 x + 1: all of its error is linear."""

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x.relu(), (-x).relu()], dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        half = codes.shape[-1] // 2
        return 0.8 * (codes[..., :half] - codes[..., half:]) + 1


def _tokens() -> Tensor:
    """Rows of which those that are scored never begin like the others, so that no context is in both texts."""
    rows = token_rows(ROWS, LENGTH)
    rows[:SCORED, 1] = 3 + rows[:SCORED, 1] % 18
    rows[SCORED:, 1] = 21 + rows[SCORED:, 1] % 19
    return rows


def _values(sae: nn.Module, tokens: int = SCORED * (LENGTH - 1)) -> dict[tuple[str, str], float]:
    results = sb.evaluate(sae, _suite(tokens), model=tiny_llama(), data={"text": _tokens()}, hook=HOOK)
    return {(row.metric, row.slice): row.value for row in results.rows}


def _activations(rows: Tensor) -> np.ndarray:
    run = load_model(tiny_llama()).forward(rows, [HOOK], final=False)
    return run.acts[HOOK][:, 1:].reshape(-1, 16).double().numpy()


def test_against_numpy() -> None:
    sae = ToySAE()
    found = _values(sae)
    tokens = _tokens()
    with torch.no_grad():
        x, fit = _activations(tokens[:SCORED]), _activations(tokens[SCORED:])
        error, other = (a - sae.decode(sae.encode(torch.from_numpy(a).float())).double().numpy() for a in (x, fit))
    wide, fit_wide = (np.hstack([a, np.ones((len(a), 1))]) for a in (x, fit))
    rest = ((error - wide @ np.linalg.lstsq(fit_wide, other, rcond=None)[0]) ** 2).sum()
    assert found["error_linear_r2", ""] == pytest.approx(1 - rest / ((error - other.mean(0)) ** 2).sum(), abs=1e-4)
    assert found["error_nonlinear_fvu", ""] == pytest.approx(rest / ((x - x.mean(0)) ** 2).sum(), rel=1e-4)
    norm, other_norm = np.linalg.norm(error, axis=1), np.linalg.norm(other, axis=1)
    guess = wide @ np.linalg.lstsq(fit_wide, other_norm, rcond=None)[0]
    expected = 1 - ((norm - guess) ** 2).sum() / ((norm - other_norm.mean()) ** 2).sum()
    assert found["error_norm_r2", ""] == pytest.approx(expected, abs=1e-4)
    cuts = np.sort(other_norm**2)[[len(other_norm) * i // 10 for i in range(1, 10)]]
    decile = np.searchsorted(cuts, norm**2)
    for i in range(10):
        share = (norm[decile == i] ** 2).sum() / (x[decile == i] ** 2).sum()
        assert found["nmse_by_error_decile", f"decile={i + 1}"] == pytest.approx(share, rel=1e-4)


def test_an_error_that_is_linear_is_found_to_be() -> None:
    found = _values(_Shrunk())
    assert found["error_linear_r2", ""] == pytest.approx(1, abs=1e-4)
    assert found["error_nonlinear_fvu", ""] == pytest.approx(0, abs=1e-5)


def test_noise_is_not_linear_in_anything() -> None:
    """An error of pseudo-random numbers that depend on the activation through its bits only."""

    class Noisy(_Shrunk):
        def decode(self, codes: Tensor) -> Tensor:
            half = codes.shape[-1] // 2
            x = codes[..., :half] - codes[..., half:]
            return x + torch.sin(1e4 * x)

    found = _values(Noisy())
    assert abs(found["error_linear_r2", ""]) < 0.05
    assert abs(found["error_norm_r2", ""]) < 0.05


def test_without_other_text_the_rows_say_so() -> None:
    results = sb.evaluate(ToySAE(), _suite(10**6), model=tiny_llama(), data={"text": token_rows(40, LENGTH)}, hook=HOOK)
    assert all("fitted to the scored text itself" in " ".join(row.warnings) for row in results.rows)
