"""The table of a SAE's latents that a run leaves beside its rows equals what the codes say, latent by latent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saebench as sb
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

SUITE: dict[str, Any] = {
    "metric": ["dead_fraction", {"max_phi": {"least": 1}}, "l0"],
    "references": {"null": "null:random-4", "baseline": None},
}


def _run(out: Path, suite: dict[str, Any] = SUITE, seed: int = 1) -> pd.DataFrame:
    sb.evaluate({"toy": ToySAE(seed=seed)}, suite, model=tiny_llama(), data={"text": token_rows(40, 9)}, out=out)
    return pd.read_parquet(out / "latents" / "toy.parquet")


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """Codes of all tokens but the first of a row, which is BOS, `[tokens, latents]`."""
    model, sae = tiny_llama(), ToySAE(seed=1)
    with torch.no_grad():
        hidden = model(token_rows(40, 9), output_hidden_states=True).hidden_states
        layer = int(HOOK.split(".")[1])
        return sae.encode(hidden[layer + 1][:, 1:].flatten(0, 1)).numpy()


def test_it_equals_the_codes(tmp_path: Path, codes: np.ndarray) -> None:
    found = _run(tmp_path)
    assert list(found["latent"]) == list(range(24)) and found.attrs["sae"] == "toy"
    fires = codes != 0
    assert found["density"].to_numpy() == pytest.approx(fires.mean(0))
    sae = ToySAE(seed=1)
    decoder, encoder = sae.W_dec.detach().numpy(), sae.W_enc.detach().numpy().T
    norms = np.linalg.norm(decoder, axis=1)
    assert found["decoder_norm"].to_numpy() == pytest.approx(norms, rel=1e-5)
    cosine = (encoder * decoder).sum(1) / norms / np.linalg.norm(encoder, axis=1)
    assert found["encoder_decoder_cosine"].to_numpy() == pytest.approx(cosine, abs=1e-5)
    phi = np.nan_to_num(np.corrcoef(fires.T), nan=-np.inf) - 2 * np.eye(24)
    seen = np.isfinite(found["max_phi"])
    assert seen.sum() > 12
    assert found["max_phi"][seen].to_numpy() == pytest.approx(phi.max(1)[seen], abs=1e-5)
    assert "dead_fraction" not in found, "its density says whether a latent is dead"


def test_names_that_look_alike_have_a_table_each(tmp_path: Path) -> None:
    saes = {"a/b": ToySAE(seed=1), "a b": ToySAE(seed=2)}
    sb.evaluate(saes, SUITE, model=tiny_llama(), data={"text": token_rows(40, 9)}, out=tmp_path)
    tables = [pd.read_parquet(file) for file in (tmp_path / "latents").iterdir()]
    assert {table.attrs["sae"] for table in tables} == set(saes)


def test_only_saes_have_one_and_another_suite_adds_to_it(tmp_path: Path) -> None:
    before = _run(tmp_path, {**SUITE, "metric": ["dead_fraction"]})
    assert [file.name for file in (tmp_path / "latents").iterdir()] == ["toy.parquet"]
    after = _run(tmp_path, {**SUITE, "metric": [{"max_phi": {"least": 1}}]})
    assert set(after) == {*before, "max_phi"}
    other = _run(tmp_path, {**SUITE, "metric": ["dead_fraction"]}, seed=2)
    assert "max_phi" not in other, "other weights under the same name"
