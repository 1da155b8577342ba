"""Files to take away: every row as CSV and JSON, the board as one row a SAE, and BibTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from saebench.leaderboard import citations
from saebench.leaderboard.site.content import Site
from saebench.leaderboard.trust import trust_frame

if TYPE_CHECKING:
    pass


def rows_csv(site: Site) -> str:
    """Every row of the tidy frame with all its digits; missing is empty. As `to_csv` writes it, in half the time."""
    return _csv(site.plain, zip(*site.plain.values(), strict=True))


def rows_json(site: Site) -> str:
    """The same as JSON: the names of the columns once, then the rows; missing is null."""
    told = {"columns": list(site.plain), "rows": list(zip(*site.plain.values(), strict=True))}
    return json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def board_csv(site: Site) -> str:
    """One row a SAE; for each column its value, interval, places and group."""
    heads = site.heads
    rows: list[dict[str, Any]] = []
    for entry in site.entries:
        model, hook, role, sae = entry.who
        row: dict[str, Any] = {"model": model, "hook_out": hook, "role": role, "sae": sae,
                               "architecture": entry.line.architecture, "d_sae": entry.line.d_sae}  # fmt: skip
        for key in heads:
            score = entry.line.scores.get(key)
            if score is None or not score.known:
                continue
            row |= {key: score.value, f"{key}_stderr": score.stderr, f"{key}_low": score.low, f"{key}_high": score.high}
            place = site.standing.get((entry.section, key), {}).get(sae) if role == "sae" else None
            row |= {f"{key}_places": f"{place.first}-{place.last}", f"{key}_group": place.letters} if place else {}
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return _csv(names, ([None if row.get(name) != row.get(name) else row.get(name) for name in names] for row in rows))


def trust_csv(site: Site) -> str:
    """What each column can and cannot tell."""
    return trust_frame(site.sections).to_csv(index=False, lineterminator="\n")


def bibtex(site: Site) -> str:
    """An entry for this board, for the software that scored it, and for each paper that its metrics come from."""
    days = sorted({str(day)[:10] for day in site.frame["created"]} - {""}) if "created" in site.frame else []
    models = ", ".join(dict.fromkeys(section.model for section in site.sections))
    saes = sum(entry.line.role == "sae" for entry in site.entries)
    note = f"{saes} SAEs on {models}, {len(site.metric_pages)} metrics" + (f"; scored until {days[-1]}" if days else "")
    year = [f"  year = {{{days[-1][:4]}}},"] if days else []
    lines = ["@misc{saebench-board,", f"  title = {{{_tex(site.board.title)}}},", f"  note = {{{_tex(note)}}},", *year]
    return "\n".join([*lines, "}", "", citations.bibtex(site.metric_pages, [version("saebench")])])


def _csv(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def _tex(text: str) -> str:
    """Text as BibTeX takes it: special characters escaped, braces gone."""
    return re.sub(r"([#$%&_])", r"\\\1", re.sub(r"[{}\\]", "", " ".join(text.split())))
