"""Formats of checkpoints on disk, recognised by what is in them; one loader a format."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saebench.errors import UserError
from saebench.saes.protocol import SparseCoder

GROUP = "saebench.saes"
"""Entry-point group of loaders: each names a `Format`."""


@dataclass(frozen=True)
class Format:
    """One format on disk.

    Attributes:
        name: What it is called.
        looks_for: The files that mark it, in words.
        detect: Whether a file or directory is of this format; looks at contents, not at its name.
        load: The coder of such a file or directory; hooks and name may be empty.
    """

    name: str
    looks_for: str
    detect: Callable[[Path], bool]
    load: Callable[[Path], SparseCoder]


def formats() -> dict[str, Format]:
    """Known formats by name: the built-in ones and those of installed packages."""
    from saebench.saes import saelens

    known = {saelens.FORMAT.name: saelens.FORMAT}
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name not in known:
            known[entry.name] = entry.load()
    return known


def load_path(path: Path) -> SparseCoder:
    """The coder of a file or directory, its format found from its contents.

    Raises:
        UserError: Nothing there, nothing recognisable, or two formats at once.
    """
    if not path.exists():
        raise UserError(f"There is no SAE at {path}: no such file or directory.")
    known = formats()
    matches = [kind for kind in known.values() if kind.detect(path)]
    if len(matches) > 1:
        names = " and ".join(kind.name for kind in matches)
        raise UserError(f"{path} looks like {names} at once. Keep the files of one format in it.")
    if matches:
        return matches[0].load(path)
    raise _nothing(path, known)


def _nothing(path: Path, known: dict[str, Format]) -> UserError:
    from saebench.saes.files import PICKLED, read_pickle

    wanted = "; ".join(f"{kind.looks_for} ({kind.name})" for kind in known.values())
    if path.is_file():
        if path.suffix in PICKLED:
            read_pickle(path)  # says so when the pickle would run code
        return UserError(f"{path} is no SAE in a known format. Looked for: {wanted}.")
    inside = sorted(entry.name for entry in path.iterdir())
    nested = [name for name in inside if (path / name).is_dir() and any(
        kind.detect(path / name) for kind in known.values())]  # fmt: skip
    if nested:
        return UserError(f"{path} holds several SAEs, not one. Name one of them, such as {path / nested[0]}.")
    listed = ", ".join(inside[:8]) + (" ..." if len(inside) > 8 else "") or "nothing"
    return UserError(f"{path} holds no SAE in a known format. Looked for: {wanted}. Found: {listed}.")
