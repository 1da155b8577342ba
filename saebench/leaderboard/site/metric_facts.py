"""What a metric says of itself: its docstring in paragraphs, its sources, and its facts."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass

from saebench.leaderboard import citations
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
        papers: The papers that it cites, each as text and address.
        bibtex: The same as BibTeX.
        facts: Version, unit, bounds and so on, by name.
        caution: What to know before trusting it.
    """

    summary: str
    paragraphs: list[str]
    family: list[str]
    sources: list[str]
    papers: list[tuple[str, str]]
    bibtex: str
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
                 *_cited(name), _facts(metric), metric.caution)  # fmt: skip


def _cited(name: str) -> tuple[list[tuple[str, str]], str]:
    """The papers that a metric cites as text with an address, and as BibTeX."""
    papers: list[tuple[str, str]] = []
    for key in citations.keys_of(name):
        entry = citations.entries()[key]
        first, *others = str(entry["author"]).split(" and ")
        who = first.split(",")[0] + (" et al." if others else "")
        url = f"https://arxiv.org/abs/{entry['eprint']}" if "eprint" in entry else str(entry.get("url", ""))
        papers.append((f"{who} {entry['year']}, {entry['title']}", url))
    return papers, citations.bibtex([name]).partition("\n\n")[2].strip() if papers else ""


def best_of(name: str) -> float | None:
    """What a perfect SAE scores, None where the metric has no such value or is not installed here."""
    from saebench import registry

    metric = registry.metrics().get(name)
    return metric.best if metric else None


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
        "bounds": "none" if low == high == "open" else f"{low} to {high}",
        "interval over": metric.units if metric.units != "none" else "nothing: no data, no interval",
        "inputs": ", ".join(kind.__name__ for kind in metric.inputs.values()),
        "settings by default": settings,
        "signature": metric.signature,
    }
    return [(name, value) for name, value in facts.items() if value]
