"""Reading weights from disk without running anything that is in them."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.stored import Stored, TensorFile, as_in_memory, in_npz, in_pickle, in_safetensors

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""Suffixes of files that PyTorch pickles."""

INDEX = ".safetensors.index.json"
"""End of the name of a file that says which shard holds which tensor."""

_WRAPPERS = ("_orig_mod.", "module.")
"""What `torch.compile` and `DataParallel` put before every name."""


def first_line(error: BaseException) -> str:
    """What went wrong, without the paragraphs that libraries add."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(". ") if text else type(error).__name__


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: The file is missing, cut short, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read {path}: {first_line(error)}. Download or save the checkpoint again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}, not an object.")
    return content


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file, an npz file, the shards of an index, or a pickle of nothing but tensors.

    Half precision comes in single. Each is read when it is asked for, where the file allows that.

    Raises:
        UserError: The file is cut short, is no such file, would run code when loaded, or does not fit in memory.
    """
    from saebench.saes.headers import check_memory

    check_memory(path)
    if path.name.endswith(INDEX):
        return TensorFile({name: one for shard in read_index(path) for name, one in stored_safetensors(shard).items()})
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix in PICKLED:
        return _pickled(path)
    return TensorFile(stored_safetensors(path))


def stored_safetensors(path: Path) -> dict[str, Stored]:
    """Where the tensors of a safetensors file lie.

    Raises:
        UserError: The file is cut short or is no such file.
    """
    try:
        return in_safetensors(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Cannot read {path}: {first_line(error)}. The file is cut short or is no safetensors file; "
            "download or save it again."
        ) from error


def _pickled(path: Path) -> Mapping[str, Tensor]:
    stored = in_pickle(path, state_dict(read_pickle(path, values=False), path))
    return state_dict(read_pickle(path), path) if stored is None else TensorFile(stored)


def _npz(path: Path) -> Mapping[str, Tensor]:
    import numpy as np
    import torch

    try:
        stored = in_npz(path)
        if stored is not None:
            return TensorFile(stored)
        with np.load(path, allow_pickle=False) as content:
            return {name: torch.from_numpy(np.ascontiguousarray(content[name])) for name in content.files}
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"Cannot read {path}: the file is cut short or damaged ({first_line(error)}).") from error


def read_index(path: Path) -> list[Path]:
    """The shards that a `*.safetensors.index.json` names.

    Raises:
        UserError: The index is damaged, names a file elsewhere, or a shard is missing.
    """
    placed = read_json(path).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise UserError(f"{path} names no shards: it has no 'weight_map'. Download or save the checkpoint again.")
    shards = []
    for name in sorted({str(shard) for shard in placed.values()}):
        if Path(name).name != name:
            raise UserError(f"{path} names {name!r}, which is not a file beside it.")
        if not (path.parent / name).is_file():
            lost = sorted(tensor for tensor, shard in placed.items() if shard == name)
            raise UserError(
                f"{path.parent / name} is missing: {path.name} says that it holds {', '.join(map(repr, lost[:3]))}"
                f"{' ...' if len(lost) > 3 else ''}. Download the shard, or all of the checkpoint, again."
            )
        shards.append(path.parent / name)
    return shards


def read_pickle(path: Path, *, values: bool = True) -> Any:
    """What a `.pt` file holds, with nothing but tensors and plain containers allowed.

    Args:
        path: The file.
        values: Read them too; else tensors have a shape and a precision alone, where the file allows that.

    Raises:
        UserError: Loading it would run code, or the file is damaged.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the protocol of files that are refused anyway
            device = "cpu" if values or not as_in_memory(path) else "meta"
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} was not loaded: its pickle holds more than tensors and may run code. "
            "Save the state dict as safetensors where you trust the file, and load that."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"Cannot read {path}: the file is cut short or damaged ({first_line(error)}).") from error


def state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name in what a pickle holds, without the wrappers that training puts around them.

    Raises:
        UserError: There are none.
    """
    for key in ("state_dict", "model_state_dict", "sae"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} holds no tensors by name: save the state dict of the SAE.")
    found = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in found):
            found = {name[len(wrapper) :]: value for name, value in found.items()}
    return found
