"""Scores arranged into sections that may be compared: one for each model, hook and corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from saebench.errors import UserError, nearest
from saebench.leaderboard.board import DEFAULT_COLUMNS, DEFAULT_PARETO, Board, Column, Pareto
from saebench.leaderboard.rows import ROLES, Score
from saebench.leaderboard.trust import Trust, trust_of
from saebench.metric import Direction

NO_CORPUS = ("", "none", "-")
MOST_SLICES = 6
"""A metric with more slices than this shows its first one where a board names none."""
MEASURED = ("settings", "tokens", "context", "dtype", "seed")


@dataclass(frozen=True)
class Head:
    """A column of a section: a metric's slice, with what the rows say about it."""

    column: Column
    label: str
    better: Direction
    unit: str
    version: int | None
    caution: str = ""
    trust: Trust = Trust("none")

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
    rival: str = ""
    """The corpus that sets it apart from another section of its model and hook."""

    @property
    def stem(self) -> str:
        """What its files are called by: model and hook, and the corpus where another section has those."""
        return " · ".join(part for part in (self.model, self.hook_out, self.rival) if part)

    @property
    def title(self) -> str:
        """Model, hook and corpora in one line."""
        return " · ".join(part for part in (self.model, self.hook_out, ", ".join(self.corpora)) if part)

    def of_role(self, *roles: str) -> list[Line]:
        """The lines of these roles, in the board's order."""
        return [line for line in self.lines if line.role in roles]

    def name_of(self, sae: str, role: str) -> str:
        """What it is called where the section's hook stands in the title: a null or baseline without it."""
        return sae if role == "sae" else sae.removesuffix(f" at {self.hook_out}")


def sections(scores: Sequence[Score], board: Board) -> list[Section]:
    """Arrange scores into comparable sections.

    Scores of one model and hook stand together, whatever data each metric ran on. Only where one metric
    ran on several corpora do these get a section each; metrics on other data, or on none, are in all.

    Raises:
        UserError: The board names a metric, slice or key of order that no row holds.
    """
    columns = board_columns(scores, board)
    _check_sort(columns, board)
    shown = {column.metric for column in columns}
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if score.metric in shown:
            groups.setdefault((score.model, score.hook_out), []).append(score)
    found: list[Section] = []
    for (model, hook), group in sorted(groups.items()):
        rivals = _rival_corpora(group)
        for rival in rivals or [None]:
            mine = [s for s in group if rival is None or s.corpus == rival or s.corpus not in rivals]
            found.append(replace(_section(model, hook, mine, columns, board), rival=rival or ""))
    return found


def board_columns(scores: Sequence[Score], board: Board) -> list[Column]:
    """Columns and axes that the board asks for, a metric without a slice standing for all its slices."""
    have = slices_of(scores)
    if board.columns is None:
        wanted = [column for column in DEFAULT_COLUMNS if column.metric in have]
        wanted = wanted or [Column(metric=name) for name in sorted(have)[:8]]
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
            raise UserError(f"Metric {column.metric!r} has no slice {column.slice!r}. {nearest(column.slice, slices)}")
        chosen = [column.slice] if column.slice is not None else overall(slices)
        for name in chosen:
            full = column.model_copy(update={"slice": name or None})
            columns.setdefault(full.key, full)
    return list(columns.values())


def slices_of(scores: Iterable[Score]) -> dict[str, list[str]]:
    """The slices of each metric in the order of the rows; a row that has failed, and so has none, adds none."""
    found: dict[str, dict[str, None]] = {}
    for score in scores:
        slices = found.setdefault(score.metric, {})
        if score.status == "ok" or score.slice:
            slices[score.slice] = None
    return {metric: list(slices) or [""] for metric, slices in found.items()}


def overall(slices: list[str], most: int = MOST_SLICES) -> list[str]:
    """The slices that stand for a metric: its one value, or all that are no part of another (`k=1`, not `k=1/topic`).

    Of more than `most` of them only the overall value, a plain name, or else the first.
    """
    top = [name for name in slices if "/" not in name] or slices
    if "" in top:
        return [""]
    return top if len(top) <= most else [next((name for name in top if "=" not in name), top[0])]


def figures_of(board: Board) -> Sequence[Pareto]:
    """The board's Pareto figures, the default ones where it names none."""
    return DEFAULT_PARETO if board.pareto is None else board.pareto


def _check_sort(columns: list[Column], board: Board) -> None:
    known = {"sae", "architecture", "d_sae"} | {column.key for column in columns}
    for key in board.sort:
        if key not in known and "sort" in board.model_fields_set:
            raise UserError(f"The board cannot be sorted by {key!r}. {nearest(key, known)}")


def _rival_corpora(scores: Sequence[Score]) -> list[str]:
    """Corpora that share a metric with another corpus, so that they cannot stand in one table."""
    ran_on: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        if score.corpus not in NO_CORPUS:
            ran_on.setdefault((score.metric, score.slice), set()).add(score.corpus)
    return sorted({name for corpora in ran_on.values() if len(corpora) > 1 for name in corpora})


def _section(model: str, hook: str, scores: list[Score], columns: list[Column], board: Board) -> Section:
    heads: list[Head] = []
    by_line: dict[tuple[str, str], dict[str, Score]] = {}
    notes: dict[str, None] = {}
    measured: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        measured.setdefault((score.metric, score.slice), []).append(score)
    for column in columns:
        mine = _of_column(column, measured)
        if not mine:
            continue
        head = _head(column, mine)
        heads.append(head)
        again: dict[str, None] = {}
        for score in mine:
            cells = by_line.setdefault((score.role, score.sae), {})
            if head.key in cells and cells[head.key].known:
                again[score.sae] = None
            cells[head.key] = _comparable(score, head)
        if again:
            notes[f"{', '.join(again)}: several rows for {head.key}; the last is shown."] = None
        notes |= dict.fromkeys(_measured_differently(head, mine))
    lines = [_line(role, sae, cells) for (role, sae), cells in by_line.items()]
    corpora = tuple(sorted({score.corpus for score in scores} - set(NO_CORPUS)))
    return Section(model, hook, corpora, tuple(heads), tuple(_sorted(lines, heads, board)), tuple(notes))


def _of_column(column: Column, measured: dict[tuple[str, str], list[Score]]) -> list[Score]:
    """The scores of a column; for a SAE on which the metric has failed, that row stands in each of its slices."""
    mine = measured.get((column.metric, column.slice or ""), [])
    if not column.slice:
        return mine
    there = {(score.role, score.sae) for score in mine}
    failed = [score for score in measured.get((column.metric, ""), []) if score.status != "ok"]
    return mine + [score for score in failed if mine and (score.role, score.sae) not in there]


def _line(role: str, sae: str, cells: dict[str, Score]) -> Line:
    first = next(iter(cells.values()))
    return Line(sae, first.architecture, first.d_sae, role, cells)


def _head(column: Column, scores: list[Score]) -> Head:
    """The column as its newest rows describe it."""
    newest = max((s.version for s in scores if s.version is not None), default=None)
    first = next(s for s in scores if s.version == newest)
    if first.better not in get_args(Direction):
        problem = f"Metric {column.metric!r} has direction {first.better!r}."
        raise UserError(f"{problem} {nearest(first.better, get_args(Direction))}")
    label = column.label or in_words(column.metric, column.slice)
    trust = trust_of(first.better, [s for s in scores if s.version == newest])
    return Head(column, label, first.better, first.unit, newest, _caution(column.metric), trust)


def _caution(metric: str) -> str:
    """What the metric says to whoever trusts its column; "" where it is not installed here."""
    from saebench import registry

    known = registry.metrics().get(metric)
    return known.caution if known else ""


def _comparable(score: Score, head: Head) -> Score:
    """The score, without its number where it was made by an older version of the metric."""
    if score.status == "ok" and score.version != head.version:
        old = "unknown" if score.version is None else score.version
        reason = f"scored with version {old} of the metric, the column is version {head.version}"
        return replace(score, status="outdated", reason=reason)
    if score.status == "ok" and not score.known and not score.reason:
        return replace(score, reason="the value is undefined")
    return score if score.better == head.better else replace(score, better=head.better)


def _measured_differently(head: Head, scores: list[Score]) -> list[str]:
    """A note for each part of the measurement that is not the same down the column."""
    notes: list[str] = []
    for name in MEASURED:
        values = {s.measured[name] for s in scores if s.role == "sae" and s.known and s.measured.get(name)}
        if len(values) > 1:
            notes.append(f"{head.key} was not measured alike for all SAEs: {name} {', '.join(sorted(values))}.")
    return notes


def _sorted(lines: list[Line], heads: list[Head], board: Board) -> list[Line]:
    """Lines by role, then by the board's keys: metrics best first, unknown values last."""
    directions = {head.key: head.better for head in heads}

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
