"""How far to trust each column of a board: null gap, reseed noise, smallest difference that shows, validity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median, stdev
from typing import TYPE_CHECKING, Any

from saebench.leaderboard.rows import Score
from saebench.results.reruns import DETECTABLE

if TYPE_CHECKING:
    import pandas as pd

    from saebench.leaderboard.sections import Head, Section

MARK = "†"
"""Stands behind the header of a column that cannot be trusted here."""
CHANCE = 0.05
"""p-value above which agreement with the known order may be luck."""


@dataclass(frozen=True)
class Trust:
    """What is known of a column; a number that is not known is NaN.

    Attributes:
        null: What the strongest null scores.
        gaps: Null gaps of the SAEs, from low to high; none where they are undefined.
        spread: Standard deviation over the board's SAEs.
        noise: Standard deviation over seeds on a fixed SAE.
        reseeds: Seeds that `noise` is taken over.
        mdd: Smallest difference that shows through `noise`.
        mdd_stderr: The same through the standard error, for SAEs on different units; on the same units less shows.
        validity: Agreement with the known order, from -1 to 1.
        p: Its permutation p-value.
        n: SAEs of known order.
    """

    better: str
    null: float = math.nan
    gaps: tuple[float, ...] = ()
    spread: float = math.nan
    noise: float = math.nan
    reseeds: int = 0
    mdd: float = math.nan
    mdd_stderr: float = math.nan
    validity: float = math.nan
    p: float = math.nan
    n: int = 0

    @property
    def known(self) -> bool:
        """Whether anything is known but the spread and the standard errors."""
        return bool(self.gaps) or math.isfinite(self.noise) or math.isfinite(self.validity)

    @property
    def drowned(self) -> bool:
        """Whether the reseed noise is as large as what the SAEs differ by."""
        return self.noise > 0 and self.noise >= self.spread

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the column cannot tell here, and why; empty where nothing says so."""
        found: list[str] = []
        if self.drowned:
            found.append(
                f"cannot tell these SAEs apart: with the seed alone one SAE moves by {self.noise:.2g} (standard "
                f"deviation, {self.reseeds} seeds), the SAEs differ by {self.spread:.2g}"
            )
        if self.better != "none" and math.isfinite(self.null) and not any(gap > 0 for gap in self.gaps):
            found.append(f"cannot tell these SAEs from the null, which scores {self.null:.3g}: none is better")
        return tuple(found)

    @property
    def says(self) -> str:
        """What the column can and cannot tell, in one sentence."""
        if self.better == "none":
            return "describes: it has no better and worse"
        if self.doubts:
            return "; ".join(self.doubts)
        parts: list[str] = []
        least = max((x for x in (self.mdd, self.mdd_stderr) if math.isfinite(x)), default=math.nan)
        if math.isfinite(least):
            parts.append(f"tells differences above {least:.2g}" if least > 0 else "tells any difference")
        if self.noise == 0:
            parts.append("the seed decides nothing")
        if math.isfinite(self.validity):
            parts.append(self._agreement())
        return "; ".join(parts)

    def _agreement(self) -> str:
        if self.p > CHANCE:
            return "whether it sees the known order cannot be told"
        return "sees the known order" if self.validity > 0 else "reverses the known order"


def trust_of(better: str, scores: list[Score]) -> Trust:
    """What the scores of one column come to."""
    saes = [score for score in scores if score.role == "sae" and score.known]
    values = [score.value for score in saes]
    errors = [score.stderr for score in saes if math.isfinite(score.stderr)]
    error = math.sqrt(math.fsum(e * e for e in errors) / len(errors)) if errors else math.nan
    nulls = [score.null for score in saes if math.isfinite(score.null)]
    reseeds, n = (max((int(x) for x in found if math.isfinite(x)), default=0)
                  for found in ([s.reseeds for s in saes], [s.validity_n for s in saes]))  # fmt: skip
    return Trust(
        better,
        null=median(nulls) if nulls else math.nan,
        gaps=tuple(sorted(score.null_gap for score in saes if math.isfinite(score.null_gap))),
        spread=stdev(values) if len(values) > 1 else math.nan,
        noise=_first(score.noise for score in saes),
        reseeds=reseeds,
        mdd=_first(score.mdd for score in saes),
        mdd_stderr=DETECTABLE * error,
        validity=_first(score.validity for score in saes),
        p=_first(score.validity_p for score in saes),
        n=n,
    )


HEADER = ("column", "null", "null gap", "spread", "noise", "mdd", "mdd of ±", "validity", "what it can tell")


def trust_rows(section: Section) -> list[list[str]]:
    """A row of plain text below `HEADER` for each column; none where nothing is known of any."""
    return [trust_cells(head) for head in section.heads] if any(head.trust.known for head in section.heads) else []


def trust_cells(head: Head) -> list[str]:
    """What is known of one column as plain text, in the order of `HEADER`."""
    trust, gaps = head.trust, head.trust.gaps
    gap = f"{median(gaps):.2f} ({gaps[0]:.2f} to {gaps[-1]:.2f})" if gaps else ""
    agreement = f"{trust.validity:+.2f} (p {trust.p:.2g}, n {trust.n})" if math.isfinite(trust.validity) else ""
    numbers = (trust.spread, trust.noise, trust.mdd, trust.mdd_stderr)
    label = f"{head.label} {MARK}" if trust.doubts else head.label
    return [label, _text(trust.null), gap, *map(_text, numbers), agreement, trust.says]


def trust_frame(sections: list[Section]) -> pd.DataFrame:
    """One row a column of each section; what is not known is empty."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for section in sections:
        for head in section.heads:
            trust = head.trust
            low, middle, high = (trust.gaps[0], median(trust.gaps), trust.gaps[-1]) if trust.gaps else (math.nan,) * 3
            rows.append({
                "model": section.model, "hook_out": section.hook_out, "corpus": "; ".join(section.corpora),
                "column": head.key, "better": head.better, "null": trust.null, "null_gap_low": low,
                "null_gap_median": middle, "null_gap_high": high, "spread": trust.spread, "noise": trust.noise,
                "reseeds": trust.reseeds or None, "mdd": trust.mdd, "mdd_stderr": trust.mdd_stderr,
                "validity": trust.validity, "validity_p": trust.p, "validity_n": trust.n or None, "says": trust.says,
            })  # fmt: skip
    return pd.DataFrame(rows).astype({"reseeds": "Int64", "validity_n": "Int64"})


READING = (
    "Null gap: 0 is what the strongest null scores, 1 the metric's best value or else the best SAE; median of the "
    "SAEs, lowest to highest. Spread: standard deviation over the SAEs. Noise: standard deviation over seeds on a "
    "fixed SAE; mdd, the smallest difference of two SAEs that shows through it (1.96 √2 noise); mdd of ±, the same "
    "from the standard error, for SAEs on different units: on the same units a paired test sees less. Validity: "
    "agreement with the known order of the SAEs, from -1 to 1."
)


def _first(numbers: Any) -> float:
    """The first number that is known: what belongs to a whole column is the same in each of its rows."""
    return next((number for number in numbers if math.isfinite(number)), math.nan)


def _text(number: float) -> str:
    return f"{number:.2g}" if math.isfinite(number) else ""
