"""The house's lines: who may import whom, and what is quick to start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ALLOWED = {
    "errors": set(),
    "signature": {"errors", "inputs"},
    "metric": {"errors", "signature"},
    "devices": {"errors"},
    "hub": set(),
    "models": {"errors", "devices", "data", "hub"},
    "saes": {"compiled", "errors", "devices", "data", "hub", "yamlfile"},
    "data": {"errors", "hub", "models", "saes", "suite"},
    "inputs": {"errors", "judges", "matching", "metric", "saes", "signature"},
    "compiled": set(),
    "matching": {"compiled", "errors", "saes"},
    "judges": {"compiled", "errors"},
    "probes": {"errors", "saes", "data"},
    "yamlfile": {"errors"},
    "results": {"errors", "metric", "registry", "yamlfile"},
    "leaderboard": {"errors", "hub", "results", "registry", "metric", "yamlfile"},
}
"""Rooms with rules, and the rooms each may import; `models` in `data` is a type only."""


def _imports(file: Path) -> set[str]:
    """Rooms of saebench that a file imports at run time (type-checking blocks left out)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saebench"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("saebench.")}
    return found


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_go_one_way(room: str) -> None:
    place = ROOT / "saebench" / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    for file in files:
        if "world_build" in file.parts:
            continue
        foreign = _imports(file) - ALLOWED[room] - {room}
        assert not foreign, f"{file.relative_to(ROOT)} imports {sorted(foreign)}"


def test_metrics_use_public_names_only() -> None:
    """The built-in metrics have exactly the rights of a plug-in."""
    for file in (ROOT / "evals").glob("*.py"):
        assert _imports(file) <= {"inputs", "judges", "metric", "probes", "Sums", "Totals", "NotApplicable"}, file.name


def test_the_library_holds_no_metric() -> None:
    for file in (ROOT / "saebench").rglob("*.py"):
        assert "@metric(" not in file.read_text(encoding="utf-8").replace("    @metric(version", ""), file


@pytest.mark.parametrize("words", [["--help"], ["list", "metrics"], ["list", "suites"], ["show", "l0"]])
def test_quick_commands_do_not_import_torch(words: list[str]) -> None:
    probe = (
        "import sys\nfrom saebench.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'sae_lens', 'transformer_lens'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout
