"""Seed groups: as declared, or found among SAEs whose metadata differ in the seed alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError
from saebench.inputs import SeedGroup, SeedPairs
from saebench.needs import bare

if TYPE_CHECKING:
    from saebench.engine.plan import Failure
    from saebench.saes import SparseCoder
    from saebench.suite import GroupSpec, Suite

SEEDS = ("seed", "data_seed")
ASIDE = (*SEEDS, "name", "measured", "order", "revision")
"""What may differ between the metadata of two seeds of one recipe: seeds, names, and what was measured."""


def with_groups(suite: Suite, saes: Any, groups: Mapping[str, Any] | None) -> Suite:
    """The suite with the groups of this run, and their members among its SAEs.

    Groups that are given take the place of the suite's, and so do SAEs that are given: the suite's groups
    are groups of its own SAEs.

    Raises:
        UserError: A group that is no list of references.
    """
    from saebench.suite import load_suite

    if groups:
        whole = load_suite({"name": suite.name, "metric": [], "groups": dict(groups)})
        return suite.model_copy(update={"groups": whole.groups, "sae": []})
    return suite.model_copy(update={"groups": {}}) if saes else suite


def members(groups: Mapping[str, GroupSpec]) -> list[Any]:
    """References of all SAEs that groups name, each once; not their checkpoints at initialisation."""
    named: list[Any] = []
    for group in groups.values():
        named += [ref for ref in group.sae if not any(ref is other or ref == other for other in named)]
    return named


def declared(
    groups: Mapping[str, GroupSpec],
    saes: Sequence[SparseCoder],
    failures: Iterable[Failure],
    load: Callable[..., SparseCoder],
) -> list[SeedGroup]:
    """The groups as they were declared.

    Args:
        saes: All SAEs that are scored, the groups' members among them.
        failures: SAEs that could not be loaded; a group without one of its members says so.
        load: Loads a checkpoint at initialisation; takes the seed of one that is drawn, another for each member.

    Raises:
        UserError: SAEs of different models, hooks or sizes in one group, or one SAE in two groups.
    """
    lost = {failure.ref: failure.reason for failure in failures}
    owner: dict[str, str] = {}
    made: list[SeedGroup] = []
    for name, spec in groups.items():
        loaded = [(ref, _among(ref, saes)) for ref in spec.sae]
        members = [sae for _, sae in loaded if sae is not None]
        notes = [
            f"group {name!r} is without {ref}: {lost.get(str(ref)) or lost.get(bare(str(ref)), 'it was not loaded')}"
            for ref, sae in loaded
            if sae is None
        ]
        starts = enumerate(zip(spec.init, loaded, strict=False))
        init = [load(ref, seed=place) for place, (ref, (_, sae)) in starts if sae is not None]
        check(name, [*members, *init])
        for sae in members:
            if owner.setdefault(sae.name, name) != name:
                raise UserError(f"SAE {sae.name!r} is in groups {owner[sae.name]!r} and {name!r}: it can be in one.")
        made.append(SeedGroup(name, members, init, notes))
    return made


def _among(ref: Any, saes: Iterable[SparseCoder]) -> SparseCoder | None:
    """The loaded SAE of a reference or object."""
    if isinstance(ref, (str, Path)):
        return next((sae for sae in saes if sae.ref == bare(str(ref))), None)
    from saebench.saes import resolve

    one = resolve([ref])[0]
    return next((sae for sae in saes if (sae.name, sae.fingerprint) == (one.name, one.fingerprint)), None)


def found(saes: Iterable[SparseCoder], taken: Iterable[SeedGroup]) -> list[SeedGroup]:
    """Groups of trained SAEs that are in none yet and whose metadata differ in their seeds alone.

    A SAE that does not say its seed, or has the seed of another, is in no such group.
    """
    known = {sae.name for group in taken for sae in group.members}
    alike: dict[str, list[SparseCoder]] = {}
    for sae in saes:
        if sae.role == "sae" and sae.name not in known and sae.metadata.get("seed") is not None:
            alike.setdefault(_recipe(sae), []).append(sae)
    groups = []
    for one in alike.values():
        seeds = {sae.metadata["seed"] for sae in one}
        if len(one) > 1 and len(seeds) == len(one):
            names = ", ".join(sae.name for sae in one)
            note = f"seed group found, not declared: the metadata of {names} differ in the seed alone"
            groups.append(SeedGroup(one[0].name, one, notes=[note]))
    return groups


def pairs_of(sae: SparseCoder, groups: Iterable[SeedGroup]) -> SeedPairs:
    """The pairs that a SAE is in."""
    for group in groups:
        own = group.place(sae)
        if own is not None:
            return SeedPairs(group, own)
    if sae.role != "sae":
        return SeedPairs(None, problem=f"a {sae.role} is in no seed group")
    return SeedPairs(
        None,
        problem="no other seed of this SAE: no group was declared (--group NAME=REF,REF), and no other SAE's "
        "metadata differ in the seed alone",
    )


def check(name: str, saes: Sequence[SparseCoder]) -> None:
    """Refuse a group whose SAEs cannot be seeds of one recipe.

    Raises:
        UserError: What differs, and between which two.
    """
    for sae in saes[1:]:
        for what in ("model", "hook", "input size", "output size"):
            mine, theirs = (_fact(one, what) for one in (saes[0], sae))
            if mine != theirs and None not in (mine, theirs):
                raise UserError(
                    f"Group {name!r} mixes SAEs of different {what}: {saes[0].name} has {mine}, {sae.name} has "
                    f"{theirs}. Seeds of one recipe share it; put them into groups of their own."
                )


def _fact(sae: SparseCoder, what: str) -> Any:
    if what == "model":
        return sae.metadata.get("model_name")
    if what == "hook":
        return sae.hook_in if sae.hook_in == sae.hook_out else f"{sae.hook_in} -> {sae.hook_out}"
    return sae.d_in if what == "input size" else sae.d_out


def _recipe(sae: SparseCoder) -> str:
    """Everything known of a SAE but its seed, its name and what was measured of it."""
    facts = (sae.architecture, sae.hook_in, sae.hook_out, sae.d_in, sae.d_sae, sae.d_out, _without(sae.metadata))
    return json.dumps(facts, sort_keys=True, default=str)


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without(part) for key, part in value.items() if key not in ASIDE}
    return value
