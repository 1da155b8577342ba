"""What the page of one SAE shows: its scores, its slices, its density, and where they come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from saebench.leaderboard.rows import in_numbers
from saebench.leaderboard.site.content import Entry, Record, Site
from saebench.leaderboard.site.drawings import Span, histogram, span_of
from saebench.leaderboard.site.latents import LatentPage, LatentTable
from saebench.leaderboard.site.lines import ScoreLine, score_line
from saebench.leaderboard.site.metric_facts import best_of
from saebench.leaderboard.site.reproduce import commands, provenance

HISTOGRAM = "density_histogram"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_TOPS = 3
"""Slices of a metric that stand among the scores; those of one with more only below."""


@dataclass(frozen=True)
class Drill:
    """The slices of one metric."""

    metric: str
    page: str
    lines: list[ScoreLine]


def sae_context(
    site: Site,
    entry: Entry,
    spans: dict[tuple[int, str], Span | None],
    latents: Sequence[LatentPage] = (),
    tables: Sequence[LatentTable] = (),
) -> dict[str, Any]:
    """The page of an entry, as its template takes it.

    Args:
        site: Everything.
        entry: The SAE; where sections share its page, the first.
        spans: The range of each column by section and key (see `column_spans`).
        latents: Pages of latents, of any SAE.
        tables: Tables of latents, of any SAE.
    """
    records, rows = site.records[entry.who], site.rows.get(entry.who, [])
    heads = {head.key: head for head in site.sections[entry.section].heads}
    tops = Counter(head.column.metric for head in heads.values())
    whole: dict[str, ScoreLine] = {}
    drills: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r["metric"], in_numbers(r["slice"]))):
        key = record["metric"] + (f"[{record['slice']}]" if record["slice"] else "")
        if key in heads and (key in site.shown or tops[record["metric"]] <= MOST_TOPS):
            standing = site.standing.get((entry.section, key), {}).get(entry.line.sae)
            place = standing if entry.line.role == "sae" else None
            page = site.metric_pages[record["metric"]]
            whole[key] = score_line(heads[key].label, page, record, spans.get((entry.section, key)), place)
        if record["slice"]:
            drills.setdefault(record["metric"], []).append(record)
    return {
        "entry": entry,
        "section": site.sections[entry.section],
        "scores": [whole[key] for key in site.heads if key in whole],
        "drills": [_drill(site, metric, found) for metric, found in drills.items() if len(found) > 1],
        "histogram": _histogram(records),
        "latents": [page for page in latents if page.sae == entry.line.sae],
        "tables": [table for table in tables if table.sae == entry.line.sae],
        "commands": commands(rows),
        "provenance": provenance(rows),
        "signatures": sorted({(r["metric"], r["signature"]) for r in records if r["signature"]}),
        "warnings": _warnings(records, rows),
        "compare": entry.page,
    }


def column_spans(site: Site) -> dict[tuple[int, str], Span | None]:
    """The range of each column over its section, nulls, baselines and intervals of the SAEs in it."""
    found: dict[tuple[int, str], Span | None] = {}
    for i, section in enumerate(site.sections):
        for head in section.heads:
            scores = [line.scores[head.key] for line in section.lines if head.key in line.scores]
            values = [score.value for score in scores if score.known]
            found[i, head.key] = span_of(values, head.better, best_of(head.column.metric))
    return found


def _drill(site: Site, metric: str, records: Sequence[Record]) -> Drill:
    page = site.metric_pages[metric]
    values = [value for r in records for value in (r["value"], r["null"], r["baseline"])]
    span = span_of(values, records[0]["better"], best_of(metric))
    return Drill(metric, page, [score_line(r["slice"], page, r, span, None) for r in records])


def _histogram(records: Sequence[Record]) -> Markup:
    """Share of the latents by how often they fire, rarest first."""
    bins = [r for r in records if r["metric"] == HISTOGRAM and r["slice"].startswith("log10=")]
    bins = sorted((r for r in bins if math.isfinite(r["value"])), key=lambda r: float(r["slice"][6:]))
    return histogram(["10" + r["slice"][6:].translate(RAISED) for r in bins], [r["value"] for r in bins])


def _warnings(records: Sequence[Record], rows: Sequence[Any]) -> list[str]:
    """What the rows warn of, each once."""
    given = [text for row in rows for text in row.warnings]
    given = given or [str(r["warnings"]) for r in records if isinstance(r.get("warnings"), str)]
    return list(dict.fromkeys(text for text in given if text))
