"""Names and shapes of the tensors in a file of weights, known before their values are read."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from saebench.errors import UserError
from saebench.saes.files import INDEX, PICKLED, first_line, read_index, read_pickle, state_dict

Shapes = Mapping[str, tuple[int, ...]]

_LONGEST_HEADER = 100_000_000
"""Bytes; a safetensors header that claims to be longer is damage."""


@dataclass(frozen=True)
class Header:
    """What a file of weights holds.

    Attributes:
        shapes: Shape of each tensor by name.
        entries: Numbers in all of them.
    """

    shapes: Shapes
    entries: int


def header(path: Path) -> Header:
    """Names and shapes in a safetensors, npz or PyTorch file, or in the shards that an index names.

    Raises:
        UserError: The file is cut short, damaged, would run code, or a shard is missing.
    """
    stat = path.stat()
    return _header(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _header(path: Path, changed: int, size: int) -> Header:
    if path.name.endswith(INDEX):
        shapes: dict[str, tuple[int, ...]] = {}
        for shard in read_index(path):
            shapes |= header(shard).shapes
    elif path.suffix == ".npz":
        shapes = _npz(path)
    elif path.suffix in PICKLED:
        content = read_pickle(path, mapped=True)
        shapes = {name: tuple(t.shape) for name, t in state_dict(content, path).items()}
    else:
        shapes = _safetensors(path)
    return Header(shapes, sum(math.prod(shape) for shape in shapes.values()))


def _safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LONGEST_HEADER:
                raise ValueError("it has no header")
            described = json.loads(file.read(length))
        return {name: tuple(t["shape"]) for name, t in described.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Cannot read {path}: {first_line(error)}. The file is cut short or is no safetensors file; "
            "download or save it again."
        ) from error


def _npz(path: Path) -> dict[str, tuple[int, ...]]:
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
                    shape, _, _ = read[version[0]](member)
                shapes[name.removesuffix(".npy")] = tuple(int(size) for size in shape)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Cannot read {path}: the file is cut short or is no npz file ({first_line(error)})."
        ) from error
    return shapes


def check_memory(path: Path) -> None:
    """Refuse weights that cannot fit in this machine's memory, before any of them is read.

    Weights are held in single precision, beside the copy that is read.

    Raises:
        UserError: Says how much the file needs and how much there is.
    """
    free = available_memory()
    entries = header(path).entries
    needed = 2 * 4 * entries
    if free is not None and needed > free:
        raise UserError(
            f"{path} was not read: its {entries:,} numbers need about {needed / 1e9:,.1f} GB of memory in single "
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
