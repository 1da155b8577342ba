"""Is B better than A, worse, or can nobody tell? `compare` holds two sets of results against each other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from saebench.errors import UserError, unknown
from saebench.results.collection import Results
from saebench.results.comparison import Baseline, Comparison, Line
from saebench.results.contrast import Contrast, contrast_cells
from saebench.results.gate import Gate, GateEntry, entry_for, load_gate
from saebench.results.over_seeds import by_seed, joined
from saebench.results.pairing import Cell, Match, match_cells, pair_saes
from saebench.results.row import Row
from saebench.results.verdicts import hold, judge

Source = Results | str | os.PathLike[str]


def compare(
    a: Source,
    b: Source,
    *,
    sae_a: str | None = None,
    sae_b: str | None = None,
    gate: str | os.PathLike[str] | Iterable[Mapping[str, Any] | GateEntry] | None = None,
    cannot_tell: Literal["pass", "fail"] = "pass",
    seed: int = 0,
) -> Comparison:
    """Compare B with A, metric by metric, on the same units (`verdicts` says how it is judged).

    Rows of one metric with several scoring seeds are one line of means over the seeds that both sides hold.

    Args:
        a: The reference: results, a run folder, or a `.jsonl` file.
        b: What is compared with it.
        sae_a: SAE of `a`; needed only where names do not pair by themselves.
        sae_b: SAE of `b`.
        gate: YAML file, or list of entries, of what is held and at which tolerance.
        cannot_tell: Whether a held line that is too noisy passes or fails.
        seed: Seed of the resampling.

    Raises:
        UserError: No results there; SAEs that cannot be paired; a gate with unknown keys or metrics.
    """
    if cannot_tell not in ("pass", "fail"):
        raise unknown("value of cannot_tell", str(cannot_tell), ("pass", "fail"))
    first = _results(a, "first")
    second = first if isinstance(b, (str, os.PathLike)) and b == a else _results(b, "second")
    entries = None if gate is None else load_gate(gate)
    _check_metrics(entries or (), first, second)
    pairs = pair_saes(first, second, sae_a, sae_b)
    lines: list[Line] = []
    for name_a, name_b in pairs.pairs:
        matches = match_cells([r for r in first if r.sae == name_a], [r for r in second if r.sae == name_b])
        for group in by_seed(matches):
            parts = [_lines(match, name_a, name_b, entries, seed) for match in group]
            lines += joined(parts, [match.a[0].seed for match in group]) if len(group) > 1 else parts[0]
        lines += _absent(entries or (), lines, name_a, name_b)
    lines = hold(judge(lines), entries)
    used = [row for row in first if row.sae in {name for name, _ in pairs.pairs}]
    baseline = _baseline(used)
    return Comparison(tuple(lines), pairs.only_a, pairs.only_b, entries is not None, cannot_tell, baseline)


def _baseline(rows: Sequence[Row]) -> Baseline | None:
    """Where rows come from: the oldest of them speaks for all."""
    oldest = min((row for row in rows if row.created), key=lambda row: row.created, default=None)
    if oldest is None:
        return None
    return Baseline(oldest.created, oldest.versions.get("saebench", ""), oldest.git_commit or "")


def _results(source: Source, which: str) -> Results:
    results = source if isinstance(source, Results) else Results.load(source)
    if not len(results):
        raise UserError(f"The {which} results hold no rows, so there is nothing to compare.")
    return results


def _check_metrics(gate: Gate, a: Results, b: Results) -> None:
    """A gate that misspells a metric must not pass as one whose rows are missing."""
    from saebench.registry import metrics

    present = {row.metric for row in (*a, *b)}
    for entry in gate:
        if entry.metric not in present and entry.metric not in (known := metrics()):
            raise unknown("metric in the gate:", entry.metric, present | set(known))


def _lines(match: Match, name_a: str, name_b: str, gate: Gate | None, seed: int) -> list[Line]:
    """The lines of one metric, one for each slice that either side holds."""
    metric = (match.a or match.b)[0].metric
    names = list(dict.fromkeys(row.slice for cell in (match.a, match.b) if not _failed(cell) for row in cell)) or [""]
    rows_a, rows_b = _by_slice(match.a, names), _by_slice(match.b, names)
    lines: list[Line] = []
    directions: dict[str, str] = {}
    for name in names:
        row_a, row_b = rows_a.get(name), rows_b.get(name)
        known = row_a or row_b
        assert known is not None
        entry = entry_for(gate, metric, name) if gate else None
        better = (entry.direction if entry else None) or known.better
        line = Line(name_a, name_b, metric, name, known.unit, better,
                    row_a.value if row_a else None, row_b.value if row_b else None)  # fmt: skip
        lacking = _lacking(row_a, "A") or _lacking(row_b, "B")
        failed = any(row is not None and row.status != "ok" for row in (row_a, row_b))  # and was measured in no way
        if match.reason and not failed:
            line = replace(line, verdict="not comparable", reason=match.reason)
        elif lacking:
            line = replace(line, verdict="missing", reason=lacking)
        else:
            directions[name] = better
        lines.append(line)
    contrasts = contrast_cells(match.a, match.b, directions, seed=seed) if directions else {}
    return [_with(line, contrasts.get(line.slice)) for line in lines]


def _failed(cell: Cell) -> bool:
    """Whether a cell has no value as a whole."""
    return len(cell) == 1 and cell[0].slice == "" and cell[0].status != "ok"


def _by_slice(cell: Cell, names: Sequence[str]) -> dict[str, Row]:
    """The rows by slice; the row of a cell that failed as a whole stands for each."""
    return dict.fromkeys(names, cell[0]) if _failed(cell) else {row.slice: row for row in cell}


def _lacking(row: Row | None, side: str) -> str:
    """Why a side has no number here; "" when it has one."""
    if row is None:
        return f"no row in {side}"
    if row.status != "ok":
        return f"{row.status.replace('_', ' ')} in {side}: {row.reason}"
    return f"undefined in {side}: {row.reason}" if row.value is None else ""


def _with(line: Line, contrast: Contrast | None) -> Line:
    return line if contrast is None else replace(line, contrast=contrast, reason=contrast.note)


def _absent(gate: Gate, lines: Sequence[Line], name_a: str, name_b: str) -> list[Line]:
    """A missing line for each entry of the gate that neither side holds."""
    mine = [line for line in lines if (line.sae_a, line.sae_b) == (name_a, name_b)]
    return [
        Line(name_a, name_b, entry.metric, entry.slice or "", verdict="missing", reason="no row in A and none in B")
        for entry in gate
        if not any(entry.holds(line.metric, line.slice) for line in mine)
    ]
