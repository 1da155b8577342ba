"""Patterns of tokens that tell where a latent fires, found by covering its firings one pattern after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called, and keep the code on disk where some folder can be written."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:
        return numba.njit(function)


@_compiled
def _holds(feature: np.ndarray, t: int, pattern: np.ndarray) -> bool:
    """Whether a pattern (a token by distance, -1 for any) holds at a token."""
    for o in range(len(pattern)):  # noqa: SIM110
        if pattern[o] >= 0 and feature[t, o] != pattern[o]:
            return False
    return True


@_compiled
def _counts(feature: np.ndarray, fires: np.ndarray, pattern: np.ndarray) -> tuple[int, int]:
    """Tokens where the pattern holds: those that fire, and those that do not."""
    yes, no = 0, 0
    for t in range(len(fires)):
        if _holds(feature, t, pattern):
            if fires[t]:
                yes += 1
            else:
                no += 1
    return yes, no


@_compiled
def confidence(pattern: np.ndarray, yes: int, no: int) -> float:
    """Share of a pattern's tokens that fire, drawn towards one half; towards 0 where it names no token of its own."""
    return (yes + (1.0 if pattern[0] >= 0 else 0.0)) / (yes + no + 2.0)


@_compiled
def learn(
    feature: np.ndarray, fires: np.ndarray, vocabulary: int, depth: int, most: int, lowest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Patterns, the one found first in front, and how many tokens of each fire and do not.

    A pattern grows by the condition with the largest gain in information (FOIL: Quinlan 1990), until it holds on
    firing tokens alone; conditions that it can do without are then dropped again, the farthest first; the firings
    it covers are set aside, and the next is grown.

    Args:
        feature: Token at each distance in front of each token, the token itself at 0, -1 beyond the window's
            start, `[tokens, distances]` int32.
        fires: Whether the latent fires, `[tokens]` bool.
        vocabulary: Tokens are below it.
        depth: Most conditions of a pattern.
        most: Most patterns.
        lowest: Confidence below which a pattern is given up.

    Returns:
        `[patterns, distances]`, -1 for any token; and `[patterns, 2]`.
    """
    tokens, distances = feature.shape
    left = fires.copy()
    inside = np.empty(tokens, dtype=np.bool_)
    tally = np.zeros((2, distances, vocabulary), dtype=np.int32)
    found = np.full((most, distances), -1, dtype=np.int32)
    known = np.zeros((most, 2), dtype=np.int64)
    count = 0
    for _ in range(2 * most):
        if count == most or not left.any():
            break
        for t in range(tokens):
            inside[t] = left[t] or not fires[t]
        pattern = np.full(distances, -1, dtype=np.int32)
        for _ in range(depth):
            tally[:] = 0
            yes, no = 0, 0
            for t in range(tokens):
                if inside[t]:
                    kind = 0 if left[t] else 1
                    yes, no = yes + 1 - kind, no + kind
                    for o in range(distances):
                        if feature[t, o] >= 0:
                            tally[kind, o, feature[t, o]] += 1
            if no == 0:
                break
            before = np.log2(yes / (yes + no))
            gain, where, which = 1e-9, -1, -1
            for o in range(distances):
                if pattern[o] >= 0:
                    continue
                for v in range(vocabulary):
                    p = tally[0, o, v]
                    if p > 0:
                        more = p * (np.log2(p / (p + tally[1, o, v])) - before)
                        if more > gain * (1 + 1e-9):
                            gain, where, which = more, o, v
            if where < 0:
                break
            pattern[where] = which
            for t in range(tokens):
                inside[t] = inside[t] and feature[t, where] == which
        yes, no = _counts(feature, fires, pattern)
        for o in range(distances - 1, -1, -1):
            if pattern[o] < 0 or (o == 0 and pattern.max() == pattern[0] and (pattern >= 0).sum() == 1):
                continue
            kept, pattern[o] = pattern[o], -1
            if (pattern >= 0).sum() == 0:
                pattern[o] = kept
                continue
            wider, wrong = _counts(feature, fires, pattern)
            if wider / (wider + wrong) >= yes / (yes + no) - 0.02:
                yes, no = wider, wrong
            else:
                pattern[o] = kept
        sure = (pattern >= 0).sum() > 0 and confidence(pattern, yes, no) >= lowest
        if sure:
            found[count] = pattern
            known[count] = (yes, no)
            count += 1
        covered = False
        for t in range(tokens):
            if left[t] and _holds(feature, t, pattern):
                left[t] = False
                covered = True
        if not covered:
            break
    return found[:count], known[:count]
