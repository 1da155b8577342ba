"""Compiled loops that take a batch's codes into reservoirs of windows. Imported only where contexts are collected."""

from __future__ import annotations

import numpy as np

from saebench.compiled import compiled


@compiled
def sorted_cells(
    slot: np.ndarray, window: np.ndarray, rank: np.ndarray, slots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Entries in the order of their slots, and the runs of one slot in one window (cells).

    Args:
        slot: Slot of each entry, entries in the order of tokens, `[n]`.
        window: Window of each entry, never falling along the entries, `[n]`.
        rank: Strength of each entry, `[n]`.
        slots: Number of slots.

    Returns:
        The order `[n]`; of each cell its first entry in that order `[cells + 1]`, window and largest strength
        `[cells]`; and each slot's first cell `[slots + 1]`.
    """
    n = len(slot)
    ends = np.zeros(slots + 1, dtype=np.int64)
    for e in range(n):
        ends[slot[e] + 1] += 1
    for s in range(slots):
        ends[s + 1] += ends[s]
    order = np.empty(n, dtype=np.int64)
    fill = ends[:-1].copy()
    for e in range(n):
        order[fill[slot[e]]] = e
        fill[slot[e]] += 1
    begin = np.empty(n + 1, dtype=np.int64)
    where = np.empty(n, dtype=np.int32)
    most = np.empty(n, dtype=np.float32)
    first = np.zeros(slots + 1, dtype=np.int64)
    cells = 0
    for s in range(slots):
        first[s] = cells
        for p in range(ends[s], ends[s + 1]):
            e = order[p]
            if p == ends[s] or window[e] != where[cells - 1]:
                begin[cells], where[cells], most[cells] = p, window[e], rank[e]
                cells += 1
            elif rank[e] > most[cells - 1]:
                most[cells - 1] = rank[e]
    first[slots] = cells
    begin[cells] = n
    return order, begin[: cells + 1], where[:cells], most[:cells], first


@compiled
def _offer(keys: np.ndarray, low: int, high: int, key: float) -> int:
    """The place in `keys[low:high]` that the key takes from the largest, or -1 if it is no smaller."""
    worst = low
    for i in range(low + 1, high):
        if keys[i] > keys[worst]:
            worst = i
    if high == low or not key < keys[worst]:
        return -1
    keys[worst] = key
    return worst


@compiled
def _largest(keys: np.ndarray, low: int, high: int) -> float:
    top = -np.inf
    for i in range(low, high):
        top = max(top, keys[i])
    return top


@compiled
def take(
    order: np.ndarray,
    begin: np.ndarray,
    where: np.ndarray,
    most: np.ndarray,
    first: np.ndarray,
    place: np.ndarray,
    value: np.ndarray,
    windows: np.ndarray,
    half: np.ndarray,
    chance: np.ndarray,
    cuts: np.ndarray,
    keys: np.ndarray,
    held: np.ndarray,
    acts: np.ndarray,
    bars: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Offer each cell of the first slots to their three reservoirs: strongest, by weight, and uniform.

    Args:
        order, begin, where, most, first: As `sorted_cells` returned them.
        place, value: Place in its window, and activation, of each entry.
        windows, half, chance: Number in the corpus, half and chance of each window of the batch.
        cuts: Where the reservoirs begin and end in the last axis of `keys`, `[4]`.
        keys: What each reservoir holds the smallest of, `[slots, 2, held]`.
        held: Windows that are held, -1 for none; as `keys`.
        acts: Activations in them, `[slots, 2, held, size]`.
        bars: Largest key of each reservoir, `[slots, 2, 3]`.
        counts: Tokens and windows in which each slot fires, by half, `[slots, 2, 2]`.
    """
    for s in range(len(keys)):
        for c in range(first[s], first[s + 1]):
            w = where[c]
            h = half[w]
            counts[s, h, 0] += begin[c + 1] - begin[c]
            counts[s, h, 1] += 1
            strength = most[c]
            for kind in range(3):
                if kind == 0:
                    # Rounded strengths differ by more than the chance takes off, so that it orders equals alone.
                    key = -strength * (1.0 - chance[w] * 2.0**-14)
                elif kind == 1:
                    key = -np.log(chance[w]) / (np.float64(strength) * strength)
                else:
                    key = chance[w]
                if not key < bars[s, h, kind]:
                    continue
                low, high = cuts[kind], cuts[kind + 1]
                i = _offer(keys[s, h], low, high, key)
                if i < 0:
                    continue
                bars[s, h, kind] = _largest(keys[s, h], low, high)
                held[s, h, i] = windows[w]
                acts[s, h, i, :] = 0
                for p in range(begin[c], begin[c + 1]):
                    acts[s, h, i, place[order[p]]] = value[order[p]]


@compiled
def take_misses(
    where: np.ndarray,
    first: np.ndarray,
    near: np.ndarray,
    windows: np.ndarray,
    half: np.ndarray,
    chance: np.ndarray,
    keys: np.ndarray,
    held: np.ndarray,
    bars: np.ndarray,
) -> None:
    """Offer to each of the first slots the windows in which a neighbour fires and it does not.

    Args:
        near: Slots of each slot's neighbours, -1 for none, `[slots, neighbours]`.
        keys, held: Chances and windows that are held, `[slots, 2, misses]`.
        bars: Largest key, `[slots, 2]`.
    """
    size = keys.shape[2]
    for s in range(len(keys)):
        for n in near[s]:
            if n < 0:
                continue
            mine = first[s]
            for c in range(first[n], first[n + 1]):
                w = where[c]
                while mine < first[s + 1] and where[mine] < w:
                    mine += 1
                if mine < first[s + 1] and where[mine] == w:
                    continue
                h = half[w]
                if not chance[w] < bars[s, h]:
                    continue
                known = False
                for i in range(size):
                    known = known or held[s, h, i] == windows[w]
                if known:
                    continue
                i = _offer(keys[s, h], 0, size, chance[w])
                held[s, h, i] = windows[w]
                bars[s, h] = _largest(keys[s, h], 0, size)
