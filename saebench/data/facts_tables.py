"""Entities with attributes and the templates that ask for them, before they are tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Template(NamedTuple):
    """A prompt for one entity, in the parts around its name, and the template it is made from.

    Attributes:
        name: Of the template.
        before: Text in front of the entity's name.
        after: Text behind the name and its tail.
        tail: Text right behind the name that counts as part of it, where the model reads the name off there.
    """

    name: str
    before: str
    after: str
    tail: str = ""


@dataclass(frozen=True)
class FactTable:
    """Entities of one type as a source gives them.

    Attributes:
        name: Such as `city`.
        facts: For each entity the values of its attributes.
        attributes: Attributes in the source's order.
        prompts: From an entity and an attribute to its prompts; they do not depend on the other rows.
    """

    name: str
    facts: dict[str, dict[str, str]]
    attributes: tuple[str, ...]
    prompts: Callable[[str, str], Sequence[Template]]


def filled(patterns: Sequence[str], type_: str, attribute: str, mark: str) -> list[Template]:
    """Patterns as templates; the last place of the mark is the entity's, earlier ones are filled by the reader."""
    made = []
    for pattern in patterns:
        text = pattern.replace("{attribute}", attribute).replace("{type}", type_)
        before, _, after = text.rpartition(mark)
        made.append(Template(pattern, before.replace(mark, "\0"), after.rstrip()))
    return made
