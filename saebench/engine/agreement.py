"""Codes of a group's SAEs on the same batches: cross products, summed while the batches stream by."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from saebench.engine.pooling import Arrays, Collector
from saebench.engine.stream import Task
from saebench.inputs import CodeMoments, SeedCodes, SeedGroup, SeedPairs
from saebench.inputs.seed_codes import Partner

if TYPE_CHECKING:
    from saebench.engine.batches import Batch
    from saebench.saes import Codes

ROOM = 2**33
"""Most bytes for the cross products of one group; they do not grow with the number of tokens."""


class GroupCodes:
    """Cross products of the codes of every pair of a group, each token counted once.

    A member hands in its codes of a batch; once two have, their product is added. Codes are dropped when
    the next batch begins, so that only one batch of them is ever held.
    """

    def __init__(self, group: SeedGroup) -> None:
        self.group = group
        widths = [sae.d_sae for sae in group.members]
        need = room(group)
        self.problem = ""
        if need > ROOM:
            self.problem = f"correlations of all pairs of latents of its group take {need / 2**30:.0f} GB"
        self._batch: object = None
        self._codes: dict[int, sparse.csr_array] = {}
        pairs = [] if self.problem else combinations(range(len(widths)), 2)
        self.cross = {(i, j): np.zeros((widths[i], widths[j])) for i, j in pairs}
        self.tokens = dict.fromkeys(self.cross, 0)
        self.members: dict[int, GroupMember] = {}

    def hand_in(self, place: int, codes: sparse.csr_array, batch: object) -> None:
        """Take one member's codes `[tokens, F]` of a batch."""
        if batch is not self._batch:
            self._batch, self._codes = batch, {}
        for other, theirs in self._codes.items():
            first, second = sorted((place, other))
            left, right = (codes, theirs) if first == place else (theirs, codes)
            if (first, second) in self.cross:
                product = sparse.coo_array(left.T @ right)
                self.cross[first, second][product.coords] += product.data
                self.tokens[first, second] += len(codes.indptr) - 1
        self._codes[place] = codes


def room(group: SeedGroup) -> int:
    """Bytes that the cross products of a group take."""
    return sum(8 * one.d_sae * other.d_sae for one, other in combinations(group.members, 2))


class GroupMember(Collector):
    """What one SAE of a group hands in, and the moments of its own codes."""

    def __init__(self, shared: GroupCodes, place: int, width: int) -> None:
        self.shared, self.place = shared, place
        shared.members[place] = self
        self.sums = np.zeros((3, width))
        self.tokens = 0

    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        matrix = sparse.csr_array(
            (codes.values.double().cpu().numpy(), codes.latents.cpu().numpy(), codes.offsets.cpu().numpy()),
            shape=codes.shape,
        )

        def add() -> None:
            for row, part in enumerate((matrix, matrix * matrix, abs(matrix))):
                self.sums[row] += np.asarray(part.sum(axis=0)).ravel()
            self.tokens += codes.n
            self.shared.hand_in(self.place, matrix, batch)

        return add

    @property
    def moments(self) -> CodeMoments:
        """Moments of the SAE's own codes."""
        return CodeMoments(*self.sums, tokens=self.tokens)

    def state(self) -> Arrays:
        mine = {f"{i}-{j}": cross for (i, j), cross in self.shared.cross.items() if i == self.place}
        counts = {f"tokens {i}-{j}": np.array(n) for (i, j), n in self.shared.tokens.items() if i == self.place}
        return {"sums": self.sums, "tokens": np.array(self.tokens), **mine, **counts}

    def restore(self, state: Arrays) -> None:
        self.sums, self.tokens = state["sums"], int(state["tokens"])
        for i, j in self.shared.cross:
            if f"{i}-{j}" in state:
                self.shared.cross[i, j] = state[f"{i}-{j}"]
                self.shared.tokens[i, j] = int(state[f"tokens {i}-{j}"])


def attach(tasks: list[Task]) -> list[Task]:
    """Give the tasks that ask for their group's codes a collector each.

    Returns:
        Tasks for the members that have no other work in this pass: their codes are needed all the same.
    """
    asked = {id(group): group for task in tasks if task.wants(SeedCodes) and (group := _group_of(task))}
    extra: list[Task] = []
    for group in asked.values():
        shared = GroupCodes(group)
        for place, sae in enumerate(group.members):
            task = next((t for t in tasks if group.place(t.sae) == place), None)
            if task is None:
                task = Task(sae, [])
                extra.append(task)
            task.collectors["group"] = GroupMember(shared, place, sae.d_sae)
    return extra


def _group_of(task: Task) -> SeedGroup | None:
    """The task's group, if there are two SAEs in it."""
    group = task.pairs.whole if task.pairs else None
    return group if group and len(group.members) > 1 else None


def seed_codes(task: Task, pairs: SeedPairs) -> SeedCodes:
    """The sums of one SAE and the others of its group; one that failed on a batch is left out and named."""
    collector = task.collectors.get("group")
    if not isinstance(collector, GroupMember):
        return SeedCodes(pairs, None)
    shared, own = collector.shared, collector.place
    others = [place for place in shared.members if place != own]
    whole = [p for p in others if shared.tokens.get((min(own, p), max(own, p)), 0) == collector.tokens]
    missing = [shared.group.names[place] for place in others if place not in whole]
    return SeedCodes(pairs, collector.moments, [_partner(shared, own, p) for p in whole], shared.problem, missing)


def _partner(shared: GroupCodes, own: int, place: int) -> Partner:
    """Another member as the SAE `own` sees it."""
    first, second = min(own, place), max(own, place)
    cross = shared.cross[first, second]

    def matching() -> np.ndarray:
        partner = shared.group.match(first, second, side="decoder", signed=False, init=False).partner
        if own == first:
            return partner
        turned = np.full(len(shared.members[own].sums[0]), -1, dtype=np.int64)
        turned[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
        return turned

    moments = shared.members[place].moments
    return Partner(shared.group.names[place], moments, cross if own == first else cross.T, matching)
