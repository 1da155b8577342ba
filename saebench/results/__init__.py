"""Results: rows, their store, their statistics, and comparisons of two runs."""

from __future__ import annotations

from saebench.results.collection import Results
from saebench.results.compare import compare
from saebench.results.comparison import Comparison, Line
from saebench.results.gate import GateEntry, load_gate
from saebench.results.provenance import provenance
from saebench.results.row import Row
from saebench.results.schema import SCHEMA_VERSION, migrate
from saebench.results.statistics import Difference, Estimate, bootstrap, holm, paired
from saebench.results.store import Store, check_writable, read_rows
from saebench.results.sums import add_sums, fold_sums, join_sums, split_sums

__all__ = [
    "SCHEMA_VERSION",
    "Comparison",
    "Difference",
    "Estimate",
    "GateEntry",
    "Line",
    "Results",
    "Row",
    "Store",
    "add_sums",
    "bootstrap",
    "check_writable",
    "compare",
    "fold_sums",
    "holm",
    "join_sums",
    "load_gate",
    "migrate",
    "paired",
    "provenance",
    "read_rows",
    "split_sums",
]
