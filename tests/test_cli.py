"""The command as a user meets it: output, exit codes, resume, gate, plan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import save_file

from saebench.cli import main
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

SUITE = """\
name: small
metric: [l0, explained_variance, loss_recovered, decoder_norm]
references: {null: 'null:random-4', baseline: null}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, two SAEs in SAELens' format, token ids and a suite."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_llama().save_pretrained(folder / "model")
    for name, seed in (("one", 1), ("two", 2)):
        toy = ToySAE(seed=seed)
        (folder / name).mkdir()
        save_file(
            {k: v.detach().contiguous() for k, v in toy.named_parameters()}, folder / name / "sae_weights.safetensors"
        )
        config = {
            "architecture": "standard",
            "d_in": 16,
            "d_sae": 24,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "metadata": {"hook_name": HOOK},
        }
        (folder / name / "cfg.json").write_text(json.dumps(config))
    import numpy as np

    np.save(folder / "rows.npy", token_rows(40, 9).numpy())
    (folder / "small.yaml").write_text(SUITE)
    return folder


def _run(place: Path, *more: str, sae: tuple[str, ...] = ("one", "two")) -> list[str]:
    saes = [word for name in sae for word in ("--sae", str(place / name))]
    return [
        "run",
        str(place / "small.yaml"),
        "--model",
        str(place / "model"),
        "--data",
        f"text={place / 'rows.npy'}",
        *saes,
        *more,
    ]


def _main(words: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(words)
    return int(stop.value.code or 0)


def test_run_prints_a_board_and_resumes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _run(place, "--out", str(tmp_path / "run"))
    assert _main(words) == 0
    told = capsys.readouterr()
    assert "one" in told.out and "two" in told.out and "±" in told.out
    assert "done" in told.err and "0 cached" in told.err
    before = (tmp_path / "run" / "rows.jsonl").read_bytes()
    assert _main(words) == 0
    assert "0 to run" in capsys.readouterr().err
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == before


def test_json_is_a_row_a_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(_run(place, "--out", str(tmp_path / "run"), "--json", sae=("one",))) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["metric"] for row in rows} == {"l0", "explained_variance", "loss_recovered", "decoder_norm"}
    l0 = next(row for row in rows if row["metric"] == "l0" and row["role"] == "sae")
    assert l0["n"] == 40 and l0["stderr"] > 0 and "model:" in l0["signature"] and l0["versions"]["torch"]


def test_rows_may_go_to_a_file_of_another_name(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(_run(place, "--out", str(tmp_path / "mine.jsonl"), "--metric", "decoder_norm", sae=("one",))) == 0
    assert (tmp_path / "mine.parquet").is_file()
    assert "mine.jsonl (and .parquet)" in capsys.readouterr().out


def test_dry_run_plans_and_writes_nothing(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(_run(place, "--out", str(tmp_path / "run"), "--dry-run")) == 0
    told = capsys.readouterr().out
    assert "1 forward" in told and "3 resumed" in told and "min" in told and "GB" in told
    assert not (tmp_path / "run").exists()
    assert _main(_run(place, "--out", str(tmp_path / "run"), "--dry-run", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["to_run"] == 12


def test_a_failed_sae_is_a_row_and_an_exit_code(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(_run(place, "--out", str(tmp_path / "run"), sae=("one", "three"))) == 1
    told = capsys.readouterr()
    assert told.err.count("failed ") == 1, told.err
    assert "three" in told.err
    assert _main(["report", str(tmp_path / "run")]) == 0
    assert "three" in capsys.readouterr().out


def test_a_reason_shared_by_many_metrics_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    from saebench.console import PlainProgress
    from saebench.results import Row

    names = ["l0", "l1", "mse", "kl", "nmse"]
    PlainProgress().finished([Row(sae="a", metric=name, status="error", reason="no hook") for name in names])
    assert capsys.readouterr().err == "failed  a l0, l1, mse, kl (+1 more): no hook\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "run"),
        (["run", "croe"], "core"),
        (["show", "l00"], "l0"),
        (["run", "core", "--data", "text"], "NAME=REF"),
        (["compare", "no/a", "no/b"], "no/a"),
        (["leaderboard", "build", "no/rows"], "no/rows"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1


def test_compare_and_gate(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert _main(_run(place, "--out", str(tmp_path / name), "--json", sae=(name,))) == 0
    gate = tmp_path / "gate.yaml"
    gate.write_text("- {metric: l0, tolerance: 0.5}\n")
    capsys.readouterr()
    assert _main(["compare", str(tmp_path / "one"), str(tmp_path / "one"), "--gate", str(gate)]) == 0
    codes = {
        _main(
            [
                "compare",
                str(tmp_path / a),
                str(tmp_path / b),
                "--gate",
                str(gate),
                "--markdown",
                str(tmp_path / "c.md"),
                "--junit",
                str(tmp_path / "c.xml"),
            ]
        )
        for a, b in (("one", "two"), ("two", "one"))
    }
    assert codes == {0, 1}, "one of the two directions fires more latents"
    assert "l0" in (tmp_path / "c.md").read_text() and "<testsuite" in (tmp_path / "c.xml").read_text()


def test_less_text_may_be_asked_for(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _run(place, "--tokens", "90", "--context", "9", "--out", str(tmp_path / "run"), "--json", sae=("one",))
    assert _main(words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["tokens"] for row in rows if row["metric"] == "l0"} == {96}, "to the end of a row of 8"
    assert _main(_run(place, "--tokens", "0")) == 2
    assert "tokens" in capsys.readouterr().err
    assert _main(["run", "probing", "--model", str(place / "model"), "--sae", str(place / "one"), "--tokens", "9"]) == 2
    assert "uses no data named 'text'" in capsys.readouterr().err


def test_a_gate_takes_the_model_of_the_baseline(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SAEs name no model; the baseline's rows do, and it lies where the command is run."""
    assert _main(_run(place, "--out", str(tmp_path / "old"), sae=("one",))) == 0
    gate = ["gate", str(tmp_path / "old"), "--sae", str(place / "one"), "--suite", str(place / "small.yaml")]
    gate += ["--data", f"text={place / 'rows.npy'}"]
    monkeypatch.chdir(place)
    capsys.readouterr()
    assert _main([*gate, "--out", str(tmp_path / "new")]) == 0
    assert "equal" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert _main([*gate, "--out", str(tmp_path / "other")]) == 2
    assert "--model" in capsys.readouterr().err


def test_a_gate_runs_the_suite_of_the_baseline(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", str(place / "model"), "--data", f"text={place / 'rows.npy'}"]
    assert _main(["run", "quick", "--sae", str(place / "one"), *words, "--out", str(tmp_path / "old")]) == 0
    capsys.readouterr()
    assert (
        _main(["gate", str(tmp_path / "old"), "--sae", str(place / "one"), *words, "--out", str(tmp_path / "new")]) == 0
    )
    told = capsys.readouterr().out
    assert "cosine_similarity" in told and "missing" not in told and "6 equal." in told


def test_build_writes_tables_and_figures(place: Path, tmp_path: Path) -> None:
    assert _main(_run(place, "--out", str(tmp_path / "run"), "--json")) == 0
    assert _main(["leaderboard", "build", str(tmp_path / "run"), "--out", str(tmp_path / "board")]) == 0
    for name in ("board.md", "board.csv", "rows.csv", "board.tex", "figures/loss_recovered-by-l0.png"):
        assert (tmp_path / "board" / name).stat().st_size > 100, name


def test_killed_with_sigkill_it_ends_with_the_same_rows(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real process, a real kill -9 once the first rows are on disk."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert _main(_run(place, "--out", str(whole), "--json")) == 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "saebench", *_run(place, "--out", str(torn))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    file = torn / "rows.jsonl"
    for _ in range(1200):
        if child.poll() is not None or (file.exists() and file.stat().st_size):
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert _main(_run(place, "--out", str(torn), "--json")) == 0

    def numbers(folder: Path) -> set[tuple]:
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        return {(r["sae"], r["metric"], r["slice"], round(r["value"], 5), r["n"]) for r in rows}

    assert numbers(torn) == numbers(whole)
