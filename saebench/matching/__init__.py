"""Exact one-to-one matching of two dictionaries at any size, with a proof of optimality and what chance scores."""

from __future__ import annotations

from saebench.matching.api import match, match_directions, of_coder
from saebench.matching.exact import Settings
from saebench.matching.result import Agreement, Match

__all__ = ["Agreement", "Match", "Settings", "match", "match_directions", "of_coder"]
