"""A matching as its users see it: value, null, proof, and a line for each latent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saebench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from saebench.matching.null import Null

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
SHARED = 0.7
"""A matched pair above this cosine is called shared (Paulo & Belrose 2025)."""


@dataclass(frozen=True)
class Agreement:
    """How far two matchings of the same SAEs, by encoder and by decoder, name the same partners.

    Attributes:
        same: Share of the matched latents with the same partner in both.
        shared: Share with the same partner and both cosines above the threshold (the strict rule of
            Paulo & Belrose 2025).
    """

    same: float
    shared: float


@dataclass(frozen=True)
class Match:
    """The best one-to-one matching of the latents of A with those of B.

    Attributes:
        value: Mean cosine of the matched pairs (absolute unless `signed`): the MCC of the two dictionaries.
        gap: How far the best matching can lie above `value` at most, as a share of it; 0 by an exact solver.
        partner: Latent of B for each latent of A, -1 for one without, `[n_a]`.
        cosine: Cosine of each latent of A to its partner, NaN without one, `[n_a]`.
        second: Largest cosine of each latent of A to any other than its partner, `[n_a]`.
        nearest, nearest_back: Largest cosine of each latent of A to any of B, `[n_a]`, and of B to any of A, `[n_b]`.
        coverage: Matched share of the larger dictionary: 1 for equal sizes.
        sizes: Latents of A and of B.
        widths: Dimensions of each side that was matched.
        signed: Cosines count with their sign.
        side: encoder, decoder or both.
        names: Labels of A and B.
        zero: Latents without a direction in A and in B; they count as cosine 0.
        seconds: Time taken, without the null's.
        method: `dense` (scipy) or `sparse`.
        device: Where products were taken.
        notes: What to know before it is read, such as hooks that differ.
    """

    value: float
    gap: float
    partner: np.ndarray = field(repr=False)
    cosine: np.ndarray = field(repr=False)
    second: np.ndarray = field(repr=False)
    nearest: np.ndarray = field(repr=False)
    nearest_back: np.ndarray = field(repr=False)
    coverage: float
    sizes: tuple[int, int]
    widths: tuple[int, ...]
    signed: bool
    side: str
    names: tuple[str, str]
    zero: tuple[int, int]
    seconds: float
    method: str
    device: str = "cpu"
    notes: tuple[str, ...] = ()

    @cached_property
    def chance(self) -> Null:
        """What random dictionaries of these shapes score; drawn when first asked for and kept on disk."""
        from saebench.matching.null import null_of

        return null_of(self.widths, self.sizes, signed=self.signed, device=self.device)

    @property
    def null(self) -> float:
        """Value of random dictionaries of the same shapes."""
        return self.chance.value

    @property
    def adjusted(self) -> float:
        """(value - null) / (1 - null): 0 by chance, 1 for equal dictionaries.

        NaN where chance scores 1 already, as in a space of one dimension.
        """
        return (self.value - self.null) / (1 - self.null) if self.null < 1 - 1e-12 else float("nan")

    @property
    def matched(self) -> np.ndarray:
        """Cosines of the matched pairs, `[min(n_a, n_b)]`."""
        return self.cosine[self.partner >= 0]

    @property
    def mean_max_cosine(self) -> float:
        """Mean over the latents of A of the largest cosine to any latent of B; several may choose the same."""
        return float(self.nearest.mean())

    def shared(self, threshold: float = SHARED) -> float:
        """Share of the matched pairs whose cosine exceeds a threshold."""
        return float((self.matched > threshold).mean())

    def curve(self, thresholds: Sequence[float] = THRESHOLDS) -> dict[float, float]:
        """The shared fraction by threshold."""
        return {threshold: self.shared(threshold) for threshold in thresholds}

    def agreement(self, other: Match, threshold: float = SHARED) -> Agreement:
        """How far another matching of the same two SAEs, such as by their encoders, names the same partners."""
        n = min(self.sizes)
        same = (self.partner == other.partner) & (self.partner >= 0)
        with np.errstate(invalid="ignore"):
            both = same & (self.cosine > threshold) & (other.cosine > threshold)
        return Agreement(float(same.sum() / n), float(both.sum() / n))

    def frame(self) -> pd.DataFrame:
        """A line for each latent of A: latent, partner, cosine, second."""
        import pandas as pd

        columns = {"partner": self.partner, "cosine": self.cosine, "second": self.second}
        table = pd.DataFrame({"latent": np.arange(self.sizes[0]), **columns})
        return table.assign(partner=table.partner.where(table.partner >= 0).astype("Int64"))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write `frame` as a Parquet file.

        Raises:
            UserError: The file cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.frame().to_parquet(path, index=False)
        except OSError as error:
            raise UserError(f"Cannot write {os.fspath(path)!r}: {error.strerror or error}.") from error

    def summary(self) -> dict[str, float | str | bool | list[int] | list[str]]:
        """Everything but the latents, as plain data."""
        return {
            "a": self.names[0], "b": self.names[1], "side": self.side, "signed": self.signed,
            "sizes": list(self.sizes), "value": self.value, "null": self.null, "adjusted": self.adjusted,
            "gap": self.gap, "coverage": self.coverage, "mean_max_cosine": self.mean_max_cosine,
            **{f"shared_{t:g}": share for t, share in self.curve().items()},
            "zero_latents": list(self.zero), "notes": list(self.notes), "method": self.method,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip
