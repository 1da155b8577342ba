"""What the page of one metric shows: what it is, how far to trust it here, and who scores what."""

from __future__ import annotations

import math
from typing import Any

from saebench.leaderboard.pareto import cost
from saebench.leaderboard.sections import Head, Section
from saebench.leaderboard.site.content import Entry, Site
from saebench.leaderboard.site.drawings import Span
from saebench.leaderboard.site.lines import ScoreLine, score_line
from saebench.leaderboard.site.metric_facts import about
from saebench.leaderboard.trust import HEADER, trust_cells

MOST_RANKED = 50
"""SAEs of a column on its metric's page; the table has them all."""


def metric_context(site: Site, metric: str, spans: dict[tuple[int, str], Span | None]) -> dict[str, Any]:
    """The page of a metric, as its template takes it."""
    by_section: dict[int, list[Entry]] = {}
    for entry in site.entries:
        by_section.setdefault(entry.section, []).append(entry)
    parts = [_part(site, i, section, metric, by_section.get(i, []), spans) for i, section in enumerate(site.sections)]
    columns = [key for key, head in site.heads.items() if head.column.metric == metric]
    return {
        "metric": metric,
        "about": about(metric),
        "columns": columns,
        "trust_header": HEADER,
        "parts": sorted((part for part in parts if part["columns"]), key=lambda part: -part["size"]),
        "most": MOST_RANKED,
    }


def _part(
    site: Site, index: int, section: Section, metric: str, entries: list[Entry], spans: dict[tuple[int, str], Any]
) -> dict[str, Any]:
    heads = [head for head in section.heads if head.column.metric == metric]
    return {
        "section": section,
        "size": len(section.of_role("sae")),
        "trust": [trust_cells(head) for head in heads],
        "doubts": [f"{head.label} {doubt}" for head in heads for doubt in head.trust.doubts],
        "columns": [
            {"head": head, "lines": _ranked(site, index, head, entries, spans.get((index, head.key)))} for head in heads
        ],
    }


def _ranked(
    site: Site, index: int, head: Head, entries: list[Entry], span: Span | None
) -> list[tuple[Entry, ScoreLine]]:
    """The best SAEs of a column first, then nulls and baselines; of a description the highest first."""
    standing = site.standing.get((index, head.key), {})

    def place(entry: Entry) -> tuple[Any, ...]:
        value = entry.line.scores[head.key].value
        known = math.isfinite(value)
        price = (-value if head.better == "none" else float(cost(value, head.better))) if known else math.inf
        return entry.line.role != "sae", price, entry.line.sae

    having = sorted((entry for entry in entries if head.key in entry.line.scores), key=place)
    saes = [entry for entry in having if entry.line.role == "sae"][:MOST_RANKED]
    others = [entry for entry in having if entry.line.role != "sae"]
    found: list[tuple[Entry, ScoreLine]] = []
    for entry in [*saes, *others]:
        score = entry.line.scores[head.key]
        record = {**site.record_of(score), "status": score.status, "reason": score.reason}
        where = standing.get(entry.line.sae) if entry.line.role == "sae" else None
        if entry.line.role != "sae":  # its own line would stand on itself
            record |= {"null": math.nan, "baseline": math.nan}
        found.append((entry, score_line(entry.line.sae, entry.page, record, span, where)))
    return found


def metric_list(site: Site) -> list[dict[str, Any]]:
    """Every metric with its page, summary and direction, for the list of metrics."""
    found: dict[str, dict[str, Any]] = {}
    for head in site.heads.values():
        metric = head.column.metric
        said = about(metric)
        line = found.setdefault(metric, {
            "metric": metric, "page": site.metric_pages[metric], "unit": head.unit, "better": head.better,
            "version": head.version, "summary": said.summary if said else "", "columns": [],
            "caution": head.caution, "shown": False,
        })  # fmt: skip
        line["columns"].append(head.key)
        line["shown"] = line["shown"] or head.key in site.shown
    return sorted(found.values(), key=lambda line: str(line["metric"]))
