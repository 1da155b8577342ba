"""What is kept of text that is not scored, and which tokens a fixed sample holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saebench.data.corpus import build_corpus
from saebench.engine import fits
from saebench.engine.fits import Fit, fit
from saebench.inputs import TokenInfo
from saebench.models import load_model
from saebench.saes import load_sae
from saebench.suite import TextSpec
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows


def _fitted(sae: nn.Module, budget: int = 40) -> tuple[Fit, Tensor]:
    """A fit on twenty rows, and the activations of their valid tokens."""
    rows, model = token_rows(20, 9), load_model(tiny_llama())
    made = Fit(load_sae(sae, hook=HOOK), errors=True, codes=True, labels=True)
    fit(model, build_corpus("fit", rows, TextSpec(), model), [made], budget)
    x = model.forward(rows, [HOOK], final=False).acts[HOOK][:, 1:].reshape(-1, 16)
    return made, x


def test_codes_of_other_text_are_those_of_an_encode_of_it() -> None:
    sae = ToySAE()
    made, x = _fitted(sae)
    assert made.others is not None and made.error_fit is not None and not made.failure
    with torch.no_grad():
        assert torch.allclose(made.others.codes.dense(), sae.encode(x), atol=1e-5)
    assert made.others.labels is not None and made.others.labels.holds.shape == (160, 0)


def test_a_coder_that_always_fires_keeps_fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = _fitted(ToySAE())
    monkeypatch.setattr(fits, "MOST_ENTRIES", 1000)
    made, _ = _fitted(ToySAE())
    assert whole.others is not None and made.others is not None
    kept = made.others.codes
    assert 0 < kept.n < whole.others.codes.n == 160 and len(kept.values) <= 1000
    assert torch.equal(kept.dense(), whole.others.codes.dense()[: kept.n])


def test_a_coder_that_fails_says_why() -> None:
    class Broken(ToySAE):
        def encode(self, x: Tensor) -> Tensor:
            if len(x) > 60:
                raise ValueError("too many")
            return super().encode(x)

    made, _ = _fitted(Broken(), budget=100)
    assert "too many" in made.failure and made.others is None


def _info(rows: int, total: int) -> TokenInfo:
    row = torch.arange(rows).repeat_interleave(100)
    zeros = torch.zeros_like(row)
    return TokenInfo(zeros, torch.arange(100).repeat(rows), zeros.float(), zeros, (), zeros, row, total, 10)


def test_a_sample_is_even_fixed_and_nested() -> None:
    info = _info(200, 20_000)
    few, many = info.sample(2_000), info.sample(8_000)
    assert 1_850 < int(few.sum()) < 2_150 and 7_700 < int(many.sum()) < 8_300
    assert not bool((few & ~many).any())
    assert int(info.sample(20_000).sum()) == 20_000
    by_row, by_place = few.view(200, 100).sum(1), few.view(200, 100).sum(0)
    assert int(by_row.min()) >= 1 and int(by_row.max()) < 25
    assert int(by_place.min()) >= 5 and int(by_place.max()) < 40
