"""What a metric says of itself: its docstring in paragraphs, its sources, and its facts."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass

from saebench.metric import Metric

WAYS = {"higher": "higher is better", "lower": "lower is better", "one": "closest to one is better",
        "none": "a description: no better and worse"}  # fmt: skip


@dataclass(frozen=True)
class About:
    """A metric's own words.

    Attributes:
        summary: First line of the docstring.
        paragraphs: The rest of it: formula, what it is taken over.
        family: The docstring of its module, which its family shares.
        sources: The sentences of either that name a publication.
        facts: Version, unit, bounds and so on, by name.
        caution: What to know before trusting it.
    """

    summary: str
    paragraphs: list[str]
    family: list[str]
    sources: list[str]
    facts: list[tuple[str, str]]
    caution: str


def about(name: str) -> About | None:
    """What is known of a metric, None where it is not installed here."""
    from saebench import registry

    metric = registry.metrics().get(name)
    if metric is None:
        return None
    module = sys.modules.get(getattr(metric.rows, "__module__", ""))
    family = inspect.cleandoc(module.__doc__ or "") if module else ""
    return About(metric.summary, _paragraphs(metric.doc)[1:], _paragraphs(family), _sources(f"{metric.doc} {family}"),
                 _facts(metric), metric.caution)  # fmt: skip


def _paragraphs(doc: str) -> list[str]:
    return [part.strip("\n") for part in re.split(r"\n\s*\n", doc) if part.strip()]


def _sources(doc: str) -> list[str]:
    """The sentences that name a year of publication or an arXiv number, each once."""
    sentences = re.split(r"(?<=[.:])\s+(?=[A-Z])(?<!et al\. )", " ".join(doc.split()))
    return list(dict.fromkeys(text for text in sentences if re.search(r"\b(19|20)\d\d\b|arXiv", text)))


def _facts(metric: Metric) -> list[tuple[str, str]]:
    low, high = ("open" if bound is None else f"{bound:g}" for bound in metric.bounds)
    settings = ", ".join(f"{key}={value}" for key, value in metric.settings.items())
    facts = {
        "version": str(metric.version),
        "unit": metric.unit,
        "direction": WAYS[metric.better],
        "a perfect SAE scores": "" if metric.best is None else f"{metric.best:g}",
        "bounds": f"{low} to {high}",
        "interval over": metric.units if metric.units != "none" else "nothing: no data, no interval",
        "inputs": ", ".join(kind.__name__ for kind in metric.inputs.values()),
        "settings by default": settings,
        "signature": metric.signature,
    }
    return [(name, value) for name, value in facts.items() if value]
