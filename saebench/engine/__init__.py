"""Plan, then passes, then rows."""

from __future__ import annotations

from saebench.engine.evaluate import evaluate

__all__ = ["evaluate"]
