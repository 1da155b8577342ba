"""Sparse codes of a batch: what passes between encode, decode and the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

DENSE_SHARE = 0.25
"""Share of non-zero entries above which one dense product is quicker than the sparse one."""

LARGE = 2**20
"""Entries from which a compiled pass pays for being loaded."""
MOST = 2**24
"""Entries of one compiled pass, which has room for all of them to be kept."""
RUN = 16
"""Latents that a compiled pass looks at together."""


class Codes:
    """Latent activations of n tokens in compressed rows; only entries that fire (`!= 0`) are kept.

    Attributes:
        offsets: `[n + 1]`, where each token's entries begin; the last is the number of entries.
        latents: `[nnz]`, latent of each entry; tokens in order, no order within a token.
        values: `[nnz]`, activation of each entry, never zero.
        width: Number of latents, F.
        ctx: What decode needs beyond the codes, a row a token: normalisation statistics (`shift`,
            `scale`), the input of a skip connection (`skip`), a part of the forward that does not
            go through the codes (`rest`).
    """

    __slots__ = ("_tokens", "ctx", "latents", "offsets", "values", "width")

    def __init__(
        self,
        offsets: Tensor,
        latents: Tensor,
        values: Tensor,
        width: int,
        ctx: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.offsets = offsets
        self.latents = latents
        self.values = values
        self.width = width
        self.ctx: dict[str, Tensor] = dict(ctx or {})
        self._tokens: Tensor | None = None

    @classmethod
    def from_dense(cls, codes: Tensor, ctx: Mapping[str, Tensor] | None = None) -> Codes:
        """Codes of a dense tensor `[n, F]`."""
        return cls.from_mask(codes != 0, codes, ctx)

    @classmethod
    def from_mask(cls, fires: Tensor, values: Tensor, ctx: Mapping[str, Tensor] | None = None) -> Codes:
        """The entries of `values [n, F]` where `fires [n, F]` is true; those must not be zero."""
        n, width = fires.shape
        flat = _positions(fires)
        offsets = _row_starts(flat, n, width)
        latents = flat.remainder(width) if width else flat
        return cls(offsets, latents, values.reshape(-1).index_select(0, flat), width, ctx)

    @classmethod
    def above(cls, values: Tensor, bar: float | Tensor = 0.0) -> Codes:
        """The entries of `values [n, F]` that are above a bar, a number or `[F]`; those must not be zero.

        As `from_mask(values > bar, values)`; on a CPU a large batch takes one compiled pass, half the time.
        """
        plain = values.device.type == "cpu" and values.dtype == torch.float32 and not values.requires_grad
        if plain and values.numel() >= LARGE and values.shape[1] % RUN == 0:
            return cls._above(values.contiguous(), bar)
        return cls.from_mask(values > bar, values)

    @classmethod
    def _above(cls, values: Tensor, bar: float | Tensor) -> Codes:
        n, width = values.shape
        bars = torch.as_tensor(bar, dtype=torch.float32, device="cpu").expand(width).contiguous()
        threads = max(1, min(torch.get_num_threads(), n, values.numel() // LARGE))
        parts = values.tensor_split(max(threads, min(n, values.numel() // MOST)))
        if threads == 1:
            return cls.cat([cls._one_pass(part, bars) for part in parts])
        with ThreadPoolExecutor(threads) as pool:
            return cls.cat(list(pool.map(partial(cls._one_pass, bars=bars), parts)))

    @classmethod
    def _one_pass(cls, values: Tensor, bars: Tensor) -> Codes:
        from saebench.saes.above import above

        n, width = values.shape
        offsets = np.empty(n + 1, np.int64)
        latents = np.empty(n * width + 1, np.int64)  # room for the densest case: memory is touched as it is filled
        kept = np.empty(n * width + 1, np.float32)
        count = above(values.numpy().reshape(n, -1, RUN), bars.numpy().reshape(-1, RUN), offsets, latents, kept)
        # copies, for the room behind them to be given back
        latents, kept = latents[:count].copy(), kept[:count].copy()
        return cls(torch.from_numpy(offsets), torch.from_numpy(latents), torch.from_numpy(kept), width)

    @classmethod
    def from_topk(cls, values: Tensor, indices: Tensor, width: int, ctx: Mapping[str, Tensor] | None = None) -> Codes:
        """Codes of `values [n, k]` at latents `indices [n, k]` without repeats; zeros are dropped."""
        n, k = values.shape
        fires = values != 0
        if bool(fires.all()):
            offsets = torch.arange(0, n * k + 1, k, device=values.device) if k else _zeros(n + 1, values)
            return cls(offsets, indices.reshape(-1), values.reshape(-1), width, ctx)
        kept = _positions(fires)
        return cls(_row_starts(kept, n, k), indices.reshape(-1)[kept], values.reshape(-1)[kept], width, ctx)

    @classmethod
    def cat(cls, parts: Sequence[Codes]) -> Codes:
        """The tokens of several batches, one after the other."""
        starts = [parts[0].offsets[:1]]
        total = 0
        for part in parts:
            starts.append(part.offsets[1:] + total)
            total += len(part.values)
        ctx = {key: torch.cat([part.ctx[key] for part in parts]) for key in parts[0].ctx}
        return cls(
            torch.cat(starts),
            torch.cat([part.latents for part in parts]),
            torch.cat([part.values for part in parts]),
            parts[0].width,
            ctx,
        )

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, F)`, the shape of the dense codes."""
        return self.n, self.width

    @property
    def l0(self) -> Tensor:
        """Latents that fire on each token, `[n]`."""
        return self.offsets.diff()

    @property
    def tokens(self) -> Tensor:
        """Row of each entry, `[nnz]`."""
        if self._tokens is None:
            rows = torch.arange(self.n, device=self.offsets.device)
            self._tokens = rows.repeat_interleave(self.l0, output_size=len(self.values))
        return self._tokens

    @property
    def l1(self) -> Tensor:
        """Sum of absolute activations on each token, `[n]`."""
        return self.sum(self.values.abs())

    @property
    def fires(self) -> Tensor:
        """Number of tokens on which each latent fires, `[F]`."""
        return torch.bincount(self.latents, minlength=self.width)

    def sum(self, entries: Tensor) -> Tensor:
        """Sum over each token's entries of a quantity `[nnz]` given per entry, `[n]`."""
        return entries.new_zeros(self.n).index_add_(0, self.tokens, entries)

    def dense(self) -> Tensor:
        """The codes as a dense tensor `[n, F]`."""
        flat = self.tokens * self.width + self.latents
        return self.values.new_zeros(self.n * self.width).index_put((flat,), self.values).view(self.shape)

    def columns(self, latents: Tensor | Sequence[int]) -> Tensor:
        """Dense activations of a few latents, `[n, len(latents)]`, without making the rest."""
        wanted = torch.as_tensor(latents, device=self.latents.device)
        column = torch.full((self.width,), -1, device=self.latents.device)
        column[wanted] = torch.arange(len(wanted), device=self.latents.device)
        at = column[self.latents]
        kept = at >= 0
        result = self.values.new_zeros(self.n, len(wanted))
        return result.index_put((self.tokens[kept], at[kept]), self.values[kept])

    def padded(self) -> tuple[Tensor, Tensor]:
        """Values and latents as rectangles `[n, max l0]`; the padding has value zero, latent zero."""
        l0 = self.l0
        k = int(l0.max()) if self.n else 0
        place = torch.arange(len(self.values), device=self.values.device) - self.offsets[:-1][self.tokens]
        values = self.values.new_zeros(self.n, k)
        latents = self.latents.new_zeros(self.n, k)
        values[self.tokens, place] = self.values
        latents[self.tokens, place] = self.latents
        return values, latents

    def with_values(self, values: Tensor) -> Codes:
        """The same entries with other activations `[nnz]`; those that become zero are dropped."""
        twin = Codes(self.offsets, self.latents, values, self.width, self.ctx)
        return twin if bool((values != 0).all()) else twin.keep(values != 0)

    def keep(self, entries: Tensor) -> Codes:
        """Only the entries where the mask `[nnz]` is true; the tokens stay."""
        kept = _positions(entries)
        offsets = torch.searchsorted(kept, self.offsets)
        latents, values = (part.index_select(0, kept) for part in (self.latents, self.values))
        return Codes(offsets, latents, values, self.width, self.ctx)

    def without(self, latents: Tensor | Sequence[int]) -> Codes:
        """The codes with some latents ablated to zero."""
        ablated = torch.zeros(self.width, dtype=torch.bool, device=self.latents.device)
        ablated[torch.as_tensor(latents, device=self.latents.device)] = True
        return self.keep(~ablated[self.latents])

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Codes:
        """The codes of some tokens: a slice, a boolean mask `[n]`, or row numbers."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.n)
            if step == 1:
                return self._run(start, max(start, stop))
            rows = torch.arange(self.n, device=self.offsets.device)[rows]
        rows = torch.as_tensor(rows, device=self.offsets.device)
        if rows.dtype is torch.bool:
            rows = rows.nonzero().view(-1)
        count = self.l0[rows]
        offsets = torch.cat([_zeros(1, self.offsets), count.cumsum(0)])
        shift = (self.offsets[:-1][rows] - offsets[:-1]).repeat_interleave(count)
        entries = torch.arange(len(shift), device=shift.device) + shift
        ctx = {key: value[rows] for key, value in self.ctx.items()}
        return Codes(offsets, self.latents[entries], self.values[entries], self.width, ctx)

    def _run(self, start: int, stop: int) -> Codes:
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        ctx = {key: value[start:stop] for key, value in self.ctx.items()}
        return Codes(
            self.offsets[start : stop + 1] - first,
            self.latents[first:last],
            self.values[first:last],
            self.width,
            ctx,
        )

    def __matmul__(self, matrix: Tensor) -> Tensor:
        """Product with a matrix `[F, d]`, `[n, d]`; a sum of rows where the codes are sparse."""
        if len(self.values) > DENSE_SHARE * self.n * self.width:
            return self.dense() @ matrix
        return functional.embedding_bag(
            self.latents,
            matrix,
            self.offsets,
            mode="sum",
            per_sample_weights=self.values.to(matrix.dtype),
            include_last_offset=True,
        )

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Codes:
        """The same codes on another device, their values and context in another dtype."""
        return Codes(
            self.offsets.to(device=device),
            self.latents.to(device=device),
            self.values.to(device=device, dtype=dtype),
            self.width,
            {key: value.to(device=device, dtype=dtype) for key, value in self.ctx.items()},
        )

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        mean = len(self.values) / self.n if self.n else 0.0
        return f"Codes({self.n} tokens x {self.width} latents, {mean:.1f} fire on a token)"


def _positions(mask: Tensor) -> Tensor:
    """Ascending flat positions of the true entries; numpy finds them several times quicker on the CPU."""
    flat = mask.reshape(-1)
    if flat.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(flat.numpy()))
    return flat.nonzero().view(-1)


def _row_starts(flat: Tensor, n: int, width: int) -> Tensor:
    """Where each of n rows of `width` begins in the ascending flat positions."""
    if not width:
        return _zeros(n + 1, flat)
    return torch.searchsorted(flat, torch.arange(0, n * width + 1, width, device=flat.device))


def _zeros(n: int, like: Tensor) -> Tensor:
    return torch.zeros(n, dtype=torch.long, device=like.device)
