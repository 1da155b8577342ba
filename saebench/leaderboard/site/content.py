"""What the site shows, gathered from the rows: SAEs with their records, columns, and where each SAE stands."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from saebench.leaderboard.board import Board, Column
from saebench.leaderboard.rows import WHOLE, Score, records_of, scores_of, values_of
from saebench.leaderboard.sections import Head, Line, Section, board_columns, overall, sections, slices_of
from saebench.leaderboard.significance import Pairing
from saebench.leaderboard.site.names import page_names
from saebench.leaderboard.site.standing import Standing, standings

if TYPE_CHECKING:
    import pandas as pd

    from saebench.results.row import Row


MOST_SLICES = 10
"""A metric with more slices than this at the top shows one in the table, where columns are picked; its page has all."""
MOST_PAIRED = 100
"""SAEs of a column that are tested in pairs on their sums; more would take minutes."""

Record = Mapping[str, Any]
"""One row of the tidy frame by column name."""
Who = tuple[str, str, str, str]
"""Model, hook, role and name of a SAE."""


@dataclass(frozen=True)
class Entry:
    """One line of the table: a SAE, null or baseline in one section.

    Attributes:
        section: Index of its section.
        page: File name of its page without ending; sections that differ in the corpus alone share it.
    """

    section: int
    line: Line
    who: Who
    page: str


@dataclass(frozen=True)
class Site:
    """All that the pages and the data files are made of.

    Attributes:
        board: Its definition.
        frame: The tidy rows.
        sections: Comparable scores with every column that the rows have.
        shown: Keys of the columns that the board names.
        entries: The lines of the table, in order.
        records: The rows of each SAE.
        cells: The row behind each score, by `cell_key`.
        standing: Where each SAE stands, by section, column key and SAE.
        metric_pages: File name of each metric's page without ending.
        rows: The results' own rows, where they are known, for what a frame does not hold.
    """

    board: Board
    frame: pd.DataFrame
    sections: list[Section]
    shown: tuple[str, ...]
    entries: list[Entry]
    records: dict[Who, list[Record]]
    cells: dict[tuple[str, ...], Record]
    standing: dict[tuple[int, str], dict[str, Standing]]
    metric_pages: dict[str, str]
    rows: dict[Who, list[Row]] = field(default_factory=dict)

    @functools.cached_property
    def heads(self) -> dict[str, Head]:
        """The columns of all sections by key, in the board's order."""
        found: dict[str, Head] = {}
        for section in self.sections:
            for head in section.heads:
                found.setdefault(head.key, head)
        order = {key: i for i, key in enumerate(self.shown)}
        return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))

    @functools.cached_property
    def plain(self) -> dict[str, list[Any]]:
        """The cells of the frame by column as CSV and JSON have them: None for what is missing or not finite."""
        return {str(name): _plain(self.frame[name], name in WHOLE) for name in self.frame.columns}

    def record_of(self, score: Score) -> Record:
        """The row behind a score."""
        return self.cells[cell_key(score.model, score.hook_out, score.role, score.sae, score.corpus,
                                   score.metric, score.slice)]  # fmt: skip


def _plain(column: pd.Series, whole: bool) -> list[Any]:
    """The cells of a column; whole numbers as such."""
    missing = (column.isna() | column.isin([math.inf, -math.inf])).tolist()
    cells = zip(values_of(column), missing, strict=True)
    return [None if gone else int(value) if whole else value for value, gone in cells]


def gather(frame: pd.DataFrame, board: Board, pairing: Pairing | None, rows: Iterable[Row] = ()) -> Site:
    """Arrange tidy rows for the site.

    Paired tests decide the columns that the board names; the others, of which there may be many, are decided from
    the standard errors.
    """
    every = records_of(frame)
    scores = scores_of(every)
    shown = tuple(column.key for column in board_columns(scores, board.model_copy(update={"pareto": ()})))
    everything = board.model_copy(update={"columns": _all_columns(scores, board), "pareto": ()})
    found = sections(scores, everything)
    records: dict[Who, list[Record]] = {}
    cells: dict[tuple[str, ...], Record] = {}
    for record in every:
        who = (record["model"], record["hook_out"], record["role"], record["sae"])
        records.setdefault(who, []).append(record)
        cells[cell_key(*who, record["corpus"], record["metric"], record["slice"])] = record
    own: dict[Who, list[Row]] = {}
    for row in rows:
        own.setdefault((row.model, row.hook_out, row.role, row.sae), []).append(row)
    metrics = sorted({score.metric for score in scores})
    pages = dict(zip(metrics, page_names(metrics), strict=True))
    with_sums = any(row.sums for group in own.values() for row in group)
    standing = _standing(found, board.level, pairing if with_sums else None, set(shown))
    return Site(board, frame, found, shown, _entries(found), records, cells, standing, pages, own)


def cell_key(model: str, hook: str, role: str, sae: str, corpus: str, metric: str, slice_: str) -> tuple[str, ...]:
    """What tells a row of the board from every other."""
    return model, hook, role, sae, corpus, metric, slice_


def _all_columns(scores: list[Score], board: Board) -> tuple[Column, ...]:
    """The board's columns, then every other metric's slices of the top level, or of many the first."""
    named = board_columns(scores, board.model_copy(update={"pareto": ()}))
    slices = slices_of(scores)
    found = {column.key: column for column in named}
    for metric in sorted(slices):
        for name in overall(slices[metric], MOST_SLICES):
            column = Column(metric=metric, slice=name or None)
            found.setdefault(column.key, column)
    return tuple(found.values())


def _entries(found: list[Section]) -> list[Entry]:
    """The lines of all sections, each SAE with the name of its page."""
    keys = [
        (index, line, (section.model, section.hook_out, line.role, line.sae))
        for index, section in enumerate(found)
        for line in section.lines
    ]
    people = list(dict.fromkeys(who for _, _, who in keys))
    pages = dict(zip(people, page_names(who[-1] for who in people), strict=True))
    return [Entry(index, line, who, pages[who]) for index, line, who in keys]


def _standing(
    found: list[Section], level: float, pairing: Pairing | None, shown: set[str]
) -> dict[tuple[int, str], dict[str, Standing]]:
    places: dict[tuple[int, str], dict[str, Standing]] = {}
    for index, section in enumerate(found):
        saes = section.of_role("sae")
        for head in section.heads:
            pairs = [(line.sae, line.scores[head.key]) for line in saes if head.key in line.scores]
            pairs = [(name, score) for name, score in pairs if score.known]
            if head.better == "none" or head.trust.drowned or len(pairs) < 2:
                continue
            paired = pairing if head.key in shown and len(pairs) <= MOST_PAIRED else None
            decided = standings([score for _, score in pairs], level, paired)
            places[index, head.key] = {name: place for (name, _), place in zip(pairs, decided, strict=True)}
    return places
