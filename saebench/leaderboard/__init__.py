"""Boards from rows: tables, significance groups, Pareto fronts, figures and reports.

from saebench import leaderboard
leaderboard.build("runs/x", "leaderboards/site")
"""

from __future__ import annotations

from saebench.leaderboard.board import Board, Column, Filters, Pareto, load_board
from saebench.leaderboard.build import build
from saebench.leaderboard.pareto import front, hypervolume, score_at
from saebench.leaderboard.report import report
from saebench.leaderboard.site import build_site

__all__ = [
    "Board",
    "Column",
    "Filters",
    "Pareto",
    "build",
    "build_site",
    "front",
    "hypervolume",
    "load_board",
    "report",
    "score_at",
]
