"""Facts from tables, and from folders in the layout of the RAVEL prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saebench import hub
from saebench.data.facts_tables import FactTable, Template, filled
from saebench.data.tables import read_table, single, table_files
from saebench.errors import UserError

HUB = "hf:adamkarvonen/ravel_prompts@dead73bd9a75a3d5a54bd565c4391eb936830248"
"""The reference suite's prompts: for each type one file of facts and one of templates (and two of splits)."""
HUB_TYPES: dict[str, list[str]] = {
    "city": ["Country", "Continent", "Language"],
    "nobel_prize_winner": ["Country of Birth", "Field", "Gender"],
}
"""Types and attributes that the reference suite scores."""
_FACTS = "ravel_{}_entity_attributes.json"
_PROMPTS = "ravel_{}_attribute_to_prompts.json"


def from_hub(name: str, offline: bool) -> list[FactTable]:
    """Facts from a dataset on the hub in the RAVEL layout.

    Args:
        name: `OWNER/NAME[@REVISION]`.
        offline: Take it from the local cache alone.

    Raises:
        UserError: It is not there, or not in that layout.
    """
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    try:
        with hub.asking(offline=offline):
            folder = snapshot_download(
                repo,
                repo_type="dataset",
                revision=revision or None,
                allow_patterns="*.json",
                local_files_only=offline,
            )
    except hub.failures() as error:
        why = hub.reason(error, offline=offline)
        raise UserError(
            f"Data 'hf:{name}' cannot be read from the hub: {why} Download it elsewhere and pass the folder, "
            f"which must hold files such as {_FACTS.format('city')!r}."
        ) from error
    return from_disk(Path(folder), [])


def from_disk(path: Path, prompts: Sequence[str]) -> list[FactTable]:
    """Facts from a table, or from a folder in the RAVEL layout or of tables.

    Raises:
        UserError: Nothing there, a missing file or column, or two values for one fact.
    """
    if path.is_dir():
        found = sorted(path.rglob(_FACTS.format("*")))
        if found:
            return [_ravel(file) for file in found]
    return [table for file in table_files(path) for table in _from_table(file, prompts)]


def _ravel(file: Path) -> FactTable:
    type_ = re.sub("^ravel_|_entity_attributes.json$", "", file.name)
    beside = file.with_name(_PROMPTS.format(type_))
    if not beside.exists():
        raise UserError(f"{str(file)!r} has no templates beside it: {beside.name!r} is missing.")
    facts, templates = _json(file), _json(beside)
    made = {attribute: filled(patterns, type_, attribute, "%s") for attribute, patterns in templates.items()}
    known = tuple(sorted({a for values in facts.values() for a in values} & set(made)))
    return FactTable(
        type_,
        {entity: {a: str(v) for a, v in values.items() if v is not None} for entity, values in facts.items()},
        known,
        lambda entity, attribute: _about(entity, made[attribute]),
    )


def _about(entity: str, templates: Sequence[Template]) -> list[Template]:
    return [template._replace(before=template.before.replace("\0", entity)) for template in templates]


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{str(file)!r} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{str(file)!r} must hold keys, not a {type(content).__name__}.")
    return content


def _from_table(file: Path, prompts: Sequence[str]) -> list[FactTable]:
    facts: dict[str, dict[str, dict[str, str]]] = {}
    for number, row in enumerate(read_table(file, ("entity", "attribute", "value")), 1):
        where = f"Row {number} of {str(file)!r}"
        cells = [single(row, column, where).strip() for column in ("entity", "attribute", "value")]
        if not all(cells):
            raise UserError(f"{where} lacks an entity, an attribute or a value.")
        entity, attribute, value = cells
        known = facts.setdefault(str(row.get("type", file.stem)), {}).setdefault(entity, {})
        if known.setdefault(attribute, value) != value:
            raise UserError(f"{where}: {entity!r} has two values of {attribute!r}.")
    return [_table(type_, entities, prompts) for type_, entities in sorted(facts.items())]


def _table(type_: str, facts: dict[str, dict[str, str]], prompts: Sequence[str]) -> FactTable:
    attributes = tuple(sorted({a for values in facts.values() for a in values}))
    made = {attribute: filled(prompts, type_, attribute, "{entity}") for attribute in attributes}
    return FactTable(type_, facts, attributes, lambda entity, attribute: _about(entity, made[attribute]))
