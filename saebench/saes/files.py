"""Reading weights from disk without running anything that is in them."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench.errors import UserError

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
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {first_line(error)}. Download or save the checkpoint again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}, not an object.")
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, an npz file, the shards of an index, or a pickle of nothing but tensors.

    Raises:
        UserError: The file is cut short, is no such file, would run code when loaded, or does not fit in memory.
    """
    from saebench.saes.headers import check_memory

    check_memory(path)
    if path.name.endswith(INDEX):
        return {name: tensor for shard in read_index(path) for name, tensor in _safetensors(shard).items()}
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix in PICKLED:
        return state_dict(read_pickle(path), path)
    return _safetensors(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"Cannot read {path}: {first_line(error)}. The file is cut short or is no safetensors file; "
            "download or save it again."
        ) from error


def _npz(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: torch.from_numpy(np.ascontiguousarray(content[name])) for name in content.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
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


def read_pickle(path: Path, *, mapped: bool = False) -> Any:
    """What a `.pt` file holds, with nothing but tensors and plain containers allowed.

    Args:
        path: The file.
        mapped: Leave the values on disk, for a look at names and shapes; an old format is read all the same.

    Raises:
        UserError: Loading it would run code, or the file is damaged.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the protocol of files that are refused anyway
            mapped = mapped and zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
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
