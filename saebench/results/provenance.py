"""Where a number comes from: library versions, and the commit of the saebench sources."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("saebench", "torch", "transformers", "sae-lens", "transformer-lens", "numpy")
SOURCES = ("saebench", "evals", "pyproject.toml")


class Commit(NamedTuple):
    """A git commit, and whether the sources differ from it."""

    sha: str | None
    dirty: bool | None


def provenance() -> dict[str, Any]:
    """Versions of python and the libraries, and the commit of the saebench sources.

    No library is imported. Never fails: what cannot be found is left out or None.

    Returns:
        A new dict with `versions`, `git_commit` and `git_dirty`, as a row holds them.
    """
    commit = source_commit(Path(__file__).resolve().parents[2])
    return {"versions": dict(_versions()), "git_commit": commit.sha, "git_dirty": commit.dirty}


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


@functools.cache
def source_commit(root: Path) -> Commit:
    """Commit and dirty flag of the checkout at `root`, both None when it is not one.

    Only the sources count as dirty: a run that appends to a results file in the checkout does not
    make its own rows dirty.
    """
    if not (root / ".git").exists():
        return Commit(None, None)
    sha = _git(root, "rev-parse", "HEAD")
    if sha is None:
        return Commit(None, None)
    present = [name for name in SOURCES if (root / name).exists()]
    changes = _git(root, "status", "--porcelain", "--", *present)
    return Commit(sha.strip(), None if changes is None else bool(changes.strip()))


def _git(root: Path, *arguments: str) -> str | None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
