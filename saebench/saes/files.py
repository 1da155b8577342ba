"""Reading weights from disk without running anything that is in them."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench.errors import UserError

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""Suffixes of files that PyTorch pickles."""


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
    """The tensors of a safetensors file, or of a pickled one that holds nothing but tensors.

    Raises:
        UserError: The file is cut short, is no such file, or would run code when loaded.
    """
    if path.suffix in PICKLED:
        return _state_dict(read_pickle(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"Cannot read {path}: {first_line(error)}. The file is cut short or is no safetensors file; "
            "download or save it again."
        ) from error


def read_pickle(path: Path) -> Any:
    """What a `.pt` file holds, with nothing but tensors and plain containers allowed.

    Raises:
        UserError: Loading it would run code, or the file is damaged.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the protocol of files that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} was not loaded: its pickle holds more than tensors and may run code. "
            "Save the state dict as safetensors where you trust the file, and load that."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"Cannot read {path}: the file is cut short or damaged ({first_line(error)}).") from error


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "sae"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} holds no tensors by name: save the state dict of the SAE.")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
