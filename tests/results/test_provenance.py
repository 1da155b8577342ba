"""Provenance: versions without imports, and the commit of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saebench.results import provenance
from saebench.results.provenance import Commit, source_commit


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def fresh() -> None:
    source_commit.cache_clear()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "saebench").mkdir()
    (tmp_path / "saebench" / "a.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_versions_are_found_without_imports() -> None:
    code = "import sys; from saebench.results import provenance; p = provenance(); print('torch' in sys.modules, p)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.startswith("False") and "'python'" in out.stdout and "'torch'" in out.stdout


def test_each_call_gives_a_dict_of_its_own() -> None:
    provenance()["versions"].clear()
    assert provenance()["versions"]


def test_a_clean_and_a_dirty_checkout(checkout: Path) -> None:
    sha = git(checkout, "rev-parse", "HEAD")
    (checkout / "rows.jsonl").write_text("{}\n")
    assert source_commit(checkout) == Commit(sha, False)
    source_commit.cache_clear()
    (checkout / "saebench" / "new.py").write_text("")
    assert source_commit(checkout) == Commit(sha, True)


def test_the_variables_of_a_git_hook_do_not_mislead(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert source_commit(checkout).sha is not None


def test_what_is_no_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_commit(tmp_path) == Commit(None, None)
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    source_commit.cache_clear()
    assert source_commit(tmp_path) == Commit(None, None)
    monkeypatch.setenv("PATH", "")
    (tmp_path / "x" / ".git").mkdir(parents=True)
    assert source_commit(tmp_path / "x") == Commit(None, None)
