"""The steps of the GitHub Action, run as a runner would, on a worse, an equal and a better SAE."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from saebench.cli import main
from saebench.results.comment import MARKER
from tests.helpers.toys import HOOK, tiny_llama, token_rows

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
SUITE = "name: small\nmetric: [l0, explained_variance, nmse]\nreferences: {null: null, baseline: null}\n"
GATE = "- {metric: explained_variance, tolerance: 0.01}\n- {metric: nmse, tolerance: 0.01}\n"


def _sae(folder: Path, kept: torch.Tensor) -> None:
    """Both signs of every dimension as latents; what is decoded is the share `kept` of it, `[16]`."""
    eye = torch.eye(16)
    weights = {"W_enc": torch.cat([eye, -eye], 1), "W_dec": torch.cat([eye * kept, -eye * kept])}
    weights |= {"b_enc": torch.zeros(32), "b_dec": torch.zeros(16)}
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": 16, "d_sae": 32, "dtype": "float32", "device": "cpu"}
    config |= {"apply_b_dec_to_input": False, "normalize_activations": "none", "metadata": {"hook_name": HOOK}}
    (folder / "cfg.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, token ids, a suite, a gate, four SAEs, and stored rows of the one they are compared with."""
    folder = tmp_path_factory.mktemp("action")
    tiny_llama().save_pretrained(folder / "model")
    np.save(folder / "ids.npy", token_rows(40, 9).numpy())
    (folder / "small.yaml").write_text(SUITE)
    (folder / "gate.yaml").write_text(GATE)
    for name, kept in {"old": 0.7, "worse": 0.4, "better": 0.9}.items():
        _sae(folder / name, torch.full((16,), kept))
    _sae(folder / "like", 0.7 + 0.001 * torch.randn(16, generator=torch.Generator().manual_seed(0)))
    words = ["run", "small.yaml", "--sae", "old", "--model", "model", "--data", "text=ids.npy", "--out", "baseline"]
    here = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(SystemExit) as left:
            main(words)
    finally:
        os.chdir(here)
    assert left.value.code == 0
    return folder


def _expand(text: str, given: dict[str, str], outputs: dict[str, dict[str, str]]) -> str:
    """GitHub's `${{ }}` for inputs and outputs of steps."""

    def value(match: re.Match[str]) -> str:
        parts = match.group(1).strip().split(".")
        return given[parts[1]] if parts[0] == "inputs" else outputs[parts[1]][parts[3]]

    return re.sub(r"\$\{\{(.*?)\}\}", value, text)


SHIM = """#!/usr/bin/env bash
printf '%s\\0' "$@" > "$SHIM/asked"
read -r code < "$SHIM/answered"
cat "$SHIM/told" >&2
exit "$code"
"""
"""Stands for the `saebench` of a machine: hands its words to a fork of this process, which has torch loaded already."""


def _forked(words: list[str], place: Path, shim: Path) -> None:
    os.chdir(place)
    with (shim / "told").open("w") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        main(words)


def _serve(place: Path, shim: Path) -> None:
    words = (shim / "asked").read_text().split("\0")[:-1]
    child = multiprocessing.get_context("fork").Process(target=_forked, args=(words, place, shim))
    child.start()
    child.join(120)
    (shim / "answered").write_text(f"{child.exitcode}\n")


@pytest.fixture
def shim(place: Path, tmp_path: Path) -> Path:
    """A folder with a `saebench` that answers one call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "saebench").write_text(SHIM)
    (folder / "saebench").chmod(0o755)
    for name in ("asked", "answered"):
        os.mkfifo(folder / name)
    threading.Thread(target=_serve, args=(place, folder), daemon=True).start()
    return folder


def _run(place: Path, tmp_path: Path, command: Path, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Exit code, outputs and step summary of the action's steps."""
    given = {name: str(facts.get("default", "")) for name, facts in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    outputs: dict[str, dict[str, str]] = {}
    summary = tmp_path / "summary.md"
    for number, step in enumerate(ACTION["runs"]["steps"]):
        if step.get("if") == "inputs.install != ''" and not given["install"]:
            continue
        written = tmp_path / f"output{number}"
        written.touch()
        environment = {name: _expand(text, given, outputs) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]], cwd=place, check=False,
            capture_output=True, text=True,
            env={**os.environ, **environment, "GITHUB_OUTPUT": str(written), "GITHUB_STEP_SUMMARY": str(summary),
                 "SHIM": str(command), "PATH": f"{command}{os.pathsep}{os.environ['PATH']}"},
        )  # fmt: skip
        pairs = [line.split("=", 1) for line in written.read_text().splitlines()]
        outputs[step.get("id", str(number))] = dict(pairs)
        if done.returncode:
            return done.returncode, outputs["compare"], summary.read_text() if summary.exists() else done.stderr
    return 0, outputs["compare"], summary.read_text()


def _inputs(tmp_path: Path, sae: str) -> dict[str, str]:
    return {"sae": sae, "baseline": "baseline", "suite": "small.yaml", "model": "model", "data": "text=ids.npy",
            "gate": "gate.yaml", "out": str(tmp_path / "out")}  # fmt: skip


@pytest.mark.parametrize(
    ("sae", "code", "told"),
    [
        ("worse", 1, "### ❌ Regression in 2 of 2 held metrics: explained_variance, nmse."),
        ("old", 0, "### ✅ No regression in 2 held metrics."),
        ("better", 0, "### ✅ No regression in 2 held metrics."),
    ],
)
def test_the_steps_exit_as_the_sae_deserves(
    place: Path, tmp_path: Path, shim: Path, sae: str, code: int, told: str
) -> None:
    exit_code, outputs, summary = _run(place, tmp_path, shim, **_inputs(tmp_path, sae))
    assert (exit_code, outputs["exit-code"]) == (code, str(code))
    assert summary.splitlines()[0] == told
    assert summary == (tmp_path / "out" / "comment.md").read_text()
    assert ("**Regressions (2)**" in summary) == (sae == "worse")
    assert ("**Improvements (2)**" in summary) == (sae == "better")
    suite = ElementTree.fromstring((tmp_path / "out" / "junit.xml").read_text()).find("testsuite")
    assert suite is not None and suite.get("failures") == ("2" if code else "0")


def test_what_cannot_be_told_is_said_and_passes_unless_told_to_fail(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    (tmp_path / "gate.yaml").write_text("- {metric: explained_variance, tolerance: 0.0002}\n")
    words = ["gate", "baseline", "--sae", "like", "--suite", "small.yaml", "--model", "model", "--data", "text=ids.npy",
             "--gate", str(tmp_path / "gate.yaml"), "--out", str(tmp_path / "rows")]  # fmt: skip
    for more, code in (([], 0), (["--cannot-tell", "fail"], 2)):
        with pytest.raises(SystemExit) as left:
            main([*words, *more, "--markdown", str(tmp_path / "comment.md")])
        assert left.value.code == code
        comment = (tmp_path / "comment.md").read_text()
        assert "too noisy to tell" in comment.splitlines()[0] or "1 cannot tell" in comment.splitlines()[0]
        assert "**Cannot tell (1)**" in comment
        assert "Baseline: measured today" in comment


def test_a_mistake_is_a_comment_too(place: Path, tmp_path: Path, shim: Path) -> None:
    inputs = {**_inputs(tmp_path, "worse"), "gate": "absent.yaml"}
    code, outputs, summary = _run(place, tmp_path, shim, **inputs)
    assert (code, outputs["exit-code"]) == (2, "2")
    assert "Nothing could be compared" in summary and "absent.yaml" in summary
    assert summary.endswith(f"\n{MARKER}\n"), "else a later run would not replace it"


def test_an_error_cannot_leave_its_fence(place: Path, tmp_path: Path, shim: Path) -> None:
    inputs = {**_inputs(tmp_path, "worse"), "gate": "```\n# Merged\n"}
    _, _, summary = _run(place, tmp_path, shim, **inputs)
    assert summary.count("```") == 2 and "# Merged" in summary.split("```")[1]


def test_no_input_is_ever_part_of_a_script() -> None:
    """A name such as `$(rm -rf ~)` reaches the scripts as a value of the environment, never as text of the script."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_the_documented_workflows_are_yaml_and_give_no_secret_to_a_fork() -> None:
    page = (ROOT / "docs" / "pull-requests.md").read_text(encoding="utf-8")
    found: list[dict[Any, Any]] = [
        block
        for text in re.findall(r"```yaml\n(.*?)```", page, re.S)
        if isinstance(block := yaml.safe_load(text), dict)
    ]
    score, comment = found
    assert list(score[True]) == ["pull_request"] and score["permissions"] == {"contents": "read"}
    (used,) = [step["with"] for step in score["jobs"]["score"]["steps"] if str(step.get("uses")).startswith("OWNER/")]
    assert set(used) <= set(ACTION["inputs"])
    assert list(comment[True]) == ["workflow_run"]
    text = yaml.dump(comment)
    assert "checkout" not in text and "secrets." not in text + yaml.dump(score)
    for step in comment["jobs"]["comment"]["steps"]:
        assert "${{" not in step.get("run", "")
