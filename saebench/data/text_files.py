"""Documents in files and folders: plain text, JSON lines, JSON, CSV, Parquet, or token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.data.hub_layout import is_table, rows, splits
from saebench.data.tables import read_table
from saebench.data.texts import Text, document, from_memory
from saebench.errors import UserError, nearest

if TYPE_CHECKING:
    from saebench.suite import TextSpec

_LINES = 50
"""Most lines for each blank one in a text that is made of paragraphs; a few stray blank lines make none."""
READABLE = (".jsonl", ".json", ".csv", ".parquet", ".txt")


def from_disk(path: Path, spec: TextSpec) -> Iterator[Text]:
    """Documents of a file, or of the files in a folder; of a dataset with splits those of the spec's split.

    In a `.txt` blank lines part the documents. One with hardly any blank lines (fewer than one in 50) is a document
    a line, or in a folder one document. A document without text is empty.

    Raises:
        UserError: Nothing there, nothing readable, not UTF-8, or no such column, configuration or split.
    """
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) if siblings else f"The folder {str(path.parent)!r} does not exist."
        raise UserError(f"No data at {str(path)!r}. {hint}")
    if path.is_dir():
        return (text for file in _files(path, spec) for text in _from_file(file, spec))
    if path.suffix in (".npy", ".safetensors"):
        return from_memory(_token_array(path))
    return _lines_of(path) if path.suffix == ".txt" and not _parted(path) else _from_file(path, spec)


def _parted(file: Path) -> bool:
    """Whether the text is made of paragraphs: blank lines stand between others, and not just a few by mistake."""
    lines = blank = pending = 0
    for line in _lines(file):
        if line.strip():
            lines, blank, pending = lines + 1, blank + pending, 0
        else:
            pending = int(lines > 0)
    return blank * _LINES >= lines > 0


def _lines_of(file: Path) -> Iterator[Text]:
    return (Text(text=line.strip()) for line in _lines(file) if line.strip())


def _files(folder: Path, spec: TextSpec) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.suffix == ".txt" or is_table(p))
    if not files:
        raise UserError(f"The folder {str(folder)!r} holds no readable data: put {', '.join(READABLE)} files there.")
    if not any(map(is_table, files)):
        return files
    by_split = splits(folder, spec.config)
    if spec.split in by_split:
        return by_split[spec.split]
    if spec.split != "train":  # what is asked for by default need not be there
        known = ", ".join(repr(name) for name in sorted(by_split) if name) or "none by name"
        raise UserError(f"{str(folder)!r} has no split {spec.split!r}: it has {known}.")
    return files if spec.config is None else [file for part in by_split.values() for file in part]


def _token_array(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            import numpy as np

            return np.load(path, allow_pickle=False)
        from safetensors.numpy import load_file

        arrays = load_file(path)
    except Exception as error:  # a damaged file raises whatever its reader does
        raise UserError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    return arrays.get("tokens", next(iter(arrays.values())))


def _from_file(file: Path, spec: TextSpec) -> Iterator[Text]:
    if file.suffix == ".txt":
        whole = "".join(_lines(file))
        blocks = re.split(r"\n\s*\n", whole) if _parted(file) else [whole]
        return (Text(text=block.strip()) for block in blocks if block.strip())
    if file.suffix in (".jsonl", ".json"):
        return (document(row, spec.column, str(file)) for row in _json_rows(file))
    if file.suffix == ".csv":
        given = read_table(file, (spec.column,))
        return (document({spec.column: "", **row}, spec.column, str(file)) for row in given)
    if file.suffix == ".parquet":
        return (document(row, spec.column, str(file)) for row in rows(file, (spec.column,), also=("domain",)))
    raise UserError(f"Cannot read {str(file)!r}: use {', '.join(READABLE)}, or .npy and .safetensors token ids.")


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise UserError(f"{str(file)!r} cannot be read: it is not UTF-8 ({error.reason}); save it as that.") from error


def _json_rows(file: Path) -> Iterator[Any]:
    """Rows of JSON lines, or of one JSON list; a `.json` may be either."""
    if file.suffix == ".json":
        try:
            read = json.loads("".join(_lines(file)))
            yield from read if isinstance(read, list) else [read]
            return
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":  # which a second line is
                raise UserError(f"{str(file)!r} is not JSON: {error}.") from error
    for number, line in enumerate(_lines(file), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"Line {number} of {str(file)!r} is not JSON: {error.msg}.") from error
            yield row
