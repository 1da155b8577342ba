"""A comparison of two sets of results: its lines, and what they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from saebench.results.contrast import Contrast, Drawn

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["better", "worse", "differs", "equal", "cannot tell", "not comparable", "missing"]
Held = Literal["", "pass", "regression", "cannot tell", "missing"]


@dataclass(frozen=True)
class Line:
    """One metric and slice of a comparison: the fields of `Comparison.frame`."""

    sae_a: str
    sae_b: str
    metric: str
    slice: str
    unit: str = ""
    better: str = "none"
    a: float | None = None
    b: float | None = None
    contrast: Contrast | None = field(default=None, repr=False, compare=False)
    p_holm: float = math.nan
    verdict: Verdict = "cannot tell"
    reason: str = ""
    tolerance: float | None = None
    held: Held = ""

    @property
    def drawn(self) -> Drawn | None:
        """The difference b - a with its uncertainty."""
        return self.contrast.difference if self.contrast else None

    def record(self) -> dict[str, Any]:
        """The line as a flat record."""
        drawn = self.drawn
        noisy = drawn is not None and self.method != "exact"
        low, high = drawn.interval() if drawn is not None and noisy else (None, None)
        known = self.a is not None and self.b is not None and self.verdict not in ("missing", "not comparable")
        return {
            "sae_a": self.sae_a, "sae_b": self.sae_b, "metric": self.metric, "slice": self.slice,
            "unit": self.unit, "better": self.better, "a": self.a, "b": self.b,
            "difference": self.b - self.a if known and self.a is not None and self.b is not None else None,
            "stderr": drawn.stderr if drawn is not None and noisy else None, "ci_low": low, "ci_high": high,
            "p": self.contrast.p if self.contrast else None, "p_holm": self.p_holm,
            "verdict": self.verdict, "method": self.method, "reason": self.reason,
            "tolerance": self.tolerance, "held": self.held,
        }  # fmt: skip

    @property
    def method(self) -> str:
        """How the two sides were held together (see `Contrast`)."""
        return self.contrast.method if self.contrast else ""


class Baseline(NamedTuple):
    """What the rows of A were made by, and when the oldest of them was."""

    created: str
    version: str = ""
    commit: str = ""


@dataclass(frozen=True, repr=False)
class Comparison:
    """The lines of a comparison, with what they come to.

    Attributes:
        lines: One for each pair of SAEs, metric and slice.
        only_a: SAEs that only the first results hold.
        only_b: SAEs that only the second results hold.
        gated: Whether a gate was given.
        cannot_tell: Whether held lines that are too noisy pass or fail.
        baseline: Where A comes from.
    """

    lines: tuple[Line, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    gated: bool = False
    cannot_tell: Literal["pass", "fail"] = "pass"
    baseline: Baseline | None = None

    @property
    def exit_code(self) -> int:
        """0: no regression; 1: regression; 2: rows missing, or too noisy to tell and told to fail."""
        held = {line.held for line in self.lines}
        if "regression" in held:
            return 1
        unsure = "cannot tell" in held and self.cannot_tell == "fail"
        return 2 if "missing" in held or unsure or self.only_a else 0

    def where(self, verdict: str) -> tuple[Line, ...]:
        """The lines of one verdict."""
        return tuple(line for line in self.lines if line.verdict == verdict)

    def held(self, outcome: str) -> tuple[Line, ...]:
        """The held lines of one outcome."""
        return tuple(line for line in self.lines if line.held == outcome)

    def frame(self) -> pd.DataFrame:
        """Tidy pandas frame, one row a line."""
        import pandas as pd

        columns = list(Line("", "", "", "").record())
        table = pd.DataFrame.from_records([line.record() for line in self.lines], columns=columns)
        numbers = ("a", "b", "difference", "stderr", "ci_low", "ci_high", "p", "p_holm", "tolerance")
        return table.astype(dict.fromkeys(numbers, "float64"))

    def text(self) -> str:
        """Plain table for a terminal."""
        from saebench.results.report import text

        return text(self)

    def markdown(self) -> str:
        """Markdown for a comment on a pull request, the verdict on top."""
        from saebench.results.comment import markdown

        return markdown(self)

    def junit(self) -> str:
        """JUnit XML, one test case a held line."""
        from saebench.results.junit import junit

        return junit(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        from saebench.results.report import summary

        return f"<Comparison: {len(self)} lines, {summary(self)}>"

    def __len__(self) -> int:
        return len(self.lines)

    def _repr_html_(self) -> str:
        from saebench.results.report import comparison_html

        return comparison_html(self)
