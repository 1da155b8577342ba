"""Verdicts and gate of a comparison.

Verdicts. Each metric and slice that both sides hold gets its difference b - a, resampled on the same
units, and a p-value; the p-values of the whole comparison are adjusted by Holm's method. At 5 % it is
"better" or "worse" by the metric's direction ("one": closer to or farther from one), or "differs" for a
metric without direction; otherwise "cannot tell". The interval shown is of that one difference, so it
may leave out zero where many metrics are looked at and the adjusted verdict is still "cannot tell".
"equal" is a difference of nothing, with no noise, up to a relative 1e-6 for rounding. A metric of the
weights alone has no sampling noise: its difference is exact, and every difference decides. Rows measured
in different ways (other corpus, tokens, context, model, hook, version, settings, dtype, seed) are "not
comparable", with the reason; a row that one side lacks, or whose value is missing or undefined there, is
"missing".

Gate. A line is held if the gate names it; without a gate every line that has a direction and a value in
A is held at tolerance 0. With d the change in the bad direction and t the tolerance, a held line is
  a regression   if d > t beyond doubt: the 95 % interval of d lies above t, Holm-adjusted over the held lines;
  a pass         if d <= t beyond doubt: the interval lies below t, or the two are equal;
  cannot tell    if the interval straddles t (always so for an unchanged metric held at tolerance 0
                 that has noise: give a tolerance above the noise to be sure of a pass);
  missing        if it is missing or not comparable.
For direction "none" d is |b - a|. Exact differences are held as they are.

Exit code: 1 with a regression; else 2 if a held line or an SAE of A is missing, or if one cannot be told
and `cannot_tell="fail"`; else 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from saebench.results.comparison import Held, Line, Verdict
from saebench.results.contrast import SURE, same
from saebench.results.gate import Gate, entry_for
from saebench.results.intervals import two_sided
from saebench.results.statistics import holm


def judge(lines: Sequence[Line]) -> list[Line]:
    """The lines with Holm-adjusted p-values and verdicts."""
    tested = [line.contrast.p if line.contrast and not _equal(line) else math.nan for line in lines]
    return [replace(line, p_holm=p, verdict=_verdict(line, p)) for line, p in zip(lines, holm(tested), strict=True)]


def _verdict(line: Line, p: float) -> Verdict:
    contrast = line.contrast
    if contrast is None or contrast.harm is None:
        return "not comparable" if line.method == "refused" else line.verdict
    if _equal(line):
        return "equal"
    if contrast.method != "exact" and not p < SURE:
        return "cannot tell"
    if line.better == "none":
        return "differs"
    return "worse" if contrast.harm.score() > 0 else "better"


def _equal(line: Line) -> bool:
    harm = line.contrast.harm if line.contrast else None
    return harm is not None and same(harm, max(abs(line.a or 0.0), abs(line.b or 0.0)))


def hold(lines: Sequence[Line], gate: Gate | None) -> list[Line]:
    """The lines with what the gate makes of them."""
    tolerances: list[float | None] = []
    for line in lines:
        entry = entry_for(gate, line.metric, line.slice) if gate is not None else None
        default = 0.0 if gate is None and line.better != "none" and line.a is not None else None
        tolerances.append(entry.tolerance if entry else default)
    scores = [
        _beyond(line, tolerance) if tolerance is not None else math.nan
        for line, tolerance in zip(lines, tolerances, strict=True)
    ]
    noisy = [s if line.method != "exact" else math.nan for line, s in zip(lines, scores, strict=True)]
    adjusted = holm([math.nan if math.isnan(s) else two_sided(s) if s > 0 else 1.0 for s in noisy])
    return [
        line if tolerance is None else replace(line, tolerance=tolerance, held=_outcome(line, score, p))
        for line, tolerance, score, p in zip(lines, tolerances, scores, adjusted, strict=True)
    ]


def _beyond(line: Line, tolerance: float) -> float:
    """How far the change for the worse lies above the tolerance, in normal units; NaN where unknown."""
    harm = line.contrast.harm if line.contrast else None
    if harm is None:
        return math.nan
    above = harm.score(tolerance)
    return max(above, -harm.score(-tolerance)) if line.better == "none" else above


def _outcome(line: Line, score: float, p: float) -> Held:
    if line.verdict in ("missing", "not comparable"):
        return "missing"
    if line.verdict == "equal":
        return "pass"
    if math.isnan(score):
        return "cannot tell"
    if line.method == "exact":
        return "regression" if score > 0 else "pass"
    if score > 0 and p < SURE:
        return "regression"
    return "pass" if two_sided(score) < SURE and score < 0 else "cannot tell"
