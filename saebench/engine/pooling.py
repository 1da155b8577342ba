"""What items metrics need of a pass, collected while the batches stream by and kept sparse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.saes import Codes

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.engine.batches import Batch

Arrays = dict[str, np.ndarray]


class Collector(ABC):
    """Takes something from each batch; what it has so far can be saved and put back."""

    @abstractmethod
    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        """A function that adds a batch; until it is called nothing has changed."""

    @abstractmethod
    def state(self) -> Arrays:
        """What a checkpoint keeps."""

    @abstractmethod
    def restore(self, state: Arrays) -> None:
        """Take up what a checkpoint kept."""


class Pool(Collector):
    """Codes of each document pooled over its valid tokens.

    A batch's documents are few, so they are pooled in a dense scratch of [documents of the batch, d_sae]
    and leave it as entries; a document that spans several rows is put together at the end.

    Args:
        how: `mean`, `max` (the largest activation of those that fire), `last` (last valid token)
            or `effect` (mean of the code times the token's decoding scale).
        lengths: Valid tokens of each document, `[documents]`.
        width: Number of latents.
    """

    def __init__(self, how: str, lengths: np.ndarray, width: int) -> None:
        self.how = how
        self._lengths = lengths
        self._width = width
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        known, place = batch.document.unique(return_inverse=True)
        if self.how == "last":
            codes, place = codes[batch.last], place[batch.last]
        values = codes.values.double()
        if self.how == "effect" and "scale" in codes.ctx:
            values = values * codes.ctx["scale"].double().reshape(-1)[codes.tokens]
        flat = place[codes.tokens] * self._width + codes.latents
        entries, pooled = self._reduced(flat, values, len(known))
        document = known[entries // self._width].cpu().numpy()
        latent = (entries % self._width).cpu().numpy()
        part = (document, latent.astype(np.int32), pooled.cpu().numpy())
        return lambda: self._parts.append(part)

    def _reduced(self, flat: Tensor, values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Entries `[nnz]` of the scratch that were touched, and their reduced values."""
        scratch = values.new_zeros(rows * self._width)
        if self.how == "max":
            scratch.scatter_reduce_(0, flat, values, "amax", include_self=False)
            touched = torch.zeros(len(scratch), dtype=torch.bool, device=flat.device)
            touched[flat] = True
            entries = touched.nonzero().view(-1)
        else:
            scratch.index_add_(0, flat, values)
            entries = _nonzero(scratch)
        return entries, scratch[entries]

    def pooled(self) -> Codes:
        """The pooled codes, `[documents, d_sae]` float32."""
        document, latent, values = (np.concatenate(column) for column in self._columns())
        order = np.argsort(document, kind="stable")
        document, latent, values = document[order], latent[order], values[order]
        keys = document.astype(np.int64) * self._width + latent
        if not (np.diff(keys) > 0).all():  # a document that spans rows of several batches
            merged, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            joined = np.full(len(merged), -np.inf) if self.how == "max" else np.zeros(len(merged))
            (np.maximum if self.how == "max" else np.add).at(joined, inverse, values)
            document, latent, values = document[first], latent[first], joined
        if self.how in ("mean", "effect"):
            values = values / self._lengths[document]
        codes = Codes(
            offsets=torch.from_numpy(np.searchsorted(document, np.arange(len(self._lengths) + 1))),
            latents=torch.from_numpy(latent.astype(np.int64)),
            values=torch.from_numpy(values.astype(np.float32)),
            width=self._width,
        )
        return codes.keep(codes.values != 0)

    def _columns(self) -> Iterable[tuple[np.ndarray, ...]]:
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))
        return zip(*(self._parts or [empty]), strict=True)

    def state(self) -> Arrays:
        return {str(i): np.concatenate(column) for i, column in enumerate(self._columns())}

    def restore(self, state: Arrays) -> None:
        self._parts = [(state["0"], state["1"], state["2"])]


class Picked(Collector):
    """Codes with their context at the one token of each item that is looked at."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Codes]] = []

    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        document = batch.document.clone()
        return lambda: self._parts.append((document, codes))

    def codes(self) -> Codes:
        """The codes in the order of the items, `[items, d_sae]`."""
        order = torch.cat([document for document, _ in self._parts]).argsort()
        return Codes.cat([codes for _, codes in self._parts])[order]

    def state(self) -> Arrays:
        if not self._parts:
            return {}
        whole = Codes.cat([codes for _, codes in self._parts])
        kept = {"document": torch.cat([document for document, _ in self._parts])}
        kept |= {"offsets": whole.offsets, "latents": whole.latents, "values": whole.values}
        kept |= {"width": torch.tensor(whole.width), **{f"ctx.{k}": v for k, v in whole.ctx.items()}}
        return {name: value.cpu().numpy() for name, value in kept.items()}

    def restore(self, state: Arrays) -> None:
        kept = {name: torch.from_numpy(np.atleast_1d(value)) for name, value in state.items()}
        ctx = {name.removeprefix("ctx."): value for name, value in kept.items() if name.startswith("ctx.")}
        codes = Codes(kept["offsets"], kept["latents"], kept["values"], int(kept["width"]), ctx)
        self._parts = [(kept["document"], codes)]


class Density(Collector):
    """On how many tokens each latent fires, and its largest activation."""

    def __init__(self, width: int) -> None:
        self.fires = np.zeros(width, dtype=np.int64)
        self.maximum = np.zeros(width)
        self.tokens = 0

    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        fires = codes.fires.cpu().numpy()
        top = codes.values.new_zeros(codes.width).scatter_reduce_(0, codes.latents, codes.values, "amax")
        maximum, tokens = top.double().cpu().numpy(), codes.n

        def add() -> None:
            self.fires += fires
            self.maximum = np.maximum(self.maximum, maximum)
            self.tokens += tokens

        return add

    def state(self) -> Arrays:
        return {"fires": self.fires, "maximum": self.maximum, "tokens": np.array(self.tokens)}

    def restore(self, state: Arrays) -> None:
        self.fires, self.maximum, self.tokens = state["fires"], state["maximum"], int(state["tokens"])


class Means:
    """Activations at a hook pooled over each document's valid tokens; the same for every SAE.

    Args:
        how: `mean`, `max` or `last`.
        lengths: Valid tokens of each document, `[documents]`.
    """

    def __init__(self, how: str, lengths: np.ndarray, width: int) -> None:
        self.how = how
        self._lengths = lengths
        self.sums = np.full((len(lengths), width), -np.inf if how == "max" else 0.0)

    def adder(self, acts: Tensor, batch: Batch) -> Callable[[], None]:
        """A function that adds the activations `[tokens, d]` of a batch's valid tokens."""
        known, place = batch.document.unique(return_inverse=True)
        acts = acts.double()
        if self.how == "last":
            acts, place = acts[batch.last], place[batch.last]
        reduced = acts.new_zeros(len(known), acts.shape[1])
        if self.how == "max":
            index = place[:, None].expand_as(acts)
            reduced.scatter_reduce_(0, index, acts, "amax", include_self=False)
        else:
            reduced.index_add_(0, place, acts)
        rows, values = known.cpu().numpy(), reduced.cpu().numpy()

        def add() -> None:
            if self.how == "max":
                self.sums[rows] = np.maximum(self.sums[rows], values)
            else:
                self.sums[rows] += values

        return add

    def of(self, rows: np.ndarray) -> Means:
        """The same of some documents, in an order of their own."""
        part = Means(self.how, self._lengths[rows], self.sums.shape[1])
        part.sums = self.sums[rows]
        return part

    def pooled(self) -> Tensor:
        """The pooled activations, `[documents, d]` float32; a document without valid tokens has zeros."""
        some = np.maximum(self._lengths, 1)[:, None]
        values = np.where(self._lengths[:, None] > 0, self.sums, 0.0)
        return torch.from_numpy((values / some if self.how == "mean" else values).astype(np.float32))


def _nonzero(values: Tensor) -> Tensor:
    if values.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(values.numpy()))
    return values.nonzero().view(-1)
