"""Judges: readers that explain a latent from contexts and say where it should fire."""

from __future__ import annotations

from saebench.judges.protocol import Answers, Context, ExplainTask, Explanation, Judge, Kind, ScoreTask, Unanswered
from saebench.judges.select import judge

__all__ = ["Answers", "Context", "ExplainTask", "Explanation", "Judge", "Kind", "ScoreTask", "Unanswered", "judge"]
