"""Formats of checkpoints on disk, recognised by what is in them; one loader a format."""

from __future__ import annotations

import functools
import importlib.metadata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from saebench.errors import PluginWarning, UserError
from saebench.saes.layered import Layered
from saebench.saes.protocol import SparseCoder

GROUP = "saebench.saes"
"""Entry-point group of loaders: each names a `Format`."""

_DEPTH, _LOOK = 3, 300
"""How many folders below, and how many of them, are looked at for SAEs to name in an error."""


@dataclass(frozen=True)
class Format:
    """One format on disk.

    Attributes:
        name: What it is called.
        looks_for: The files that mark it, in words.
        detect: Whether a file or directory is of this format; looks at contents, not at its name.
        load: The coder of such a file or directory, or one for each of several hooks; hooks and name may be empty.
    """

    name: str
    looks_for: str
    detect: Callable[[Path], bool]
    load: Callable[[Path], SparseCoder | Layered]


def formats() -> dict[str, Format]:
    """Known formats by name: the built-in ones and those of installed packages."""
    built_in = {kind.name: kind for kind in _built_in()}
    return {**built_in, **{name: kind for name, kind in _installed().items() if name not in built_in}}


@functools.cache
def _installed() -> dict[str, Format]:
    """Formats of installed packages; looking for them takes as long as reading a small SAE, and is done once."""
    found = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()
        # A third party's import may fail in any way at all, and must not stop everyone else's run.
        except Exception as error:  # noqa: BLE001
            message = f"Format {entry.name!r} ({entry.value}) could not be loaded and is left out: {error!r}"
            warnings.warn(message, PluginWarning, stacklevel=2)
    return found


def _built_in() -> list[Format]:
    from saebench.saes import (
        cross_layer,
        dictionary_learning,
        end_to_end,
        gemma_scope,
        itda,
        linear_layers,
        llama_scope,
        mlsae,
        nanda,
        openai_sae,
        plain,
        saelens,
        sparsify,
        temporal,
    )  # fmt: skip

    return [
        saelens.FORMAT, dictionary_learning.FORMAT, sparsify.FORMAT, gemma_scope.FIRST, gemma_scope.SECOND,
        llama_scope.SCOPE, llama_scope.LIBRARY, openai_sae.FORMAT, itda.FORMAT, *linear_layers.FORMATS,
        *cross_layer.FORMATS, temporal.FORMAT, mlsae.FORMAT, nanda.FORMAT, end_to_end.FORMAT, plain.FORMAT,
    ]  # fmt: skip


def load_path(path: Path) -> SparseCoder | Layered:
    """The coder of a file or directory, its format found from its contents.

    Raises:
        UserError: Nothing there, nothing recognisable, two formats at once, or no permission.
    """
    try:
        return _load(path)
    except OSError as error:
        raise UserError(
            f"Cannot read {error.filename or path}: {error.strerror or error}. Make it readable, or copy it elsewhere."
        ) from error


def _load(path: Path) -> SparseCoder | Layered:
    from saebench.saes.checkpoint import check_links, explain

    if not path.exists():
        check_links(path)
        raise UserError(f"There is no SAE at {path}: no such file or directory.")
    known = formats()
    matches = [kind for kind in known.values() if kind.detect(path)]
    described = [kind for kind in matches if kind.name == "plain"]
    if len(matches) > 1 and not described:
        names = " and ".join(kind.name for kind in matches)
        raise UserError(f"{path} looks like {names} at once. Keep the files of one format in it, or name one file.")
    if not matches:
        explain(path)  # says so when the pickle would run code, a file is damaged, or a link leads nowhere
        nested = _nested(path, known) if path.is_dir() else []
        if len(nested) == 1:
            return _load(nested[0])
        raise _nothing(path, nested, known)
    kind = (described or matches)[0]
    coder = kind.load(path)
    coder.metadata.setdefault("format", kind.name)
    return coder


def _nothing(path: Path, nested: Sequence[Path], known: dict[str, Format]) -> UserError:
    """Why a path cannot be loaded, with the weights that are there as a description to complete."""
    from saebench.saes.checkpoint import weight_files

    if nested:
        named = ", ".join(str(one.relative_to(path)) for one in nested[:8]) + (" ..." if len(nested) > 8 else "")
        return UserError(
            f"{path} holds several SAEs, not one. Name one of them, such as {path / nested[0].relative_to(path)}. "
            f"There are: {named}."
        )
    what = "holds" if path.is_dir() else "is"
    if weights := weight_files(path):
        return UserError(f"{path} {what} no SAE in a known format. {_described(weights[0])}")
    wanted = "; ".join(f"{kind.looks_for} ({kind.name})" for kind in known.values())
    inside = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    listed = ", ".join(inside[:8]) + (" ..." if len(inside) > 8 else "") or "nothing"
    found = f" Found: {listed}." if path.is_dir() else ""
    return UserError(f"{path} {what} no SAE in a known format. Looked for: {wanted}.{found}")


def _described(weights: Path) -> str:
    """The tensors of a file in a sentence, and the description that would make a SAE of them."""
    from saebench.saes.headers import header
    from saebench.saes.skeleton import of_layers, skeleton

    shapes = header(weights).shapes
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in list(shapes.items())[:6])
    held = f"{weights.name} holds {shown}{' ...' if len(shapes) > 6 else ''}. "
    if of_layers(shapes):
        return (
            f"{held}That looks like a crosscoder. If it reads several hooks of one model, name them in a saebench.yaml "
            f"beside it, in the tensors' order, such as `{skeleton(shapes)}`. If it compares two models, it cannot be "
            "scored: its codes need the activations of both, and one model is run here."
        )
    return (
        f"{held}If that is a SAE, say how it is read in a saebench.yaml beside it (docs/formats.md), such as, with "
        f"values of your own, `{skeleton(shapes)}`."
    )


def _nested(path: Path, known: dict[str, Format]) -> list[Path]:
    """Folders below that hold a SAE each, the nearest first, as far as a short look goes."""
    found: list[Path] = []
    level, seen = [path], 0
    for _ in range(_DEPTH):
        inside = [entry for folder in level for entry in sorted(folder.iterdir()) if entry.is_dir()]
        level = []
        for folder in inside[: _LOOK - seen]:
            seen += 1
            (found if any(kind.detect(folder) for kind in known.values()) else level).append(folder)
    return found
