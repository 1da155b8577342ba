"""The settings that metrics of sparse probing share."""

from __future__ import annotations

from dataclasses import dataclass

from saebench.metric import Count, Pooling


@dataclass(frozen=True)
class Probing:
    """What a k-sparse probe sees.

    Attributes:
        k: Numbers of latents.
        pooling: How a text's tokens become one row of codes: `mean`, `max` or `last`.
    """

    k: tuple[Count, ...] = (1, 2, 5)
    pooling: Pooling = "mean"


PROBING = Probing()
LAST_TOKEN = Probing(pooling="last")
