"""Contexts of latents, collected while the batches of a pass stream by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.data.draws import uniforms
from saebench.engine.pooling import Arrays, Collector

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.engine.batches import Batch
    from saebench.engine.contexts_windows import Placed, Windows
    from saebench.inputs import Sampling
    from saebench.saes import Codes, SparseCoder

ROOM = 2**30
"""Most bytes for the windows of one SAE's latents; they do not grow with the corpus."""
_DROPPED = 11
"""Bits of a float32 mantissa that ordering by strength does not look at, so that rounding does not order equals."""


class Contexts(Collector):
    """Reservoirs of windows for each candidate: the strongest, by weight, evenly, near misses; and a common pool.

    What a reservoir holds are the windows with the smallest keys, and a key depends on the window's place in its
    document and on the latent's activation there: neither the order of batches nor what else runs moves it.

    Args:
        windows: The corpus cut into windows.
        candidates: Latents to collect of.
        near: Nearest latents of each candidate, `[candidates, neighbours]`.

    Attributes:
        counts: Tokens and windows in which each candidate fires, by half, `[candidates, 2, 2]`.
        tokens: Tokens seen.
    """

    def __init__(self, windows: Windows, sampling: Sampling, candidates: np.ndarray, near: np.ndarray, width: int):
        s, n, size = sampling, len(candidates), sampling.window
        self.windows, self.sampling, self.candidates = windows, sampling, candidates
        watched = np.concatenate([candidates, np.setdiff1d(near, candidates)]).astype(np.int64)
        slots = np.full(width, -1, dtype=np.int32)
        slots[watched] = np.arange(len(watched))
        self._near = slots[near]
        self._slots = torch.from_numpy(slots)
        self._watched, self._all = len(watched), len(watched) == width
        self.cuts = np.cumsum([0, *reservoirs(s)])
        held = int(self.cuts[-1])
        self._keys = np.full((n, 2, held), np.inf)
        self._held = np.full((n, 2, held), -1, dtype=np.int64)
        self._acts = np.zeros((n, 2, held, size), dtype=np.float32)
        self._miss_keys = np.full((n, 2, misses(s)), np.inf)
        self._misses = np.full((n, 2, misses(s)), -1, dtype=np.int64)
        self.counts = np.zeros((n, 2, 2), dtype=np.int64)
        self.tokens = 0
        self._pool: list[tuple[np.ndarray, ...]] = []
        self._bar()

    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        slot, token, value = self._entries(codes)
        return partial(self._add, slot, token, value, self.windows.of(batch), codes.n)

    def _entries(self, codes: Codes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slot, token and activation of the entries of watched latents."""
        if self._slots.device != codes.latents.device:
            self._slots = self._slots.to(codes.latents.device)
        slot, token, value = self._slots[codes.latents], codes.tokens, codes.values
        if not self._all:
            kept = slot >= 0
            slot, token, value = slot[kept], token[kept], value[kept]
        return slot.cpu().numpy(), token.cpu().numpy(), value.float().cpu().numpy()

    def _add(self, slot: np.ndarray, token: np.ndarray, value: np.ndarray, placed: Placed, tokens: int) -> None:
        from saebench.engine.contexts_kernels import sorted_cells, take, take_misses

        table, window, place = self.windows, placed.window[token], placed.place[token]
        half, chance, other = (part[placed.windows] for part in (table.half, table.chance, table.other))
        cells = order, begin, where, most, first = sorted_cells(slot, window, rounded(value), self._watched)
        take(
            *cells, place, value, placed.windows, half, chance, self.cuts,
            self._keys, self._held, self._acts, self._bars, self.counts,
        )  # fmt: skip
        take_misses(
            where, first, self._near, placed.windows, half, other, self._miss_keys, self._misses, self._miss_bars
        )
        seat = table.seat[placed.windows][window]
        kept = (seat >= 0) & (slot < len(self.candidates))
        if kept.any():
            self._pool.append((seat[kept], half[window[kept]], slot[kept], place[kept].astype(np.int16), value[kept]))
        self.tokens += tokens

    def _bar(self) -> None:
        """Largest key of each reservoir."""
        inside = [self._keys[:, :, low:high] for low, high in zip(self.cuts[:-1], self.cuts[1:], strict=True)]
        shape = self._keys.shape[:2]
        self._bars = np.stack([p.max(2) if p.shape[2] else np.full(shape, -np.inf) for p in inside], axis=2)
        self._miss_bars = self._miss_keys.max(2) if self._miss_keys.shape[2] else np.full(shape, -np.inf)

    def state(self) -> Arrays:
        names = ("keys", "held", "acts", "miss_keys", "misses")
        kept = {name: getattr(self, f"_{name}") for name in names}
        pool = {f"pool {i}": part for i, part in enumerate(self._pooled())}
        return {**kept, **pool, "counts": self.counts, "tokens": np.array(self.tokens)}

    def restore(self, state: Arrays) -> None:
        for name in ("keys", "held", "acts", "miss_keys", "misses"):
            setattr(self, f"_{name}", state[name].copy())
        self._pool = [tuple(state[f"pool {i}"] for i in range(5))]
        self.counts, self.tokens = state["counts"].copy(), int(state["tokens"])
        self._bar()

    def _pooled(self) -> tuple[np.ndarray, ...]:
        types = (np.int32, np.int8, np.int32, np.int16, np.float32)
        empty = tuple(np.zeros(0, kind) for kind in types)
        return tuple(np.concatenate(column) for column in zip(*(self._pool or [empty]), strict=True))

    def held(self, slot: int, half: int, kind: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows of a reservoir (0 strongest, 1 by weight, 2 evenly), best first, and the activations in them."""
        low, high = self.cuts[kind], self.cuts[kind + 1]
        keys, windows = self._keys[slot, half, low:high], self._held[slot, half, low:high]
        order = np.argsort(keys, kind="stable")[: int((windows >= 0).sum())]
        return windows[order], self._acts[slot, half, low:high][order]

    def near_misses(self, slot: int, half: int) -> np.ndarray:
        """Windows in which a neighbour fires and the latent does not."""
        order = np.argsort(self._miss_keys[slot, half], kind="stable")
        windows = self._misses[slot, half][order]
        return windows[windows >= 0]

    def pooled(self) -> Callable[[int, int], np.ndarray]:
        """Gives the activations of a candidate in the windows of the pool of a half, `[windows, size]`."""
        seat, half, slot, place, value = self._pooled()
        order = np.argsort(slot, kind="stable")
        seat, half, place, value = (part[order] for part in (seat, half, place, value))
        starts = np.searchsorted(slot[order], np.arange(len(self.candidates) + 1))

        def dense(one: int, which: int) -> np.ndarray:
            inside = slice(starts[one], starts[one + 1])
            mine = half[inside] == which
            acts = np.zeros((len(self.windows.pool[which]), self.windows.size), dtype=np.float32)
            acts[seat[inside][mine], place[inside][mine]] = value[inside][mine]
            return acts

        return dense


def reservoirs(s: Sampling) -> tuple[int, int, int]:
    """Windows held of each latent and half: the strongest, by weight and evenly, enough where they overlap."""
    top = max(s.top, s.stratum)
    return top, (s.weighted + top if s.weighted else 0), s.spread + top + s.weighted + 2 * s.stratum


def room(s: Sampling, width: int) -> int:
    """Bytes that the windows of one SAE's latents take."""
    return min(width, 2 * s.latents or width) * _bytes(s)


def _bytes(s: Sampling) -> int:
    return 2 * sum(reservoirs(s)) * (4 * s.window + 16)


def misses(s: Sampling) -> int:
    """Near misses held of each latent and half."""
    return max(s.stratum, s.silent // 2) if s.near else 0


def candidates(s: Sampling, width: int, seed: int) -> np.ndarray:
    """Latents to collect of: twice as many as will be drawn, or all, the first by a hash of their numbers."""
    most = min(width, 2 * s.latents or width, max(1, ROOM // _bytes(s)))
    return np.argsort(ranks(np.arange(width), seed), kind="stable")[:most]


def ranks(latents: np.ndarray, seed: int) -> np.ndarray:
    """The order in which latents are drawn, a number in (0, 1) for each."""
    return uniforms(latents, seed, "latents")


def neighbours(sae: SparseCoder, latents: np.ndarray, count: int) -> np.ndarray:
    """The nearest latents of each by decoder cosine, `[latents, at most count]`; none where there are no rows."""
    rows: Tensor | None = sae.W_dec
    count = min(count, sae.d_sae - 1)
    if rows is None or count < 1:
        return np.zeros((len(latents), 0), dtype=np.int64)
    from saebench.matching.candidates import candidates as nearest

    unit = torch.nn.functional.normalize(rows.detach().float(), dim=-1).nan_to_num_()
    own = torch.from_numpy(latents).to(unit.device)
    found = nearest(unit[own], unit, signed=True, rows=count + 1, columns=1).row_index
    other = found != own[:, None]
    return found[other & (other.cumsum(1) <= count)].view(-1, count).long().cpu().numpy()


def rounded(value: np.ndarray) -> np.ndarray:
    """Absolute values to 12 binary digits."""
    bits = np.abs(np.ascontiguousarray(value, dtype=np.float32)).view(np.uint32)
    return ((bits + (1 << (_DROPPED - 1))) & np.uint32(0xFFFFFFFF ^ ((1 << _DROPPED) - 1))).view(np.float32)
