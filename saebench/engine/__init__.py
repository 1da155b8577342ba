"""Plan, then passes, then rows."""

from __future__ import annotations

from saebench.engine.evaluate import evaluate
from saebench.engine.monitor import Monitor

__all__ = ["Monitor", "evaluate"]
