"""Documents from wherever they lie: the world, a list, a file, a folder, or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench import hub
from saebench.errors import UserError, nearest, unknown

if TYPE_CHECKING:
    from saebench.suite import TextSpec

WEB_TEXT = "hf:Skylion007/openwebtext"
"""Default text for any model but the world's."""
SYNTHETIC = "synthetic"
"""The draws of a known dictionary, the only text of a model that is one."""
_INSTEAD = "pass a local file: --data text=my.jsonl."


@dataclass(frozen=True)
class Text:
    """One document: its text, or its token ids where it comes tokenised, and its labels.

    `token_labels` holds, by family, a label for each token of a text whose tokens its source knows, "" for none.
    """

    text: str = ""
    ids: tuple[int, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    token_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def default_source(model_name: str) -> str:
    """What `source: default` stands for: a known dictionary's own draws, the world's documents, or web text."""
    if model_name.startswith(f"{SYNTHETIC}:"):
        return SYNTHETIC
    return "world" if model_name == "world" else WEB_TEXT


def read_texts(source: Any, spec: TextSpec, *, offline: bool = False) -> Iterator[Text]:
    """Yield the documents of a source, lazily.

    Args:
        source: `world`, a path, `hf:OWNER/NAME[@REVISION]`, a list of strings, or token ids `[rows, context]`.
        spec: Column, split and limits.
        offline: Refuse sources that need a network.

    Raises:
        UserError: Source not found, unreadable, without the asked column, or of a kind that is not known.
    """
    if not isinstance(source, (str, Path)):
        return from_memory(source)
    name = str(source)
    if name == "world" or name.startswith("world:"):
        return _from_world(name, spec)
    if name.startswith("hf:"):
        return _from_hub(name[3:], spec, offline)
    from saebench.data.text_files import from_disk

    return from_disk(Path(name), spec)


def from_memory(source: Any) -> Iterator[Text]:
    if hasattr(source, "shape"):
        if len(source.shape) != 2:
            raise UserError(f"Token ids must have shape [rows, context], not {list(source.shape)}.")
        rows = source.tolist()
        return (Text(ids=tuple(int(i) for i in row)) for row in rows)
    if isinstance(source, Iterable):
        return (item if isinstance(item, Text) else Text(text=_string(item)) for item in source)
    raise UserError(f"Data of type {type(source).__name__} is not understood: give a path, strings or token ids.")


def _string(item: Any) -> str:
    if not isinstance(item, str):
        raise UserError(f"Texts must be strings, but one is a {type(item).__name__}.")
    return item


def _from_world(name: str, spec: TextSpec) -> Iterator[Text]:
    """Held-out documents: all kinds, those of `world:news,code`, or the part to forget or to retain."""
    from saebench.data.world import FORGET_DOMAIN, HELD_OUT_SEED, KIND_NAMES, generate

    part = name.partition(":")[2]
    kinds = ["encyclopaedia"] if part == "forget" else None if part in ("", "retain") else part.split(",")
    for kind in kinds or ():
        if kind not in KIND_NAMES:
            raise unknown("kind of the world's documents", kind, [*KIND_NAMES, "forget", "retain"])
    count = spec.documents or -(-(spec.tokens or 1_000_000) // 20)
    made = 0
    for document in generate(HELD_OUT_SEED, 20 * count, kinds):
        forgotten = document.labels.get("domain") == FORGET_DOMAIN
        if made >= count:
            return
        if part == "forget" and not forgotten:
            continue
        if part == "retain" and (forgotten or document.kind == "quiz"):  # quizzes ask about every domain
            continue
        made += 1
        yield Text(text=document.text, labels={"domain": document.kind}, token_labels=document.token_labels)


def document(row: Any, column: str, where: str) -> Text:
    """The document of a row: a string, or a mapping whose other columns become labels; one without text is empty.

    Raises:
        UserError: No such column, or something other than text in it.
    """
    if isinstance(row, str):
        return Text(text=row)
    if not isinstance(row, Mapping) or column not in row:
        keys = list(row) if isinstance(row, Mapping) else []
        raise UserError(f"{where!r} has no column {column!r}. {nearest(column, keys)}")
    said = row[column]
    if isinstance(said, float) and said != said or said is None:
        said = ""
    if not isinstance(said, str):
        kind = type(said).__name__
        raise UserError(f"{where!r} holds a {kind} in column {column!r}, where text belongs: {str(said)[:60]!r}.")
    labels = {k: str(v) for k, v in row.items() if k != column and isinstance(v, (str, int, bool))}
    return Text(text=said, labels=labels)


def _from_hub(name: str, spec: TextSpec, offline: bool) -> Iterator[Text]:
    if offline:
        yield from _from_cache(name, spec)
        return
    import datasets

    repo, _, revision = name.partition("@")
    try:
        with hub.asking():
            rows = datasets.load_dataset(repo, spec.config, split=spec.split, revision=revision or None, streaming=True)
        for row in rows:
            yield document(row, spec.column, f"hf:{name}")
    except hub.failures() as error:
        why = hub.reason(error)
        raise UserError(f"Data 'hf:{name}' cannot be read from the hub: {why} Without it, {_INSTEAD}") from error


def _from_cache(name: str, spec: TextSpec) -> Iterator[Text]:
    """What `saebench fetch` has put into the local cache of a dataset of the hub."""
    from saebench.data.hub_data import cached_split
    from saebench.data.hub_layout import rows

    files = cached_split(f"hf:{name}", spec.config, spec.split)
    if not files:
        raise UserError(
            f"Data 'hf:{name}' needs the hub, but --offline was given: get it once with `saebench fetch`, or {_INSTEAD}"
        )
    for file in files:
        for row in rows(file, (spec.column,)):
            yield document(row, spec.column, f"hf:{name}")
