"""A Markdown report of one run: what ran, the board, the figures, what failed, warnings, timings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError
from saebench.leaderboard.board import Board
from saebench.leaderboard.build import load_content, page_sections, page_tables, write_figures
from saebench.leaderboard.markdown import escape, grid, reading

if TYPE_CHECKING:
    import pandas as pd

    from saebench.results import Results


def report(
    run: str | Path | Results | pd.DataFrame,
    out: str | Path | None = None,
    board: str | Path | Board | Mapping[str, Any] | None = None,
) -> str:
    """The report of one run as Markdown.

    Args:
        run: A run folder, a `.jsonl` file, a `Results`, or its tidy frame.
        out: Folder for `report.md` and the figures that it shows; without it there are no figures, and
            nothing is written.
        board: What the board shows; the default board if None.

    Raises:
        UserError: No rows, or a folder that cannot be written.
    """
    content = load_content(run, board)
    frame = content.frame
    figures = None
    folder = Path(out) if out is not None else None
    try:
        if folder is not None:
            (folder / "figures").mkdir(parents=True, exist_ok=True)
            figures = write_figures(content, folder / "figures")
        parts = ["# Report", _what_ran(frame), reading(content.board)]
        parts += [page_sections(content, page_tables(content), figures)]
        parts += [_failed(frame), _warnings(frame), _timings(frame)]
        text = "\n\n".join(part for part in parts if part) + "\n"
        if folder is not None:
            (folder / "report.md").write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise UserError(f"Report folder {str(folder)!r} cannot be written: {error.strerror or error}.") from error
    return text


def _what_ran(frame: pd.DataFrame) -> str:
    """Counts of rows by status, and what they are about."""
    ok, failed, other = ((frame["status"] == s).sum() for s in ("ok", "error", "not_applicable"))
    facts = [f"{len(frame)} rows: {ok} ok, {failed} failed, {other} not applicable"]
    for name, label in (("suite", "suite"), ("model", "model"), ("hook_out", "hook"), ("corpus", "corpus"),
                        ("dtype", "dtype"), ("context", "context"), ("seed", "seed")):  # fmt: skip
        if name in frame:
            values = sorted({_plain(value) for value in frame[name].dropna()} - {""})
            if values:
                facts.append(f"{label}: {', '.join(escape(value) for value in values)}")
    for role, label in (("sae", "SAEs"), ("null", "nulls"), ("baseline", "baselines")):
        names = list(dict.fromkeys(sae for sae, r in zip(frame["sae"], frame["role"], strict=True) if r == role))
        if names:
            facts.append(f"{label} ({len(names)}): {', '.join(escape(name) for name in names)}")
    metrics = frame[["metric", "version"]].drop_duplicates()
    known = [f"{name}@{int(v)}" if v == v else name for name, v in metrics.itertuples(index=False)]
    facts.append(f"metrics ({frame['metric'].nunique()}): {', '.join(f'`{name}`' for name in sorted(known))}")
    return "\n".join(f"- {fact}" for fact in facts)


def _failed(frame: pd.DataFrame) -> str:
    """Every row without a number, the same reason of one SAE and metric once."""
    lost = frame[(frame["status"] != "ok") | frame["value"].isna()]
    if lost.empty:
        return "## Failed rows\n\nNone."
    rows = [
        [escape(row["sae"]), escape(row["metric"] + (f"[{row['slice']}]" if row["slice"] else "")),
         escape(row["status"].replace("_", " ")) if row["status"] != "ok" else "undefined",
         escape(row["reason"]) or "no reason given"]
        for _, row in lost.iterrows()
    ]  # fmt: skip
    return "## Failed rows\n\n" + grid(["SAE", "metric", "status", "reason"], rows, [False] * 4)


def _warnings(frame: pd.DataFrame) -> str:
    """Each warning once, with the SAEs that it concerns."""
    if "warnings" not in frame:
        return ""
    found: dict[str, list[str]] = {}
    for sae, warning in frame[["sae", "warnings"]].itertuples(index=False):
        given = warning if isinstance(warning, (list, tuple)) else [warning]
        for one in given:
            if isinstance(one, str) and one and sae not in found.setdefault(one, []):
                found[one].append(sae)
    lines = [f"- {escape(text)} ({', '.join(escape(sae) for sae in saes)})" for text, saes in found.items()]
    return "## Warnings\n\n" + ("\n".join(lines) if lines else "None.")


def _timings(frame: pd.DataFrame) -> str:
    """Seconds by SAE and by metric, the longest first."""
    # The slices of one metric carry the seconds of the whole, so that each counts once.
    once: dict[tuple[str, ...], float] = {}
    keys = ("sae", "metric", "model", "hook_out", "corpus")
    for *key, seconds in zip(*(frame[name] for name in (*keys, "seconds")), strict=True):
        if math.isfinite(seconds):
            once[tuple(key)] = max(seconds, once.get(tuple(key), 0.0))
    if not once:
        return ""
    parts = [f"## Timings\n\nTogether {_seconds(sum(once.values()))}."]
    for place, label in enumerate(("SAE", "metric")):
        total: dict[str, float] = {}
        for key, seconds in once.items():
            total[key[place]] = total.get(key[place], 0.0) + seconds
        longest = sorted(total.items(), key=lambda item: -item[1])
        parts.append(grid([label, "seconds"], [[escape(k), f"{v:.2f}"] for k, v in longest], [False, True]))
    return "\n\n".join(parts)


def _seconds(total: float) -> str:
    minutes = math.floor(total / 60)
    return f"{minutes} min {total - 60 * minutes:.0f} s" if minutes else f"{total:.1f} s"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
