"""Facts as items of RAVEL: entities found in their prompts, values as continuations, a split over entities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.data.boundaries import word_boundaries
from saebench.data.facts import EntityPrompts, EntityType
from saebench.data.facts_file import HUB, HUB_TYPES, from_disk, from_hub
from saebench.data.facts_items import Item, fact_items, with_labels
from saebench.data.facts_tables import FactTable
from saebench.data.held_out import held_out
from saebench.data.tokens import Encoder
from saebench.errors import UserError, unknown

if TYPE_CHECKING:
    from saebench.data.prompt_specs import EntitySpec
    from saebench.models import Subject


def read_facts(source: Any, spec: EntitySpec, model: Subject, *, seed: int, offline: bool = False) -> EntityPrompts:
    """Prompts that mention an entity and end where one of its attributes belongs.

    The entity's last token is found by its characters. A value's tokens are what it adds to a prompt as the
    next word. Entities, not prompts, are split into those for fitting and those for scoring.

    Args:
        source: `world`, `saebench`, `hf:OWNER/NAME[@REVISION]`, or a file or folder.
        spec: Types, attributes, limits and shares.
        model: Its tokenizer, BOS, vocabulary and longest context.
        seed: Of the draws and the split.
        offline: Refuse what is not on this machine.

    Raises:
        UserError: Unknown source, type or attribute, an unusable file, or no type with two attributes left.
    """
    encoder = Encoder(model, prepend_bos=spec.prepend_bos)
    left_out: list[str] = []
    types: list[EntityType] = []
    items: list[Item] = []
    labels: dict[str, tuple[int, ...]] = {}
    for table in _tables(str(source), spec, seed, offline):
        found = with_labels(fact_items(table, spec, encoder, seed, left_out), labels, encoder, left_out)
        made = _type(table, found, spec, seed, left_out)
        if made is not None:
            types.append(made)
            items += [x for x in found if x.attribute in made.attributes and x.entity in set(made.entities)]
    if not types:
        raise UserError(f"No entity type of {str(source)!r} can be used: {'; '.join(left_out) or 'there is none'}.")
    kept = {x.value for x in items}
    return _prompts(types, items, {v: labels[v] for v in sorted(kept)}, model, left_out, seed, str(source))


def _tables(source: str, spec: EntitySpec, seed: int, offline: bool) -> list[FactTable]:
    wanted = spec.types
    if source == "world":
        from saebench.data import world
        from saebench.data.facts_world import TYPES, from_world

        known = sorted({entity.type for entity in world.entities()})
        tables = from_world([x for x in known if x in (wanted if wanted is not None else TYPES)], seed)
    elif source == "saebench" or source.startswith("hf:"):
        tables = from_hub((HUB if source == "saebench" else source)[3:], offline)
        wanted = HUB_TYPES if source == "saebench" and wanted is None else wanted
        known = [table.name for table in tables]
    else:
        tables = from_disk(Path(source), spec.prompts)
        known = [table.name for table in tables]
    for name in wanted or ():
        if name not in known:
            raise unknown(f"entity type of {source!r}", name, known)
    return [_chosen(table, wanted) for table in tables if wanted is None or table.name in wanted]


def _chosen(table: FactTable, wanted: dict[str, list[str]] | list[str] | None) -> FactTable:
    attributes = (wanted.get(table.name) if isinstance(wanted, dict) else None) or list(table.attributes)
    for attribute in attributes:
        if attribute not in table.attributes:
            raise unknown(f"attribute of {table.name!r}", attribute, table.attributes)
    return FactTable(table.name, table.facts, tuple(attributes), table.prompts)


def _type(table: FactTable, items: list[Item], spec: EntitySpec, seed: int, left_out: list[str]) -> EntityType | None:
    entities = sorted({x.entity for x in items})
    if len(entities) < spec.min_entities:
        left_out.append(f"type {table.name!r}: {len(entities)} entities, and {spec.min_entities} are needed")
        return None
    asked = {x.attribute for x in items}
    attributes = {}
    for attribute in table.attributes:
        values = tuple(table.facts[entity][attribute] for entity in entities)
        if attribute in asked and len(set(values)) > 1:
            attributes[attribute] = values
        else:
            why = "it has one value only" if attribute in asked else "no prompt asks for it"
            left_out.append(f"{table.name}: attribute {attribute!r}, {why}")
    if len(attributes) < 2:
        left_out.append(f"type {table.name!r}: {len(attributes)} attributes, and isolation needs 2")
        return None
    scored = held_out(entities, spec.test_share, seed, "facts", table.name)
    return EntityType(table.name, tuple(entities), attributes, np.array([e in scored for e in entities]))


def _prompts(
    types: list[EntityType], items: list[Item], labels: dict[str, tuple[int, ...]], model: Subject,
    left_out: list[str], seed: int, source: str,
) -> EntityPrompts:  # fmt: skip
    number = {t.name: i for i, t in enumerate(types)}
    entity = {(t.name, e): i for t in types for i, e in enumerate(t.entities)}
    attribute = {(t.name, a): i for t in types for i, a in enumerate(t.attributes)}
    templates = {key: i for i, key in enumerate(sorted({(x.type, x.attribute, x.template) for x in items}))}
    return EntityPrompts(
        types=tuple(types),
        rows=tuple(x.row for x in items),
        type=np.array([number[x.type] for x in items], dtype=np.int64),
        entity=np.array([entity[x.type, x.entity] for x in items], dtype=np.int64),
        attribute=np.array([attribute[x.type, x.attribute] for x in items], dtype=np.int64),
        position=np.array([x.position for x in items], dtype=np.int64),
        template=np.array([templates[x.type, x.attribute, x.template] for x in items], dtype=np.int64),
        labels=labels,
        boundary=word_boundaries(model),
        seed=seed,
        left_out=tuple(left_out),
        source=source,
    )
