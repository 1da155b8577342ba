"""The measured half of the load gate: what the pass shows of a SAE that its weights could not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from saebench.saes.gate import FAR, declared_l0

if TYPE_CHECKING:
    from saebench.engine.stream import Task


def measured_warnings(task: Task, shared: Mapping[str, np.ndarray]) -> list[str]:
    """Warnings from the sums of the core metrics that were taken: L0, dead latents, explained variance."""
    values = {}
    for metric, tally in zip(task.metrics, task.tallies, strict=True):
        if metric.name in ("l0", "dead_fraction", "explained_variance") and not tally.failure:
            fields = metric.finished({**tally.fields, **{name: shared[name] for name in tally.shared}})
            totals = {name: np.asarray(value, dtype=np.float64).sum(0) for name, value in fields.items()}
            values[metric.name] = float(metric.compute(totals))
    return _sentences(values, declared_l0(task.sae))


def _sentences(values: Mapping[str, float], declared: float | None) -> list[str]:
    found: list[str] = []
    measured = values.get("l0")
    if measured == 0 or values.get("dead_fraction") == 1:
        found.append("every latent is dead on this corpus: its reconstruction is a constant")
    elif declared and measured:
        ratio = measured / declared
        if not 1 / FAR <= ratio <= FAR:
            found.append(
                f"measured L0 is {measured:.3g}, but the checkpoint declares {declared:g}: "
                "check the hook, the normalisation and the data"
            )
    variance = values.get("explained_variance")
    if variance is not None and variance < 0:
        found.append(
            f"explained variance is {variance:.3g}, worse than the mean: "
            "check the hook, the normalisation and the model's precision"
        )
    return found
