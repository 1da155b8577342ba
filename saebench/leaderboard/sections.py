"""From the tidy frame of results to sections of comparable scores: one for each model, hook and corpus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from saebench.errors import UserError, nearest
from saebench.leaderboard.board import DEFAULT_COLUMNS, DEFAULT_PARETO, Board, Column
from saebench.metric import Direction

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("sae", "model", "hook_out", "metric", "value")
TEXT = {"architecture": "", "role": "sae", "hook_in": "", "corpus": "", "slice": "", "status": "ok", "reason": "",
        "better": "none", "unit": "", "signature": ""}  # fmt: skip
NUMBERS = ("d_sae", "version", "stderr", "ci_low", "ci_high", "n", "null", "baseline", "seconds")
ORDER = ["model", "hook_out", "corpus", "role", "architecture", "d_sae", "sae", "metric", "slice"]
ROLES = ("sae", "null", "baseline")
NO_CORPUS = ("", "none", "-")


@dataclass(frozen=True)
class Score:
    """One row of the results as a board shows it; a missing number is NaN."""

    sae: str
    value: float
    stderr: float
    low: float
    high: float
    status: str
    reason: str
    better: Direction
    signature: str
    slice: str
    index: int

    @property
    def known(self) -> bool:
        """Whether there is a number to show."""
        return self.status == "ok" and math.isfinite(self.value)


@dataclass(frozen=True)
class Head:
    """A column of a section: a metric's slice, with what the rows say about it."""

    column: Column
    label: str
    better: Direction
    unit: str
    version: int | None

    @property
    def key(self) -> str:
        """Name and slice in one string, `metric[slice]`."""
        return self.column.key


@dataclass(frozen=True)
class Line:
    """A SAE, null or baseline with its scores by column key."""

    sae: str
    architecture: str
    d_sae: int | None
    role: str
    scores: dict[str, Score]


@dataclass(frozen=True)
class Section:
    """Scores that may be compared: one model and hook, and the same texts."""

    model: str
    hook_out: str
    corpora: tuple[str, ...]
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Model, hook and corpora in one line."""
        return " · ".join(part for part in (self.model, self.hook_out, ", ".join(self.corpora)) if part)

    def head(self, key: str) -> Head | None:
        """The column of that key, if the section has it."""
        return next((head for head in self.heads if head.key == key), None)

    def of_role(self, *roles: str) -> list[Line]:
        """The lines of these roles, in the board's order."""
        return [line for line in self.lines if line.role in roles]


def tidy(frame: pd.DataFrame, board: Board | None = None) -> pd.DataFrame:
    """The rows in a fixed order with every column present, after the board's filters.

    Raises:
        UserError: A column that no board can do without is absent, or no row is left.
    """
    import pandas as pd

    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise UserError(f"The results have no column {missing[0]!r}: give the frame of saebench results.")
    frame = frame.copy()
    for name, default in TEXT.items():
        frame[name] = frame[name].where(frame[name].notna(), default).astype(str) if name in frame else default
    for name in (*NUMBERS, "value"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce") if name in frame else math.nan
    for name in ("sae", "model", "hook_out", "metric"):
        frame[name] = frame[name].astype(str)
    if frame.empty:
        raise UserError("The results hold no rows: run `saebench run` first, or give another folder.")
    for name, wanted in (board.filters if board else Board().filters):
        if wanted is not None:
            kept = frame[frame[name].isin(list(wanted))]
            if kept.empty:
                options = sorted({str(value) for value in frame[name]})
                raise UserError(f"No rows have {name} {wanted[0]!r}. {nearest(str(wanted[0]), options)}")
            frame = kept
    rank = frame["role"].map({role: i for i, role in enumerate(ROLES)})
    if rank.isna().any():
        wrong = frame["role"][rank.isna()].iloc[0]
        raise UserError(f"A row has role {wrong!r}. {nearest(str(wrong), ROLES)}")
    frame = frame.assign(_role=rank).sort_values(
        [name if name != "role" else "_role" for name in ORDER], kind="stable", na_position="last"
    )
    return frame.drop(columns="_role").reset_index(drop=True)


def sections(frame: pd.DataFrame, board: Board) -> list[Section]:
    """Split tidy rows into comparable sections.

    Rows of one model and hook stand together, whatever data each metric ran on. Only where one metric
    ran on several corpora do these get a section each; metrics on other data, or on none, are in all.

    Raises:
        UserError: The board names a metric or slice that no row holds.
    """
    columns = board_columns(frame, board)
    shown = frame[frame["metric"].isin({column.metric for column in columns})]
    found: list[Section] = []
    for (model, hook), group in shown.groupby(["model", "hook_out"], sort=True):
        rivals = _rival_corpora(group)
        for rival in rivals or [None]:
            mine = group if rival is None else group[(group["corpus"] == rival) | ~group["corpus"].isin(rivals)]
            corpora = tuple(sorted(set(mine["corpus"]) - set(NO_CORPUS)))
            found.append(_section(str(model), str(hook), corpora, mine, columns, board))
    return found


def board_columns(frame: pd.DataFrame, board: Board) -> list[Column]:
    """Columns and axes that the board asks for, a metric without a slice standing for all its slices."""
    have = {name: sorted(set(group)) for name, group in frame.groupby("metric")["slice"]}
    if board.columns is None:
        wanted = [column for column in DEFAULT_COLUMNS if column.metric in have]
        wanted = wanted or [Column(metric=name) for name in list(have)[:8]]
    else:
        wanted = list(board.columns)
    axes = [axis for figure in figures_of(board) for axis in (figure.x, figure.y)]
    wanted += [axis for axis in axes if board.pareto is not None or axis.metric in have]
    columns: dict[str, Column] = {}
    for column in wanted:
        if column.metric not in have:
            raise UserError(f"No row of the results holds metric {column.metric!r}. {nearest(column.metric, have)}")
        slices = have[column.metric]
        if column.slice is not None and column.slice not in slices:
            raise UserError(
                f"Metric {column.metric!r} has no slice {column.slice!r}. {nearest(column.slice, slices)}"
            )
        chosen = [column.slice] if column.slice is not None else [""] if "" in slices else slices
        for name in chosen:
            full = column.model_copy(update={"slice": name or None})
            columns.setdefault(full.key, full)
    return list(columns.values())


def figures_of(board: Board) -> Sequence[Any]:
    """The board's Pareto figures, the default ones where it names none."""
    return DEFAULT_PARETO if board.pareto is None else board.pareto


def _rival_corpora(group: pd.DataFrame) -> list[str]:
    """Corpora that share a metric with another corpus, so that they cannot stand in one table."""
    named = group[~group["corpus"].isin(NO_CORPUS)]
    rivals: set[str] = set()
    for _, corpora in named.groupby(["metric", "slice"])["corpus"]:
        if corpora.nunique() > 1:
            rivals.update(corpora)
    return sorted(rivals)


def _section(
    model: str, hook: str, corpora: tuple[str, ...], rows: pd.DataFrame, columns: list[Column], board: Board
) -> Section:
    heads: list[Head] = []
    scores: dict[tuple[str, str], dict[str, Score]] = {}
    about: dict[tuple[str, str], tuple[str, int | None]] = {}
    notes: list[str] = []
    for column in columns:
        mine = rows[(rows["metric"] == column.metric) & (rows["slice"] == (column.slice or ""))]
        if mine.empty:
            continue
        newest = mine["version"].max()
        heads.append(_head(column, mine, newest))
        for index, row in mine.iterrows():
            who = (row["role"], row["sae"])
            about.setdefault(who, (row["architecture"], None if row["d_sae"] != row["d_sae"] else int(row["d_sae"])))
            score = _score(row, int(str(index)), newest)
            if column.key in scores.setdefault(who, {}):
                notes.append(f"{row['sae']} has several rows for {column.key}; the last is shown.")
            scores[who][column.key] = score
        notes += _measured_differently(column, mine)
    lines = [Line(who[1], *about[who], who[0], by_key) for who, by_key in scores.items()]
    return Section(model, hook, corpora, tuple(heads), tuple(_sorted(lines, heads, board)), tuple(dict.fromkeys(notes)))


def _measured_differently(column: Column, rows: pd.DataFrame) -> list[str]:
    """A note for each part of the measurement that is not the same down the column."""
    notes: list[str] = []
    for name in ("settings", "tokens", "context", "dtype", "seed"):
        if name in rows:
            values = list(dict.fromkeys(str(value) for value in rows[name][rows["role"] == "sae"].dropna()))
            if len(values) > 1:
                notes.append(f"{column.key} was not measured alike for all SAEs: {name} {', '.join(sorted(values))}.")
    return notes


def _head(column: Column, rows: pd.DataFrame, newest: float) -> Head:
    current = rows[rows["version"] == newest] if newest == newest else rows
    better = current["better"].iloc[0]
    if better not in get_args(Direction):
        raise UserError(f"Metric {column.metric!r} has direction {better!r}. {nearest(better, get_args(Direction))}")
    version = None if newest != newest else int(newest)
    return Head(column, column.label or in_words(column.metric, column.slice), better, current["unit"].iloc[0], version)


def _score(row: Any, index: int, newest: float) -> Score:
    status, reason = row["status"], row["reason"]
    if status == "ok" and newest == newest and row["version"] != newest:
        old = "unknown" if row["version"] != row["version"] else int(row["version"])
        status, reason = "outdated", f"scored with version {old} of the metric, the column is version {int(newest)}"
    if status == "ok" and not math.isfinite(row["value"]):
        reason = reason or "the value is undefined"
    return Score(row["sae"], float(row["value"]), float(row["stderr"]), float(row["ci_low"]), float(row["ci_high"]),
                 status, reason, row["better"], row["signature"], row["slice"], index)  # fmt: skip


def _sorted(lines: list[Line], heads: list[Head], board: Board) -> list[Line]:
    """Lines by role, then by the board's keys: metrics best first, unknown values last."""
    directions = {head.key: head.better for head in heads}
    known = {"sae", "architecture", "d_sae"} | set(directions)
    for key in board.sort:
        if key not in known and "sort" in board.model_fields_set:
            raise UserError(f"The board cannot be sorted by {key!r}. {nearest(key, known)}")

    def place(line: Line) -> tuple[Any, ...]:
        keys: list[Any] = [ROLES.index(line.role)]
        for key in board.sort:
            if key in ("sae", "architecture"):
                keys.append(getattr(line, key))
            elif key == "d_sae":
                keys.append(math.inf if line.d_sae is None else line.d_sae)
            elif key in directions:
                score = line.scores.get(key)
                turn = {"higher": lambda v: -v, "one": lambda v: abs(v - 1)}.get(directions[key], lambda v: v)
                keys.append(turn(score.value) if score and score.known else math.inf)
        return (*keys, line.sae)

    return sorted(lines, key=place)


SHORT = {"l0": "L0", "l1": "L1", "l2": "L2", "ce": "CE", "kl": "KL", "mse": "MSE", "nmse": "NMSE", "fvu": "FVU",
         "scr": "SCR", "tpp": "TPP", "ravel": "RAVEL", "auroc": "AUROC", "f1": "F1", "mcc": "MCC"}  # fmt: skip


def in_words(metric: str, slice_: str | None = None) -> str:
    """A metric's name with spaces for underscores and the field's abbreviations in capitals.

    >>> in_words("ce_delta")
    'CE delta'
    >>> in_words("sparse_probing", "k=1")
    'sparse probing, k=1'
    """
    words = " ".join(SHORT.get(word, word) for word in metric.split("_"))
    return f"{words}, {slice_}" if slice_ else words
