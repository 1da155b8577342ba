"""`saebench match` and `--group` as a user meets them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import saebench as sb
from saebench.cli import main
from tests.helpers.toys import HOOK, ToySAE, tiny_llama


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and SAEs in SAELens' format: three seeds, one at another hook, one that is broken."""
    folder = tmp_path_factory.mktemp("match")
    tiny_llama().save_pretrained(folder / "model")
    hooks = {"one": HOOK, "two": HOOK, "three": HOOK, "elsewhere": "blocks.0.hook_resid_post", "nan": HOOK}
    for seed, (name, hook) in enumerate(hooks.items()):
        tensors = {k: v.detach().contiguous() for k, v in ToySAE(seed=seed).named_parameters()}
        if name == "nan":
            tensors["W_dec"][5, 3] = torch.nan
        (folder / name).mkdir()
        save_file(tensors, folder / name / "sae_weights.safetensors")
        config = {
            "architecture": "standard", "d_in": 16, "d_sae": 24, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": False, "normalize_activations": "none", "metadata": {"hook_name": hook},
        }  # fmt: skip
        (folder / name / "cfg.json").write_text(json.dumps(config))
    (folder / "seeds.yaml").write_text("name: s\nmetric: [pw_mcc]\nreferences: {null: null, baseline: null}\n")
    return folder


def _main(words: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(words)
    return int(stop.value.code or 0)


def test_match_prints_and_writes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["match", str(place / "one"), str(place / "two"), "--out", str(tmp_path / "m")]) == 0
    told = capsys.readouterr().out
    for word in ("value", "null", "adjusted", "gap", "coverage", "shared", "same partner", "mean max cosine"):
        assert word in told
    assert len(pd.read_parquet(tmp_path / "m" / "latents.parquet")) == 24
    assert (tmp_path / "m" / "match.png").stat().st_size > 1000
    facts = json.loads((tmp_path / "m" / "match.json").read_text())
    assert _main(["match", str(place / "one"), str(place / "two"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == facts["value"]


def test_match_of_a_sae_with_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("decoder", "encoder", "both"):
        assert _main(["match", str(place / "one"), str(place / "one"), "--side", side, "--signed", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["value"] == pytest.approx(1) and facts["shared_both"] == 1 and facts["side"] == side


def test_different_hooks_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, elsewhere = (str(place / name) for name in ("one", "two", "elsewhere"))
    assert _main(["match", one, elsewhere]) == 0
    assert "note: one and elsewhere belong to different hooks (blocks.1.hook_resid_post" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="different hooks"):
        found = sb.match(one, elsewhere)
    assert len(found.notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sb.match(one, two).notes == ()
        assert sb.match(ToySAE(), torch.randn(8, 16)).notes == (), "a matrix does not say where it belongs"


def test_matching_leaves_the_hook_of_a_sae_alone() -> None:
    sae, other = sb.load_sae(ToySAE()), sb.load_sae(ToySAE(hook="blocks.0.hook_resid_post"))
    with pytest.warns(UserWarning, match="different hooks"):
        sb.match(sae, other)
    assert sae.hook_in == HOOK


def test_a_group_is_run_and_planned(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = "seeds=" + ",".join(str(place / name) for name in ("one", "two", "three"))
    words = ["run", str(place / "seeds.yaml"), "--model", str(place / "model"), "--group", group, "--out"]
    assert _main([*words, str(tmp_path / "run"), "--dry-run"]) == 0
    assert "group seeds: one, two, three" in capsys.readouterr().out
    assert _main([*words, str(tmp_path / "run"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["sae"], row["slice"]) for row in rows} >= {("one", ""), ("two", "group"), ("three", "with=one")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["match", "one", "nan"], "nan"),
        (["match", "one", "no-such-folder"], "no-such-folder"),
        (["match", "one", "two", "--side", "decodr"], "decoder"),
        (["match", "one", "two", "--threshold", "7"], "threshold"),
        (["run", "seeds.yaml", "--group", "g"], "NAME=REF,REF"),
        (["run", "seeds.yaml", "--group", "g="], "NAME=REF,REF"),
        (["run", "seeds.yaml", "--group", "g=one", "--group", "g=two"], "given twice"),
        (["run", "seeds.yaml", "--model", "model", "--group", "g=one,elsewhere"], "different hook"),
    ],
)
def test_mistakes_are_one_sentence(
    place: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert _main(words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1
