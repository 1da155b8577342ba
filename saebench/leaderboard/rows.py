"""Rows of results as a board reads them: a tidy frame in a fixed order, and scores."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError, nearest
from saebench.leaderboard.board import Board

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("sae", "model", "hook_out", "metric", "value")
TEXT = {"architecture": "", "role": "sae", "hook_in": "", "corpus": "", "slice": "", "status": "ok", "reason": "",
        "better": "none", "unit": "", "signature": ""}  # fmt: skip
TRUST = ("null", "null_gap", "noise", "reseeds", "mdd", "validity", "validity_p", "validity_n")
NUMBERS = ("d_sae", "version", "value", "stderr", "ci_low", "ci_high", "n", "baseline", "seconds", *TRUST)
WHOLE = ("d_sae", "version", "n", "tokens", "context", "seed", "reseeds", "validity_n")
ORDER = ("model", "hook_out", "corpus", "role", "architecture", "d_sae", "sae", "metric", "slice")
ROLES = ("sae", "null", "baseline")


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One row of the results as a board shows it; a missing number is NaN.

    Attributes:
        measured: Settings, tokens, context, dtype and seed as text, where the rows say them.
        null: What the strongest null scores; this and what follows is as in the frame of results.
    """

    sae: str
    metric: str
    value: float = math.nan
    stderr: float = math.nan
    low: float = math.nan
    high: float = math.nan
    status: str = "ok"
    reason: str = ""
    better: Any = "none"
    unit: str = ""
    version: int | None = None
    slice: str = ""
    role: str = "sae"
    architecture: str = ""
    d_sae: int | None = None
    model: str = ""
    hook_out: str = ""
    corpus: str = ""
    signature: str = ""
    measured: dict[str, str] = field(default_factory=dict)
    null: float = math.nan
    null_gap: float = math.nan
    noise: float = math.nan
    reseeds: float = math.nan
    mdd: float = math.nan
    validity: float = math.nan
    validity_p: float = math.nan
    validity_n: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a number to show."""
        return self.status == "ok" and math.isfinite(self.value)


def tidy(frame: pd.DataFrame, board: Board | None = None) -> pd.DataFrame:
    """The rows in a fixed order with every column present, after the board's filters.

    Re-runs with other seeds are left out: they show in the noise of their column.

    Raises:
        UserError: A column that no board can do without is absent, or no row is left.
    """
    import pandas as pd

    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise UserError(f"The results have no column {missing[0]!r}: give the frame of saebench results.")
    if frame.empty:
        raise UserError("The results hold no rows: run `saebench run` first, or give another folder.")
    if "rerun" in frame.columns:
        shown = [_missing(again) or not again for again in frame["rerun"]]
        frame = frame.loc[shown].drop(columns="rerun")
    columns: dict[str, Any] = {str(name): values_of(frame[name]) for name in frame.columns}
    for name, default in TEXT.items():
        given = columns.get(name, [default] * len(frame))
        columns[name] = [default if _missing(value) else str(value) for value in given]
    for name in NUMBERS:
        given = columns.get(name, [None] * len(frame))
        columns[name] = [math.nan if _missing(value) else float(value) for value in given]
    for name in ("sae", "model", "hook_out", "metric"):
        columns[name] = [str(value) for value in columns[name]]
    _place_unloaded(columns)
    kept = _filtered(columns, board or Board())
    for role in (columns["role"][i] for i in kept):
        if role not in ROLES:
            raise UserError(f"A row has role {role!r}. {nearest(role, ROLES)}")
    keys = {name: columns[name] for name in ORDER}
    keys["role"] = [ROLES.index(role) if role in ROLES else len(ROLES) for role in columns["role"]]
    keys["slice"] = [in_numbers(name) for name in columns["slice"]]
    keys["d_sae"] = [math.inf if math.isnan(width) else width for width in columns["d_sae"]]
    kept.sort(key=list(zip(*keys.values(), strict=True)).__getitem__)
    return pd.DataFrame({name: [values[i] for i in kept] for name, values in columns.items()})


def _place_unloaded(columns: dict[str, list[Any]]) -> None:
    """A SAE that could not be loaded has no hook; where all others of its model have one, it stands with them."""
    hooks: dict[str, set[str]] = {}
    for model, hook in zip(columns["model"], columns["hook_out"], strict=True):
        hooks.setdefault(model, set()).update([hook] if hook else [])
    columns["hook_out"] = [
        next(iter(hooks[model])) if not hook and len(hooks[model]) == 1 else hook
        for model, hook in zip(columns["model"], columns["hook_out"], strict=True)
    ]


@functools.cache
def in_numbers(text: str) -> tuple[Any, ...]:
    """A key that sorts names by the numbers in them.

    >>> sorted(["k=10", "k=2", "all"], key=in_numbers)
    ['all', 'k=2', 'k=10']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((float(part), "") if i % 2 else (-1.0, part) for i, part in enumerate(parts))


def scores_of(records: pd.DataFrame | list[dict[str, Any]]) -> list[Score]:
    """The rows of a tidy frame, or its records, as scores."""
    return [_score(record) for record in (records if isinstance(records, list) else records_of(records))]


def values_of(column: pd.Series) -> list[Any]:
    """The values of a column, faster than one by one."""
    return column.to_numpy(dtype=object).tolist()


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dicts; `to_dict` does the same, many times more slowly where text is held by arrow."""
    names = [str(name) for name in frame.columns]
    columns = [values_of(frame[name]) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _score(row: dict[str, Any]) -> Score:
    version, d_sae = (None if math.isnan(row[name]) else int(row[name]) for name in ("version", "d_sae"))
    names = ("sae", "metric", "value", "stderr", "status", "reason", "better", "unit", "slice", "role", "architecture",
             "model", "hook_out", "corpus", "signature", *TRUST)  # fmt: skip
    measured = {
        name: str(row[name])
        for name in ("settings", "tokens", "context", "dtype", "seed")
        if name in row and not _missing(row[name])
    }
    return Score(low=row["ci_low"], high=row["ci_high"], version=version, d_sae=d_sae, measured=measured,
                 **{name: row[name] for name in names})  # fmt: skip


def _filtered(columns: dict[str, list[Any]], board: Board) -> list[int]:
    """Indices of the rows that pass the board's filters."""
    kept = list(range(len(columns["sae"])))
    for name, wanted in board.filters:
        if wanted is None:
            continue
        passed = [i for i in kept if columns[name][i] in wanted]
        if not passed:
            options = {str(columns[name][i]) for i in kept}
            raise UserError(f"No rows have {name} {wanted[0]!r}. {nearest(str(wanted[0]), options)}")
        kept = passed
    return kept


def _missing(value: Any) -> bool:
    """None, NaN, or pandas' NA."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
