"""A checkpoint as it lies on disk: one file of weights, and the configurations beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.coder import Coder
from saebench.saes.files import INDEX, PICKLED, read_index, read_json, read_tensors
from saebench.saes.formats import Format
from saebench.saes.headers import Shapes, header
from saebench.saes.layered import Layered

CONFIGS = ("config.json", "cfg.json", "hyperparams.json", "lm_config.json")
"""Configurations that training libraries leave beside the weights."""

INSIDE = "checkpoints"
"""Folder in which some libraries keep weights, one below the configuration."""


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights, its tensors not yet read.

    Attributes:
        weights: The file, or the index of its shards.
        shapes: Shape of each tensor by name.
        configs: What the configurations beside it hold, by file name.
    """

    weights: Path
    shapes: Shapes
    configs: Mapping[str, Mapping[str, Any]]

    @property
    def where(self) -> str:
        """What to call it in an error."""
        return str(self.weights)

    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors, read now."""
        return read_tensors(self.weights)

    def has(self, *names: str) -> bool:
        """Whether there are tensors of all these names."""
        return all(name in self.shapes for name in names)


def weight_files(path: Path) -> list[Path]:
    """Files of weights at a path: itself, those of a folder, or those of the `checkpoints` folder in it."""
    if not path.is_dir():
        return [path] if path.is_file() and _holds_weights(path) else []
    found = sorted(entry for entry in path.iterdir() if entry.is_file() and _holds_weights(entry))
    shards = set()
    for index in (entry for entry in found if entry.name.endswith(INDEX)):
        placed = read_json(index).get("weight_map")
        shards |= {index.parent / str(name) for name in placed.values()} if isinstance(placed, dict) else set()
    found = [entry for entry in found if entry not in shards]
    below = path / INSIDE
    return found or (weight_files(below) if path.name != INSIDE and below.is_dir() else [])


def _holds_weights(path: Path) -> bool:
    return path.suffix in (".safetensors", ".npz", *PICKLED) or path.name.endswith(INDEX)


def checkpoints(path: Path) -> list[Checkpoint]:
    """The readable checkpoints at a path; files that cannot be read are left to `explain`."""
    found = []
    for file in weight_files(path):
        try:
            shapes = header(file).shapes
        except UserError:
            continue
        found.append(Checkpoint(file, shapes, configurations(file)))
    return found


def explain(path: Path) -> None:
    """Say why the files of weights at a path cannot be read, if that is so.

    Raises:
        UserError: Of the first file that is cut short, lacks a shard, or would run code, or link that leads nowhere.
    """
    for entry in sorted(path.iterdir()) if path.is_dir() else [path]:
        check_links(entry)
    for file in weight_files(path):
        if file.name.endswith(INDEX):
            read_index(file)
        header(file)
    for folder in (path, path / INSIDE) if path.is_dir() else ():
        for parts in (entry.parent for entry in sorted(folder.glob("*/.metadata"))):
            raise UserError(
                f"{parts} is a distributed checkpoint, whose index is a pickle that may run code. Where you trust it, "
                f"join it with `python -m torch.distributed.checkpoint.format_utils dcp_to_torch {parts} "
                f"{parts.with_suffix('.pt')}`, and load that."
            )


def check_links(path: Path) -> None:
    """Refuse a link whose target is gone, or that leads back to itself.

    Raises:
        UserError: Names the link and what it points to.
    """
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to {path.readlink()}, which leads nowhere. Copy or download the file again.")


def configurations(weights: Path) -> dict[str, dict[str, Any]]:
    """The JSON configurations beside a file of weights, or above it where it lies in `checkpoints`."""
    folders = [weights.parent, *([weights.parent.parent] if weights.parent.name == INSIDE else [])]
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for name in CONFIGS:
            if name not in found and (folder / name).is_file():
                found[name] = read_json(folder / name)
    return found


def by_contents(
    name: str, looks_for: str, marks: Callable[[Checkpoint], bool], build: Callable[[Checkpoint], Coder | Layered]
) -> Format:
    """A format that is known by the tensors and configurations of one file.

    Args:
        name: What it is called.
        looks_for: What marks it, in words.
        marks: Whether a checkpoint is of this format.
        build: The coder of such a checkpoint, or one for each of several hooks.
    """

    def found(path: Path) -> list[Checkpoint]:
        return [checkpoint for checkpoint in checkpoints(path) if marks(checkpoint)]

    def load(path: Path) -> Coder | Layered:
        these = found(path)
        if len(these) > 1:
            names = ", ".join(str(one.weights.relative_to(path)) for one in these[:8])
            raise UserError(f"{path} holds {len(these)} SAEs of format {name}, not one. Name one of them: {names}.")
        return build(these[0])

    return Format(name, looks_for, lambda path: bool(found(path)), load)
