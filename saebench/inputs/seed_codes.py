"""What the latents of a group's SAEs do on the same tokens: moments of their codes, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from saebench.inputs.seed_group import SeedPairs

_ROWS = 1024


@dataclass(frozen=True)
class CodeMoments:
    """Sums over tokens of each latent's code f.

    Attributes:
        total: sum of f, `[F]`.
        square: sum of f^2, `[F]`.
        size: sum of |f|, `[F]`.
        tokens: Number of tokens.
    """

    total: np.ndarray
    square: np.ndarray
    size: np.ndarray
    tokens: int

    @property
    def mean(self) -> np.ndarray:
        """Mean code of each latent."""
        return self.total / max(self.tokens, 1)

    @cached_property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each latent's code; 0 where it never moves."""
        import numpy as np

        spread = self.square / max(self.tokens, 1) - self.mean**2
        return np.sqrt(np.where(spread > 1e-12 * self.square / max(self.tokens, 1), spread, 0))

    @property
    def alive(self) -> np.ndarray:
        """Which latents' codes move at all."""
        return self.deviation > 0


@dataclass(frozen=True)
class Partner:
    """Another SAE of the group.

    Attributes:
        name: Its name.
        moments: Of its codes.
        cross: sum over tokens of f_i g_j, `[F own, F partner]`.
        matching: Gives its latent for each of the SAE's own by the best matching of decoders, -1 for none.
    """

    name: str
    moments: CodeMoments
    cross: np.ndarray
    matching: Callable[[], np.ndarray]


class SeedCodes:
    """Correlations of a SAE's codes with those of the other SAEs of its group, over all valid tokens.

    Args:
        pairs: The group; asking it says why there is none.
        own: Moments of the SAE's own codes.
        partners: The others that could be run, in the group's order.
        problem: Why there are no moments, if there are none.
        missing: Names of those that could not be run.
    """

    kind: ClassVar[str] = "items"

    def __init__(
        self,
        pairs: SeedPairs,
        own: CodeMoments | None,
        partners: Sequence[Partner] = (),
        problem: str = "",
        missing: Sequence[str] = (),
    ) -> None:
        self._pairs, self._own, self._partners, self._problem = pairs, own, tuple(partners), problem
        self.missing = tuple(missing)

    @property
    def own(self) -> CodeMoments:
        """Moments of the SAE's own codes.

        Raises:
            NotApplicable: The SAE is alone, or the sums of its group would not fit into memory.
        """
        group = self._pairs.group
        if self._problem or self._own is None:
            raise NotApplicable(self._problem or f"the codes of group {group.name!r} were not taken")
        return self._own

    @property
    def partners(self) -> tuple[Partner, ...]:
        """The other SAEs of the group that could be run.

        Raises:
            NotApplicable: There is none.
        """
        if self.own and not self._partners:
            raise NotApplicable(f"no other SAE of its group could be run: {', '.join(self.missing)}")
        return self._partners

    def matched(self, partner: Partner) -> np.ndarray:
        """Pearson correlation of each latent with its match; NaN without a match or where either is dead, `[F]`."""
        import numpy as np

        index = partner.matching()
        found = np.full(len(index), np.nan)
        have = np.flatnonzero(index >= 0)
        found[have] = self._pearson(partner, have, index[have])
        return found

    def best(self, partner: Partner) -> np.ndarray:
        """Largest Pearson correlation of each latent with any of the other's that fire; NaN for a dead one, `[F]`."""
        return self._reduced(partner, lambda block: block.max(1))

    def chance(self, partner: Partner) -> np.ndarray:
        """Expected Pearson correlation of each latent with one of the other's drawn at random, `[F]`."""
        return self._reduced(partner, lambda block: block.mean(1))

    def _pearson(self, partner: Partner, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        import numpy as np

        own, other = self.own, partner.moments
        covariance = partner.cross[i, j] / own.tokens - own.mean[i] * other.mean[j]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(own.alive[i] & other.alive[j], covariance / (own.deviation[i] * other.deviation[j]), np.nan)

    def _reduced(self, partner: Partner, reduce: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A row-wise summary of the correlations with the other's live latents, a block of rows at a time."""
        import numpy as np

        own, other = self.own, partner.moments
        rows, columns = np.flatnonzero(own.alive), np.flatnonzero(other.alive)
        found = np.full(len(own.total), np.nan)
        for start in range(0, len(rows) if len(columns) else 0, _ROWS):
            i = rows[start : start + _ROWS]
            found[i] = reduce(self._pearson(partner, i[:, None], columns[None, :]))
        return found
