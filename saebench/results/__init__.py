"""Results: rows, their store, their statistics, and comparisons of two runs."""

from __future__ import annotations

from saebench.results.provenance import provenance
from saebench.results.row import Row
from saebench.results.schema import SCHEMA_VERSION, migrate
from saebench.results.statistics import Difference, Estimate, bootstrap, holm, paired
from saebench.results.store import Store, check_writable, read_rows
from saebench.results.sums import add_sums, join_sums, split_sums

__all__ = [
    "SCHEMA_VERSION",
    "Difference",
    "Estimate",
    "Row",
    "Store",
    "add_sums",
    "bootstrap",
    "check_writable",
    "holm",
    "join_sums",
    "migrate",
    "paired",
    "provenance",
    "read_rows",
    "split_sums",
]
