"""Patterns of tokens that tell where a latent fires, found by covering its firings one pattern after the other."""

from __future__ import annotations

import numpy as np

from saebench.compiled import compiled

SLACK = 0.02
"""How much precision a pattern may lose by doing without a condition."""


@compiled
def _holds(feature: np.ndarray, t: int, pattern: np.ndarray) -> bool:
    """Whether a pattern (a token by distance, -1 for any) holds at a token."""
    for o in range(len(pattern)):  # noqa: SIM110
        if pattern[o] >= 0 and feature[t, o] != pattern[o]:
            return False
    return True


@compiled
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


@compiled
def confidence(pattern: np.ndarray, yes: int, no: int) -> float:
    """Share of a pattern's tokens that fire, drawn towards one half; towards 0 where it names no token of its own."""
    return (yes + (1.0 if pattern[0] >= 0 else 0.0)) / (yes + no + 2.0)


@compiled
def _tally(feature: np.ndarray, fires: np.ndarray, inside: np.ndarray, size: int, tally: np.ndarray) -> None:
    """How often each token stands at each distance in front of silent (0) and firing (1) tokens of `inside[:size]`."""
    tally[:] = 0
    for i in range(size):
        t = inside[i]
        for o in range(feature.shape[1]):
            if feature[t, o] >= 0:
                tally[int(fires[t]), o, feature[t, o]] += 1


@compiled
def _best(tally: np.ndarray, pattern: np.ndarray, yes: int, no: int) -> tuple[int, int]:
    """The condition (distance, token) with the largest gain, the nearest of equals; (-1, -1) where none gains."""
    before = np.log2(yes / (yes + no))
    gain, where, which = 1e-9, -1, -1
    for o in range(tally.shape[1]):
        if pattern[o] >= 0:
            continue
        for v in range(tally.shape[2]):
            p = tally[1, o, v]
            if p > 0:
                more = p * (np.log2(p / (p + tally[0, o, v])) - before)
                if more > gain * (1 + 1e-9):
                    gain, where, which = more, o, v
    return where, which


@compiled
def _grown(
    feature: np.ndarray,
    fires: np.ndarray,
    inside: np.ndarray,
    size: int,
    first: np.ndarray,
    rest: np.ndarray,
    depth: int,
) -> np.ndarray:
    """A pattern that holds on as many firing and as few silent tokens of `inside[:size]` as its conditions can tell.

    Args:
        inside: Tokens that are looked at; narrowed in place.
        first: Their tally.
        rest: Room for the tallies of those that are left.
    """
    pattern = np.full(feature.shape[1], -1, dtype=np.int32)
    for step in range(depth):
        yes = 0
        for i in range(size):
            yes += int(fires[inside[i]])
        if yes == size:
            break
        if step:
            _tally(feature, fires, inside, size, rest)
        where, which = _best(rest if step else first, pattern, yes, size - yes)
        if where < 0:
            break
        pattern[where] = which
        kept = 0
        for i in range(size):
            if feature[inside[i], where] == which:
                inside[kept] = inside[i]
                kept += 1
        size = kept
    return pattern


@compiled
def _pruned(feature: np.ndarray, fires: np.ndarray, pattern: np.ndarray) -> tuple[int, int]:
    """Drop the conditions that a pattern can do without, the farthest first; returns its counts on all tokens."""
    yes, no = _counts(feature, fires, pattern)
    for o in range(len(pattern) - 1, -1, -1):
        if pattern[o] < 0 or (pattern >= 0).sum() == 1:
            continue
        kept, pattern[o] = pattern[o], -1
        wider, wrong = _counts(feature, fires, pattern)
        if wider / (wider + wrong) >= yes / (yes + no) - SLACK:
            yes, no = wider, wrong
        else:
            pattern[o] = kept
    return yes, no


@compiled
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
    left = np.arange(tokens)
    size = tokens
    tally = np.zeros((2, distances, vocabulary), dtype=np.int32)
    rest = np.zeros((2, distances, vocabulary), dtype=np.int32)
    _tally(feature, fires, left, size, tally)
    found = np.full((most, distances), -1, dtype=np.int32)
    known = np.zeros((most, 2), dtype=np.int64)
    count = 0
    for _ in range(2 * most):
        pattern = _grown(feature, fires, left[:size].copy(), size, tally, rest, depth)
        if count == most or (pattern >= 0).sum() == 0:
            break
        yes, no = _pruned(feature, fires, pattern)
        if confidence(pattern, yes, no) >= lowest:
            found[count], known[count] = pattern, (yes, no)
            count += 1
        kept = 0
        for i in range(size):
            t = left[i]
            if fires[t] and _holds(feature, t, pattern):
                for o in range(distances):
                    if feature[t, o] >= 0:
                        tally[1, o, feature[t, o]] -= 1
            else:
                left[kept] = t
                kept += 1
        size = kept
    return found[:count], known[:count]


@compiled
def match(ids: np.ndarray, patterns: np.ndarray, sure: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Confidence at each token: the largest of the patterns that hold there, else its rate, `[rows, size]`.

    Args:
        ids: Tokens of some rows, -1 for unknown ones, `[rows, size]`.
        patterns: Token at each distance, -1 for any, `[patterns, distances]`.
        sure: Confidence of each pattern.
        rate: Confidence of each token by itself.
    """
    found = np.zeros(ids.shape)
    for r in range(len(ids)):
        for t in range(ids.shape[1]):
            best = rate[ids[r, t]] if ids[r, t] >= 0 else 0.0
            for p in range(len(patterns)):
                if sure[p] <= best:
                    continue
                holds = True
                for o in range(patterns.shape[1]):
                    wanted = patterns[p, o]
                    if wanted >= 0 and (o > t or ids[r, t - o] != wanted):
                        holds = False
                        break
                if holds:
                    best = sure[p]
            found[r, t] = best
    return found
