"""A user's own labelled texts: a table, a folder of tables, or a dataset in the hub's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.data import hub_data
from saebench.data.hub_layout import SPLITS, splits
from saebench.data.labelled_split import Labelling, Row
from saebench.data.tables import read_table, single, table_files
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.specs import LabelledSpec

_SPLIT = "split"
_SEVERAL = "Several labels of a text are as many columns, named in the suite by label: [a, b]."
_File = tuple[Path, str]
"""A table, and the part that all of its rows belong to ("" where they say it themselves or are divided)."""
_Read = tuple[Mapping[str, Any], str]


def from_hub(reference: str, spec: LabelledSpec, *, offline: bool = False) -> list[Labelling]:
    """The tasks of a dataset on the hub.

    Raises:
        UserError: It cannot be had, or lacks a column, split or configuration.
    """
    files = hub_data.parse(reference, spec.config)
    return from_disk(hub_data.download(files, offline=offline), spec, files.repo.split("/")[-1])


def from_disk(path: Path, spec: LabelledSpec, name: str = "") -> list[Labelling]:
    """The tasks of a file or folder: one for each column of labels.

    A folder whose files or dataset card name splits is one dataset; any other folder has a dataset in each table.
    A column `split` (train, test) is honoured; without one the rows are divided by hash.

    Args:
        name: Of the dataset; the file's or folder's by default.

    Raises:
        UserError: Nothing there, not readable, or without the columns that are asked for.
    """
    tables = table_files(path)
    if path.is_file():
        return _labellings(name or path.stem, [(path, "")], spec)
    by_split = splits(path, spec.config)
    if spec.split is not None or spec.config or any(by_split):
        return _labellings(name or path.resolve().name, _parts(path, by_split, spec.split), spec)
    found = [_labellings(file.relative_to(path).with_suffix("").as_posix(), [(file, "")], spec) for file in tables]
    return [labelling for each in found for labelling in each]


def _parts(path: Path, by_split: Mapping[str, list[Path]], split: str | None) -> list[_File]:
    if split is not None:
        if split not in by_split:
            known = ", ".join(repr(name) for name in sorted(by_split) if name) or "none by name"
            raise UserError(f"{str(path)!r} has no split {split!r}: it has {known}.")
        return [(file, "") for file in by_split[split]]
    scored = "test" if "test" in by_split else "validation"
    if "train" not in by_split or scored not in by_split:
        return [(file, "") for files in by_split.values() for file in files]
    return [(file, "train") for file in by_split["train"]] + [(file, "test") for file in by_split[scored]]


def labellings(name: str, rows: Sequence[Mapping[str, Any]], spec: LabelledSpec) -> list[Labelling]:
    """The tasks of rows in memory, with the columns that a file would have."""
    return _tasks(name, _divided(rows, "", name), spec)


def _labellings(name: str, files: Sequence[_File], spec: LabelledSpec) -> list[Labelling]:
    needed = [spec.column, *([spec.label] if isinstance(spec.label, str) else spec.label)]
    if spec.attribute != type(spec).model_fields["attribute"].default:
        needed.append(spec.attribute)
    read = [each for file, part in files for each in _divided(list(read_table(file, needed)), part, str(file))]
    return _tasks(name, read, spec)


def _tasks(name: str, read: Sequence[_Read], spec: LabelledSpec) -> list[Labelling]:
    labels = [spec.label] if isinstance(spec.label, str) else spec.label
    pairs = None if spec.pairs is None else tuple(spec.pairs)
    return [
        Labelling(name if len(labels) == 1 else f"{name} {label}", list(_rows(name, read, label, spec)), pairs=pairs)
        for label in labels
    ]


def _divided(rows: Sequence[Mapping[str, Any]], part: str, where: str) -> list[_Read]:
    """Rows with their part; rows for validation are for scoring where there are no others."""
    stated = [part or _stated(row.get(_SPLIT), number, where) for number, row in enumerate(rows, 1)]
    if "test" not in stated:
        stated = ["test" if value == "validation" else value for value in stated]
    return [(row, value) for row, value in zip(rows, stated, strict=True) if value != "validation"]


def _stated(value: Any, number: int, where: str) -> str:
    if value is None:
        return ""
    part = SPLITS.get(str(value).strip().lower())
    if part is None:
        raise UserError(f"Row {number} of {where!r} has split {str(value)!r}: write train or test.")
    return part


def _rows(name: str, read: Iterable[_Read], label: str, spec: LabelledSpec) -> Iterator[Row]:
    for number, (row, part) in enumerate(read, 1):
        where = f"Row {number} of {name!r}"
        columns = (spec.column, label, spec.attribute)
        text, value, attribute = (single(row, column, where, _SEVERAL) for column in columns)
        yield Row(text, value, attribute, part)
