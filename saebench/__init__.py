"""Evaluation of sparse autoencoders on language models: right numbers, with error bars and nulls."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError
from saebench.metric import Metric, NotApplicable, Sums, Totals, metric

if TYPE_CHECKING:
    from saebench import inputs, leaderboard
    from saebench.engine import Monitor, evaluate
    from saebench.matching import match
    from saebench.models import load_model
    from saebench.registry import include
    from saebench.registry import metrics as list_metrics
    from saebench.results import Results, Row, compare
    from saebench.saes import load_sae
    from saebench.suite import load_suite

__version__ = "0.1.0"

__all__ = [
    "Metric",
    "Monitor",
    "NotApplicable",
    "Results",
    "Row",
    "Sums",
    "Totals",
    "UserError",
    "compare",
    "evaluate",
    "include",
    "inputs",
    "leaderboard",
    "list_metrics",
    "load_model",
    "load_sae",
    "load_suite",
    "match",
    "metric",
]

_LAZY = {
    "Monitor": "saebench.engine:Monitor",
    "Results": "saebench.results:Results",
    "Row": "saebench.results:Row",
    "compare": "saebench.results:compare",
    "evaluate": "saebench.engine:evaluate",
    "include": "saebench.registry:include",
    "inputs": "saebench.inputs:",
    "leaderboard": "saebench.leaderboard:",
    "list_metrics": "saebench.registry:metrics",
    "load_model": "saebench.models:load_model",
    "load_sae": "saebench.saes:load_sae",
    "load_suite": "saebench.suite:load_suite",
    "match": "saebench.matching:match",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import saebench` stays quick."""
    if name not in _LAZY:
        raise AttributeError(f"module 'saebench' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return sorted(__all__)
