"""The static site of a board: one folder of pages that opens from disk and needs no network."""

from __future__ import annotations

from saebench.leaderboard.site.build import build_site

__all__ = ["build_site"]
