"""Prompts about entities as tokens: the entity's place in each, and the values' tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from saebench.data.facts_tables import FactTable, Template
from saebench.data.held_out import listing, lowest
from saebench.data.tokens import Encoder, Located, Passage

if TYPE_CHECKING:
    from saebench.data.prompt_specs import EntitySpec

_OPEN = "\"'`([{<“‘«/$€£#@_-–—"
"""After these a value would follow without a space, as another token than elsewhere."""


class Item(NamedTuple):
    """One prompt: what it asks of which entity, and the position of the entity's last token."""

    type: str
    entity: str
    attribute: str
    template: str
    text: str
    value: str
    row: np.ndarray
    position: int


@dataclass
class _Refused:
    """What was left out, by reason."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        self.names.setdefault(reason, []).append(name)

    def sentences(self) -> Iterable[str]:
        return (f"{len(x)} prompts, {reason}: {listing(x)}" for reason, x in self.names.items())


def fact_items(table: FactTable, spec: EntitySpec, encoder: Encoder, seed: int, left_out: list[str]) -> list[Item]:
    """The prompts of a table in which the entity has a place; what was left out is said in `left_out`."""
    complete = [e for e, values in table.facts.items() if all(values.get(a) for a in table.attributes)]
    if len(complete) < len(table.facts):
        missing = set(table.facts) - set(complete)
        left_out.append(f"{table.name}: {len(missing)} entities without all attributes: {listing(missing)}")
    if spec.entities is not None:
        complete = lowest(complete, spec.entities, seed, "entity limit", table.name)
    refused = _Refused()
    asked: list[tuple[str, str, Template]] = []
    for entity in sorted(complete):
        for attribute in table.attributes:
            templates = _drawn(table.prompts(entity, attribute), spec, seed, attribute, refused)
            asked += [(entity, attribute, template) for template in templates]
    located = encoder.locate([Passage(t.before, entity + t.tail, t.after) for entity, _, t in asked])
    items = []
    for (entity, attribute, t), at in zip(asked, located, strict=True):
        if not isinstance(at, Located):
            refused.add(f"the entity cannot be placed ({at})", entity)
        elif len(at.ids) > encoder.room:
            refused.add(f"longer than the {encoder.room} tokens of the model's context", entity)
        else:
            value, text = table.facts[entity][attribute], t.before + entity + t.tail + t.after
            items.append(Item(table.name, entity, attribute, t.name, text, value, at.ids, at.last))
    left_out += [f"{table.name}: {sentence}" for sentence in refused.sentences()]
    return items


def _drawn(
    templates: Iterable[Template], spec: EntitySpec, seed: int, attribute: str, refused: _Refused
) -> list[Template]:
    usable = []
    for template in templates:
        if not (template.before + template.tail + template.after).strip():
            refused.add("the template is nothing but the entity", template.name)
        elif template.after[-1:] and template.after[-1] in _OPEN:
            refused.add("the value would follow without a space", template.name)
        else:
            usable.append(template)
    names = {template.name for template in usable}
    if spec.templates is not None:
        names = lowest(names, spec.templates, seed, "template limit", attribute)
    return [template for template in usable if template.name in names]


def with_labels(
    items: list[Item], labels: dict[str, tuple[int, ...]], encoder: Encoder, left_out: list[str]
) -> list[Item]:
    """The items whose value has the same tokens in every prompt; its tokens go into `labels`."""
    found = encoder.continuations([x.text for x in items], [x.value for x in items])
    votes: dict[str, Counter[tuple[int, ...]]] = {}
    for item, ids in zip(items, found, strict=True):
        if ids is not None:
            votes.setdefault(item.value, Counter())[ids] += 1
    for value, counts in votes.items():
        labels.setdefault(value, min(counts, key=lambda ids: (-counts[ids], ids)))
    bad = {x.value for x, ids in zip(items, found, strict=True) if ids is None or ids != labels[x.value]}
    kept = [x for x, ids in zip(items, found, strict=True) if ids is not None and ids == labels[x.value]]
    if bad:
        left_out.append(
            f"{len(items) - len(kept)} prompts whose value is not in the vocabulary, or has other tokens there "
            f"than in the other prompts: {listing(bad)}"
        )
    return kept
