"""A section of a board as rows of marked cells, and as tidy and wide frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from saebench.leaderboard.board import Board
from saebench.leaderboard.numbers import Text, column_text
from saebench.leaderboard.sections import Head, Line, Section
from saebench.leaderboard.significance import Pairing, best_group, differences, letters

if TYPE_CHECKING:
    import pandas as pd

ARROWS = {"higher": "↑", "lower": "↓", "one": "→1", "none": ""}


@dataclass(frozen=True)
class Cell:
    """A score as it is printed.

    Attributes:
        text: The number, None for a dash.
        best: Whether no SAE of the column is significantly better.
        group: Letters of the significance groups, "" where there are none.
        note: Number of the footnote that explains a dash, None where there is none.
    """

    text: Text | None
    best: bool = False
    group: str = ""
    note: int | None = None


@dataclass(frozen=True)
class Table:
    """A section ready to print: cells `[lines][heads]` and the reasons of the footnotes, from 1."""

    section: Section
    heads: tuple[Head, ...]
    cells: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...]

    @property
    def widths(self) -> set[int | None]:
        """The sizes d_sae of the SAEs."""
        return {line.d_sae for line in self.section.of_role("sae") or self.section.lines}


def make_table(
    section: Section, board: Board, pairing: Pairing | None = None, pad: tuple[str, str] = ("", "")
) -> Table:
    """Mark and format the scores of a section.

    Args:
        section: Comparable scores.
        board: What to show.
        pairing: Standard errors of paired differences, where sums are stored.
        pad: Blanks for lining up, see `column_text`.
    """
    shown = [head for head in section.heads if _asked_for(head, board)]
    reasons: dict[str, int] = {}
    columns: list[list[Cell]] = []
    for head in shown:
        scores = [line.scores.get(head.key) for line in section.lines]
        texts = column_text(scores, board.error, head.column.digits, pad)
        groups = column_groups(section, head, board.level, pairing)
        cells: list[Cell] = []
        for line, score, text in zip(section.lines, scores, texts, strict=True):
            best, group = groups.get(line.sae, (False, "")) if line.role == "sae" else (False, "")
            note = None
            if text is None and score is not None and score.reason:
                note = reasons.setdefault(score.reason, len(reasons) + 1)
            cells.append(Cell(text, best, group, note))
        columns.append(cells)
    rows = tuple(tuple(column[i] for column in columns) for i in range(len(section.lines)))
    return Table(section, tuple(shown), rows, tuple(reasons))


def column_groups(
    section: Section, head: Head, level: float, pairing: Pairing | None = None
) -> dict[str, tuple[bool, str]]:
    """For each SAE of a column, whether it is in the best group, and its group letters.

    Empty where the metric has no direction, where its reseed noise drowns what the SAEs differ by, or where
    fewer than two SAEs have a number.
    """
    pairs = [(line.sae, line.scores[head.key]) for line in section.of_role("sae") if head.key in line.scores]
    pairs = [(name, score) for name, score in pairs if score.known]
    if head.better == "none" or head.trust.drowned or len(pairs) < 2:
        return {}
    scores = [score for _, score in pairs]
    apart = differences(scores, level, pairing)
    best = best_group(scores, apart)
    marks = letters(scores, apart)
    return {name: (i in best, marks[i]) for i, (name, _) in enumerate(pairs)}


def wide(sections: list[Section], board: Board, pairing: Pairing | None = None) -> pd.DataFrame:
    """One row a SAE; for each column its value, and `_stderr` and `_group` beside it. Missing is empty."""
    import pandas as pd

    rows: list[dict[str, object]] = []
    for section in sections:
        heads = [head for head in section.heads if _asked_for(head, board)]
        groups = {head.key: column_groups(section, head, board.level, pairing) for head in heads}
        rows += [_wide_row(section, line, heads, groups) for line in section.lines]
    frame = pd.DataFrame(rows)
    fixed = ["model", "hook_out", "corpus", "role", "architecture", "d_sae", "sae"]
    order = dict.fromkeys([*fixed, *(name for row in rows for name in row)])
    return frame.reindex(columns=list(order)).astype({"d_sae": "Int64"})


def _wide_row(
    section: Section, line: Line, heads: list[Head], groups: dict[str, dict[str, tuple[bool, str]]]
) -> dict[str, object]:
    row: dict[str, object] = {
        "model": section.model, "hook_out": section.hook_out, "corpus": "; ".join(section.corpora), "role": line.role,
        "architecture": line.architecture, "d_sae": line.d_sae, "sae": line.sae,
    }  # fmt: skip
    for head in heads:
        score = line.scores.get(head.key)
        known = score is not None and score.known
        row[head.key] = score.value if score is not None and known else None
        row[f"{head.key}_stderr"] = score.stderr if score is not None and known else None
        row[f"{head.key}_group"] = groups[head.key].get(line.sae, (False, ""))[1] if line.role == "sae" else ""
    return row


def _asked_for(head: Head, board: Board) -> bool:
    """Whether a column of the section belongs in the table, and not only on a figure's axis."""
    if board.columns is None:
        return True
    return any(
        head.column.metric == column.metric and column.slice in (None, head.column.slice) for column in board.columns
    )
