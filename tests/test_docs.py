"""The pages of metrics are those of the docstrings, links lead somewhere, and documented names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from saebench import registry
from saebench.cli import cli
from saebench.pages import NOTE, pages, write_pages
from saebench.suite import suite_files

DOCS = Path(__file__).resolve().parent.parent / "docs"
WRITTEN = sorted([*DOCS.glob("*.md"), *(DOCS / "tutorials").glob("*.md")])


def test_the_pages_of_metrics_are_up_to_date() -> None:
    stored = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "metrics").glob("*.md")}
    old = [name for name, text in pages().items() if stored.get(name) != text]
    assert not old, f"run `saebench docs`: {old[:5]}"
    assert set(stored) == set(pages())


def test_pages_of_metrics_that_are_no_more_are_removed_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text(f"{NOTE}\n# gone\n")
    (tmp_path / "mine.md").write_text("# mine\n")
    changed = {path.name for path in write_pages(tmp_path)}
    assert "gone.md" in changed and not (tmp_path / "gone.md").exists() and (tmp_path / "mine.md").exists()
    assert write_pages(tmp_path) == []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    names = [path.relative_to(DOCS).as_posix() for path in WRITTEN]
    assert not [name for name in names if name not in ("README.md", "index.md") and f"({name})" not in index]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_documented_commands_exist(path: Path) -> None:
    """Each `saebench COMMAND --option` of the pages is one that the command has."""
    for line in re.findall(
        r"saebench ((?:run|gate|compare|report|docs|fetch|leaderboard)\b[^`#\n|]*)", path.read_text()
    ):
        words = line.split()
        command: click.Command = cli
        while words and isinstance(command, click.Group) and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word.strip("[](),") for word in words if word.strip("[(").startswith("--")} <= options, line
        if command.name == "run" and words and re.fullmatch(r"[a-z]+", words[0]):
            assert words[0] in suite_files(), line
        metrics = re.findall(r"--metric (\w+)", line)
        assert set(metrics) <= set(registry.metrics()), line


def test_metrics_that_the_migration_names_exist() -> None:
    page = (DOCS / "migration.md").read_text(encoding="utf-8")
    rows = [
        line.split("|") for line in page.split("### core")[1].split("###")[0].splitlines() if line.startswith("| `")
    ]
    named = {name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row[2])}
    assert named and named <= set(registry.metrics())
    marked = set(re.findall(r"`([a-z_]+@saebench)`", page))
    assert marked and marked <= set(registry.metrics())


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-b", "dummy", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
