"""Reseed noise: how far a metric moves on one fixed SAE when nothing but its seed changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from saebench.results.intervals import SAME
from saebench.results.row import ROLES, Row

DETECTABLE = 1.96 * math.sqrt(2)
"""Standard deviations by which two SAEs must differ before their difference shows."""


class Noise(NamedTuple):
    """The scatter of a column over re-runs.

    Attributes:
        sigma: Standard deviation over seeds on a fixed SAE, pooled over SAEs; exactly 0 where the seed decides nothing.
        seeds: Most seeds that an SAE was scored with.
    """

    sigma: float
    seeds: int

    @property
    def mdd(self) -> float:
        """Minimum detectable difference of two SAEs, 1.96 sqrt(2) sigma."""
        return DETECTABLE * self.sigma


def column_key(row: Row) -> tuple[Any, ...]:
    """What the rows of one column share, whatever their SAE and seed.

    Labelled texts, words, entities and questions are drawn by the seed, so that only their name counts; text is
    not, and must be the same one.
    """
    same_text = (row.corpus_hash, row.tokens) if row.corpus == "text" else ()
    model = row.model_hash or row.model
    return (
        row.metric,
        row.version,
        row.settings_text,
        row.slice,
        model,
        row.hook_out,
        row.corpus,
        *same_text,
        row.context,
    )


def noises(rows: Sequence[Row]) -> dict[tuple[Any, ...], Noise]:
    """The reseed noise of each column in which an SAE was scored with two seeds or more.

    sigma^2 = sum_i sum_s (v_is - mean_i)^2 / sum_i (k_i - 1), over SAEs i with k_i seeds each. Values of an SAE that
    agree to a relative 1e-6 are equal: that is what float32 sums may differ by.
    """
    found: dict[tuple[Any, ...], list[list[float]]] = {}
    for (key, _), by_seed in _by_sae(rows).items():
        if len(by_seed) > 1:
            found.setdefault(key, []).append(list(by_seed.values()))
    return {key: _pooled(groups) for key, groups in found.items()}


def means(rows: Sequence[Row]) -> dict[tuple[Any, ...], dict[str, float]]:
    """The value of each SAE in each column, the mean where it was scored with several seeds."""
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for (key, (sae, _)), by_seed in _by_sae(rows).items():
        found.setdefault(key, {})[sae] = math.fsum(by_seed.values()) / len(by_seed)
    return found


def reruns(rows: Sequence[Row]) -> list[bool]:
    """For each row, whether the same was scored with a lower seed, so that a board shows that one."""
    lowest: dict[tuple[Any, ...], int] = {}
    keys = [(column_key(row), row.role, row.sae, row.sae_hash if row.role == ROLES[0] else "") for row in rows]
    for key, row in zip(keys, rows, strict=True):
        if row.seed is not None:
            lowest[key] = min(row.seed, lowest.get(key, row.seed))
    return [row.seed is not None and row.seed > lowest[key] for key, row in zip(keys, rows, strict=True)]


def _by_sae(rows: Sequence[Row]) -> dict[tuple[Any, tuple[str, str]], dict[int | None, float]]:
    """The values by seed, for each column and SAE."""
    found: dict[tuple[Any, tuple[str, str]], dict[int | None, float]] = {}
    for row in rows:
        if row.role == ROLES[0] and row.status == "ok" and row.value is not None:
            found.setdefault((column_key(row), (row.sae, row.sae_hash)), {})[row.seed] = row.value
    return found


def _pooled(groups: list[list[float]]) -> Noise:
    squares, freedom = 0.0, 0
    for values in groups:
        middle = math.fsum(values) / len(values)
        freedom += len(values) - 1
        if max(values) - min(values) > SAME * max(map(abs, values)):
            squares += math.fsum((value - middle) ** 2 for value in values)
    return Noise(math.sqrt(squares / freedom), max(map(len, groups)))
