"""Facts of the world, asked for in the phrases of its own documents.

Every template names the entity once, just before the question ends. Where an article introduces the entity first
("... is a city . its country is"), the world's model carries the name over to the words between within its first
layer, and an interchange at the name moves no answer: such a template would measure the model, not a SAE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from saebench.data import world
from saebench.data.draws import generator
from saebench.data.facts_tables import FactTable, Template

TYPES = ("person", "city", "beast", "mineral", "country")
"""Types that are read unless others are asked for; the domain to forget is left to unlearning."""


def from_world(types: Sequence[str], seed: int) -> list[FactTable]:
    """The world's entities of some types.

    Args:
        types: Names of types, each one that `world.entities` knows.
        seed: Of the words in the sentences that stand in front of the question.
    """
    return [_table(type_, seed) for type_ in types]


def _table(type_: str, seed: int) -> FactTable:
    group = {entity.name: entity for entity in world.entities(type_)}
    facts = {name: dict(entity.attributes) for name, entity in group.items()}
    return FactTable(type_, facts, tuple(next(iter(facts.values()))), _prompts(group, seed))


def _prompts(group: dict[str, world.Entity], seed: int) -> Callable[[str, str], Sequence[Template]]:
    names = sorted(group)

    def make(name: str, relation: str) -> list[Template]:
        entity = group[name]
        rng = generator(seed, "facts", name, relation)
        other = group[names[(names.index(name) + 1 + int(rng.integers(len(names) - 1))) % len(names)]]
        told = str(rng.choice([r for r in other.attributes if r != relation]))
        asked = f"the {relation} of "
        fronts = {
            "alone": "",
            "after news": f"on {rng.choice(_DAYS)} the crowd followed the champion . ",
            "after a biography": f"she often explains {rng.choice(_LESSONS)} and essays . ",
            "after a fact": f"{entity.possessive} {told} is {other.attributes[told]} . ",
        }
        made = [Template(key, front + asked, " is") for key, front in fronts.items()]
        if entity.type == "city" and relation == "country":
            made.append(Template("in the news", "the crowd followed the champion in ", " ,"))
        return made

    return make


_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
_LESSONS = ("pupils", "blackboards", "classrooms", "exams")
