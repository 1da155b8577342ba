"""SAEs of one recipe and different seeds, matched pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.memo import Memo
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    import numpy as np

    from saebench.matching import Match
    from saebench.saes import SparseCoder


class SeedGroup(Memo):
    """A group as a whole: each of its pairs is matched once, for all metrics and members.

    Attributes:
        name: Name of the group.
        members: The SAEs, in the order of their names.
        init: Their checkpoints at initialisation, in the same order; empty where none were declared.
        notes: How the group came about, and what is missing from it.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[SparseCoder],
        init: Sequence[SparseCoder] = (),
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.members = tuple(members)
        self.init = tuple(init)
        self.notes = tuple(notes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the SAEs."""
        return tuple(sae.name for sae in self.members)

    @property
    def identity(self) -> str:
        """Name, and what every number of the group depends on."""
        return f"{self.name}#{'+'.join(sae.fingerprint for sae in (*self.members, *self.init))}"

    def place(self, sae: SparseCoder) -> int | None:
        """Number of a SAE in the group, None if it is not in it."""
        keys = [(member.name, member.fingerprint) for member in self.members]
        key = (sae.name, sae.fingerprint)
        return keys.index(key) if key in keys else None

    def match(self, i: int, j: int, *, side: str, signed: bool, init: bool) -> Match:
        """The best matching of members i < j.

        Raises:
            NotApplicable: A member has no matrix on that side, or no checkpoint at initialisation is declared.
        """
        return self.once(("match", i, j, side, signed, init), lambda: self._matched(i, j, side, signed, init))

    def _matched(self, i: int, j: int, side: str, signed: bool, init: bool) -> Match:
        from saebench.matching import match_directions, of_coder

        saes = self.init if init else self.members
        if not saes:
            raise NotApplicable(f"group {self.name!r} declares no checkpoints at initialisation (key init)")
        lacking = [saes[k].name for k in (i, j) if (side != "decoder" and saes[k].W_enc is None)]
        lacking += [saes[k].name for k in (i, j) if (side != "encoder" and saes[k].W_dec is None)]
        if lacking:
            raise NotApplicable(f"{lacking[0]} has no {side} matrix to match by")
        a, b = (of_coder(saes[k], side) for k in (i, j))
        return match_directions(a, b, signed=signed, side=side)


class SeedPairs:
    """The pairs of the group that a SAE is in.

    Args:
        group: The group; None if the SAE is in none.
        own: Number of the SAE in it.
        problem: Why there are no pairs, if there are none.
    """

    kind: ClassVar[str] = "weights"

    def __init__(self, group: SeedGroup | None, own: int = 0, problem: str = "") -> None:
        self._group = group
        self.own = own
        self._problem = problem

    @property
    def group(self) -> SeedGroup:
        """The group, of two SAEs at least.

        Raises:
            NotApplicable: The SAE has no other seed to be held against.
        """
        if self._group is None:
            raise NotApplicable(self._problem)
        if len(self._group.members) < 2:
            why = "; ".join([f"group {self._group.name!r} holds this SAE alone", *self._group.notes])
            raise NotApplicable(why)
        return self._group

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the group's SAEs."""
        return self.group.names

    @property
    def whole(self) -> SeedGroup | None:
        """The group, of however many SAEs; None if there is none."""
        return self._group

    def table(
        self,
        number: Callable[..., float | Sequence[float]],
        *,
        sides: Sequence[str] = ("decoder",),
        signed: bool = False,
        init: bool = False,
    ) -> np.ndarray:
        """A number (or several) of each pair.

        Args:
            number: From the matching of members i < j by each of `sides` to a number or numbers.
            sides: decoder, encoder, both.
            signed: Match by cosines with their sign.
            init: Match the checkpoints at initialisation.

        Returns:
            Symmetric array `[R, R]` or `[R, R, numbers]`, NaN on the diagonal.
        """
        import numpy as np

        size = len(self.names)
        found = {
            (i, j): np.asarray(
                number(*(self.group.match(i, j, side=side, signed=signed, init=init) for side in sides)), np.float64
            )
            for i, j in combinations(range(size), 2)
        }
        shape = next(iter(found.values())).shape
        table = np.full((size, size, *shape), np.nan)
        for (i, j), value in found.items():
            table[i, j] = table[j, i] = value
        return table
