"""The tutorials run from top to bottom, and print what they say they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).resolve().parent.parent / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(bash|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d[\d.,]*(e-?\d+)?")


def _words(line: str) -> str:
    """A line without what may differ between machines: digits, bold, the width of columns."""
    return " ".join(NUMBER.sub("#", line.replace("*", "").replace("|", " ")).split())


def _run(language: str, code: str, folder: Path) -> str:
    command = {"bash": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}[language]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_tutorial_runs(page: Path, tmp_path: Path) -> None:
    printed = ""
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language != "text":
            printed = _run(language, code, tmp_path)
            continue
        found = {_words(line) for line in printed.splitlines()}
        for line in code.splitlines():
            assert _words(line) in found, f"not printed: {line}\n{printed}"
