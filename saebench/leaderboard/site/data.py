"""The table's data as one compact script, which a page opened from disk can load (it may not fetch)."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from saebench.leaderboard.rows import Score
from saebench.leaderboard.sections import Head
from saebench.leaderboard.site.content import Site
from saebench.leaderboard.site.marks import MARKS
from saebench.leaderboard.site.metric_facts import best_of
from saebench.leaderboard.site.reproduce import author
from saebench.leaderboard.style import looks

REFERENCE_DIGITS = 5
"""Significant digits of nulls and baselines beside a value; their own rows and the downloads hold every digit."""


def board_script(site: Site) -> str:
    """`board.js`: SAEs and columns column by column, missing numbers null.

    A column holds `v` (values, float64), `e` (standard errors), `a` and `b` (how far the interval reaches below and
    above the value, float32), `first` and `last` (places, uint16), each as base64 of little-endian numbers with NaN or
    0 for missing; `null` and `base` (what the strongest null and baseline score), `group` (letters), `best`, and
    `gone`: why a number is missing, by the index of the SAE.
    """
    data = {
        "title": site.board.title,
        "level": site.board.level,
        "sections": [
            {"model": s.model, "hook": s.hook_out, "title": s.title, "corpora": s.corpora, "notes": s.notes}
            for s in site.sections
        ],
        "looks": looks(entry.line.architecture for entry in site.entries if entry.line.role == "sae"),
        "marks": MARKS,
        "saes": _saes(site),
        "columns": [_column(site, head) for head in site.heads.values()],
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"window.SAEBENCH = {text.replace('</', '<' + chr(92) + '/')};\n"


def _saes(site: Site) -> dict[str, list[Any]]:
    entries = site.entries
    rows = [site.rows.get(entry.who, []) for entry in entries]
    return {
        "name": [entry.line.sae for entry in entries],
        "page": [entry.page for entry in entries],
        "section": [entry.section for entry in entries],
        "role": [entry.line.role for entry in entries],
        "arch": [entry.line.architecture for entry in entries],
        "width": [entry.line.d_sae for entry in entries],
        "author": [author(mine[0].sae_ref) if mine else "" for mine in rows],
    }


def _column(site: Site, head: Head) -> dict[str, Any]:
    from saebench import registry

    scores = [entry.line.scores.get(head.key) for entry in site.entries]
    numbers = [score if score is not None and score.known else None for score in scores]
    places = [
        site.standing.get((entry.section, head.key), {}).get(entry.line.sae) if entry.line.role == "sae" else None
        for entry in site.entries
    ]
    known = registry.metrics().get(head.column.metric)
    doubts = {i: h.trust.doubts for i, s in enumerate(site.sections) for h in s.heads if h.key == head.key}
    return {
        "key": head.key, "metric": head.column.metric, "page": site.metric_pages[head.column.metric],
        "label": head.label, "better": head.better, "unit": head.unit, "version": head.version,
        "digits": head.column.digits, "shown": head.key in site.shown, "tip": known.summary if known else "",
        "top": best_of(head.column.metric),
        "doubts": {str(i): list(said) for i, said in doubts.items() if said},
        "v": _bytes([s.value if s else math.nan for s in numbers], "<f8"),
        "e": _bytes([s.stderr if s else math.nan for s in numbers], "<f4"),
        "a": _bytes([s.value - s.low if s else math.nan for s in numbers], "<f4"),
        "b": _bytes([s.high - s.value if s else math.nan for s in numbers], "<f4"),
        "null": _packed([_short(s.null, REFERENCE_DIGITS) if s else None for s in numbers]),
        "base": _packed([_short(site.record_of(s)["baseline"], REFERENCE_DIGITS) if s else None for s in numbers]),
        "first": _bytes([place.first if place else 0 for place in places], "<u2"),
        "last": _bytes([place.last if place else 0 for place in places], "<u2"),
        "group": _packed([place.letters if place else "" for place in places]),
        "best": [i for i, place in enumerate(places) if place and place.best],
        "gone": _gone(scores),
    }  # fmt: skip


def _gone(scores: list[Score | None]) -> dict[str, str]:
    return {str(i): score.reason for i, score in enumerate(scores) if score is not None and not score.known}


def _bytes(values: list[Any], kind: str) -> str:
    return base64.b64encode(np.asarray(values, dtype=kind).tobytes()).decode("ascii")


def _short(number: float, digits: int) -> float | int | None:
    """The number with some significant digits, a whole one without its point, None where it is not known."""
    if not math.isfinite(number):
        return None
    short = float(f"{number:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


def _packed(values: list[Any]) -> Any:
    """Values as they are, or as `{"u": distinct, "i": indices}` where they repeat."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) * 2 > len(values):
        return values
    place = {value: i for i, value in enumerate(distinct)}
    return {"u": distinct, "i": [place[value] for value in values] if len(distinct) > 1 else []}
