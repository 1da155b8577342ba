"""Names and shapes of the tensors in a file of weights, known before their values are read."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from saebench.errors import UserError
from saebench.saes.files import (
    INDEX,
    PICKLED,
    first_line,
    read_index,
    read_pickle,
    state_dict,
    stored_safetensors,
)  # fmt: skip
from saebench.saes.stored import npy_header

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Header:
    """What a file of weights holds: the shape of each tensor by name."""

    shapes: Shapes

    @property
    def entries(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def largest(self) -> int:
        """Numbers in the largest tensor."""
        return max((math.prod(shape) for shape in self.shapes.values()), default=0)


def header(path: Path) -> Header:
    """Names and shapes in a safetensors, npz or PyTorch file, or in the shards that an index names.

    Raises:
        UserError: The file is cut short, damaged, would run code, or a shard is missing.
    """
    stat = path.stat()
    return _header(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _header(path: Path, changed: int, size: int) -> Header:
    _check_content(path)
    if path.name.endswith(INDEX):
        shapes: dict[str, tuple[int, ...]] = {}
        for shard in read_index(path):
            shapes |= header(shard).shapes
    elif path.suffix == ".npz":
        shapes = _npz(path)
    elif path.suffix in PICKLED:
        content = read_pickle(path, values=False)
        shapes = {name: tuple(t.shape) for name, t in state_dict(content, path).items()}
    else:
        shapes = _safetensors(path)
    return Header(shapes)


def _check_content(path: Path) -> None:
    """Refuse what is downloaded in place of weights where a step was left out."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a pointer of Git LFS, not the weights. Run `git lfs pull` there, or download the file."
        )
    if start.startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path} is a web page, not weights. Download the file itself.")


def _safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in stored_safetensors(path).items()}


def _npz(path: Path) -> dict[str, tuple[int, ...]]:
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    shapes[name.removesuffix(".npy")] = tuple(int(size) for size in npy_header(member)[0])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Cannot read {path}: the file is cut short or is no npz file ({first_line(error)})."
        ) from error
    return shapes


def check_memory(path: Path) -> None:
    """Refuse weights that cannot fit in this machine's memory, before any of them is read.

    Weights are held in single precision, and the largest of them twice while it is turned or scaled.

    Raises:
        UserError: Says how much the file needs and how much there is.
    """
    free = available_memory()
    told = header(path)
    needed = 4 * (told.entries + told.largest)
    if free is not None and needed > free:
        raise UserError(
            f"{path} was not read: its {told.entries:,} numbers need about {needed / 1e9:,.1f} GB of memory in single "
            f"precision, and {free / 1e9:,.1f} GB are free. Load it on a larger machine, or a narrower SAE."
        )


def available_memory() -> int | None:
    """Bytes of memory that are free for use, or None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
