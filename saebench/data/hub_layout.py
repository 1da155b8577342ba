"""Tables in the hub's layout: which split each belongs to, and their rows by column.

A download and a user's folder are read alike, so that a dataset that was fetched elsewhere works as a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from saebench.data.tables import TABLES, read_table
from saebench.errors import UserError, nearest, unknown

SPLITS: Mapping[str, str] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
"""Splits by the names that people give them."""
_NOT_DATA = ("dataset_info.json", "dataset_infos.json", "state.json", "config.json")


def tables(folder: Path) -> list[Path]:
    """The tables in a folder, in the order of their names."""
    return sorted(filter(is_table, folder.rglob("*")))


def is_table(path: Path) -> bool:
    """Whether a path names rows, and not what is said about them."""
    return path.suffix in TABLES and path.name not in _NOT_DATA


def splits(folder: Path, config: str | None = None) -> dict[str, list[Path]]:
    """Tables of a folder by split: `train`, `test`, `validation`, and "" for those that say no split.

    The dataset card's `configs` decide where there are any, the names of files and folders otherwise.

    Raises:
        UserError: No such configuration, or no table.
    """
    listed = _from_card(folder, config)
    if listed is None:
        files = tables(folder)
        if config:
            named = {part for file in files for part in file.relative_to(folder).parts[:-1]}
            files = [file for file in files if config in file.relative_to(folder).parts[:-1]]
            if not files:
                raise unknown(f"configuration of {str(folder)!r}:", config, named)
        listed = {}
        for file in files:
            listed.setdefault(split_of(file.relative_to(folder)), []).append(file)
    if not any(listed.values()):
        raise UserError(f"The folder {str(folder)!r} holds no table: put {', '.join(TABLES)} files there.")
    return {split: files for split, files in listed.items() if files}


def _from_card(folder: Path, config: str | None) -> dict[str, list[Path]] | None:
    """What the dataset card says; None where it says nothing."""
    import yaml

    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    try:
        keys = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return None
    configs = {str(entry.get("config_name", "default")): entry for entry in (keys or {}).get("configs") or ()}
    if not any("data_files" in entry for entry in configs.values()):
        return None
    name = config or ("default" if "default" in configs else next(iter(configs)))
    if name not in configs:
        raise unknown(f"configuration of {str(folder)!r}:", name, configs)
    stated = configs[name].get("data_files") or []
    if isinstance(stated, str) or (isinstance(stated, list) and all(isinstance(entry, str) for entry in stated)):
        stated = [{"split": "train", "path": stated}]
    listed: dict[str, list[Path]] = {}
    for entry in stated:
        paths = [entry["path"]] if isinstance(entry["path"], str) else entry["path"]
        found = sorted({file for pattern in paths for file in folder.glob(pattern)})
        split = SPLITS.get(str(entry["split"]).lower(), str(entry["split"]))
        listed.setdefault(split, []).extend(found)
    return listed


def split_of(path: Path) -> str:
    """The split that a path's name says, the file's before its folders'; "" where it says none."""
    for part in reversed(path.parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return ""


def rows(
    file: Path, columns: Sequence[str], head: int | None = None, *, also: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Rows of a table with these columns alone, at most the first `head` of them.

    Args:
        also: Columns to read where the table has them.

    Raises:
        UserError: Not readable, or a column that it has not got.
    """
    if file.suffix == ".parquet":
        yield from _parquet(file, columns, head, also)
        return
    for number, row in enumerate(read_table(file, columns)):
        if head is not None and number >= head:
            return
        yield {column: row.get(column) for column in (*columns, *also) if column in columns or column in row}


def _parquet(file: Path, columns: Sequence[str], head: int | None, also: Sequence[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        for column in columns:
            if column not in names:
                raise UserError(f"{str(file)!r} has no column {column!r}. {nearest(column, names)}")
        left = head
        read = [*columns, *(column for column in also if column in names)]
        for batch in table.iter_batches(batch_size=4096, columns=read):
            part = batch.to_pylist()
            yield from part if left is None else part[:left]
            if left is not None and (left := left - len(part)) <= 0:
                return
    except (ArrowException, OSError) as error:
        raise UserError(f"{str(file)!r} cannot be read: {' '.join(str(error).split())}.") from error
