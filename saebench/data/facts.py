"""Entities with attributes, in prompts that ask for one of them: the items of RAVEL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EntityType:
    """Entities of one type with their attributes.

    Attributes:
        name: Such as `city`.
        entities: Their names.
        attributes: For each attribute the value of every entity, in the entities' order.
        test: Which entities are for scoring, `[entities]` bool; the others are for fitting.
    """

    name: str
    entities: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    test: np.ndarray


@dataclass(frozen=True)
class EntityPrompts:
    """Prompts that mention an entity and end where one of its attributes belongs.

    Attributes:
        types: The entity types.
        rows: Token ids of each prompt, BOS included, `[prompts]` arrays of any length.
        type: Type of each prompt's entity, `[prompts]` index into `types`.
        entity: Entity, `[prompts]` index into the type's `entities`.
        attribute: Attribute that is asked for, `[prompts]` index into the type's `attributes` (in their order).
        position: Position of the entity's last token, `[prompts]`.
        template: Number of the template, `[prompts]`.
        labels: Token ids of every attribute value as a continuation of a prompt, by value.
        boundary: Which token ids may follow a complete value (they do not go on with the word), `[vocabulary]` bool.
        left_out: A sentence for each thing that was left out, with the reason.
    """

    types: tuple[EntityType, ...]
    rows: tuple[np.ndarray, ...]
    type: np.ndarray
    entity: np.ndarray
    attribute: np.ndarray
    position: np.ndarray
    template: np.ndarray
    labels: dict[str, tuple[int, ...]]
    boundary: np.ndarray
    seed: int = 0
    left_out: tuple[str, ...] = ()
    source: str = ""
