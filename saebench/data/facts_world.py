"""Facts of the world, asked for in the phrases of its own documents.

Every template names the entity once, and nothing between the name and the question depends on it. The world's model
has a head in its first block that looks one word back, and reads a name off the comma behind it: an interchange at
the name itself moves no answer, so the comma counts as part of the name. Where an article introduces the entity
first ("... is a city . its country is"), the words between carry the name too, and such a template would measure
the model, not a SAE. People go by their surnames alone: a first name is read where it stands, so that an interchange
behind "ada bapuer" mixes two people, and it turns 44 % of the professions; behind "bapuer" it turns 86 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from saebench.data import world
from saebench.data.draws import generator
from saebench.data.facts_tables import FactTable, Template
from saebench.data.world_kinds import FACT_LINK

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
    group = {entity.words[-1]: entity for entity in world.entities(type_)}
    facts = {name: dict(entity.attributes) for name, entity in group.items()}
    return FactTable(type_, facts, tuple(_shared(facts)), _prompts(group, seed))


def _shared(facts: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The attributes of which some entities have the same value.

    Every person was born in a town of their own: of those held out no value was ever seen, and a birthplace is one
    more name of the person.
    """
    for attribute in next(iter(facts.values())):
        if len({values[attribute] for values in facts.values()}) < len(facts):
            yield attribute


def _prompts(group: dict[str, world.Entity], seed: int) -> Callable[[str, str], Sequence[Template]]:
    names, link = sorted(group), " ".join(FACT_LINK[1:])

    def make(name: str, relation: str) -> list[Template]:
        entity = group[name]
        rng = generator(seed, "facts", name, relation)
        other = group[names[(names.index(name) + 1 + int(rng.integers(len(names) - 1))) % len(names)]]
        told = str(rng.choice([r for r in other.attributes if r != relation]))
        known = other.words[-1]
        fronts = {
            "alone": "",
            "after news": f"on {rng.choice(_DAYS)} the crowd followed the champion . ",
            "after a biography": f"she often explains {rng.choice(_LESSONS)} and essays . ",
            "after a fact": f"about {known} , {link} {other.possessive} {told} is {other.attributes[told]} . ",
        }
        asked = f" {link} {entity.possessive} {relation} is"
        return [Template(key, f"{front}about ", asked, tail=" ,") for key, front in fronts.items()]

    return make


_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
_LESSONS = ("pupils", "blackboards", "classrooms", "exams")
