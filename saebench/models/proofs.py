"""What is tried once of a model before its numbers are trusted: is it causal, and can it be run on from a hook?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.models.run import Run
from saebench.models.sites import Site

FAILURES = (TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError)
"""What a foreign model may raise when it is run in a way that it was not made for."""


class Proved(ABC):
    """A model that is run on tokens and on from hooks once it has shown that it can be; see `Subject`."""

    name: str
    vocab_size: int
    max_context: int | None

    def __init__(self) -> None:
        self._causal = False
        self._proved: set[str] = set()

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where tokens go in and activations come out."""

    @property
    @abstractmethod
    def runs_on(self) -> torch.device:
        """Where the model computes; the device of its embedding where it is spread over several."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of the weights."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """Class name of the model."""

    @abstractmethod
    def _forward(self, tokens: Tensor, sites: Sequence[Site], final: bool) -> Run: ...

    @abstractmethod
    def _resume(self, run: Run, site: Site, value: Tensor) -> Tensor: ...

    def _remember(self, tokens: Tensor, site: Site) -> Run:
        raise NotImplementedError

    def _checked(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 2 or tokens.dtype.is_floating_point or 0 in tokens.shape:
            raise UserError(f"Tokens must be ids of shape [batch, length], got {tokens.dtype} {list(tokens.shape)}.")
        if self.max_context is not None and tokens.shape[1] > self.max_context:
            raise UserError(
                f"A context of {tokens.shape[1]} tokens is longer than the {self.max_context} that {self.name} accepts."
            )
        if tokens.device.type == "cpu" and (int(tokens.max()) >= self.vocab_size or int(tokens.min()) < 0):
            raise UserError(
                f"Token id {int(tokens.max())} is outside the {self.vocab_size} of {self.name}: wrong tokenizer?"
            )
        return tokens.to(device=self.device, dtype=torch.long)

    def _probe_tokens(self, rows: int = 1) -> Tensor:
        length = min(8, self.max_context or 8)
        row = torch.arange(1, length + 1, device=self.device) % self.vocab_size
        return row.repeat(rows, 1)

    @contextmanager
    def _on_text(self) -> Iterator[None]:
        """Say of a first pass that fails that the model does not run on token ids alone."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"{self.name} ({self.architecture}) does not run on token ids alone: {type(error).__name__}: {reason}."
            ) from error

    def _prove_causal(self) -> None:
        """Check once that a later token does not move earlier ones; without it, unmasked padding would."""
        if self._causal:
            return
        tokens = self._probe_tokens(rows=2)
        tokens[1, -1] = (tokens[1, -1] + 1) % self.vocab_size
        with self._on_text():
            final = self._forward(tokens, (), True).final
        assert final is not None
        if not torch.isfinite(final).all():
            raise UserError(f"{self.name} gives NaN or Inf in {self.dtype}: try dtype='float32' or check its weights.")
        first, second = final[:, :-1].float()
        rounding = 1e-5 if self.dtype is torch.float32 else 1e-3
        if not torch.allclose(first, second, rtol=10 * rounding, atol=rounding * float(first.abs().max())):
            raise UserError(f"{self.name} ({self.architecture}) is not causal: a later token moves earlier ones.")
        self._causal = True

    def _prove(self, site: Site) -> None:
        """Check once that resuming from a hook with its clean value gives the clean result on this model."""
        if site.hook in self._proved:
            return
        run = self._forward(self._probe_tokens(), [site], True)
        assert run.final is not None
        try:
            again = self._resume(run, site, run.acts[site.hook])
        except torch.OutOfMemoryError:
            raise
        except FAILURES:  # a layer asks more of the one before it than the residual
            again = None
        if again is None or not self._same(again, run.final):
            raise UserError(
                f"Cannot resume {self.name} ({self.architecture}) from {site.hook!r}: running on from the unchanged "
                "activation does not give the unchanged result, so layers share state beside the residual stream."
            )
        self._proved.add(site.hook)

    def _remembered(self, site: Site) -> bool:
        """Whether running on from the middle of rows gives what running the whole rows gives."""
        tokens = self._probe_tokens(rows=3)
        at = torch.tensor([0, 1, 2], device=tokens.device).clamp_max(tokens.shape[1] - 1)
        rows = torch.arange(3, device=tokens.device)
        if tokens.shape[1] < 2:
            return False
        try:
            run = self._remember(tokens, site)
            late = run.after(at)
            part = late.acts[site.hook].flip(-1)
            value = run.acts[site.hook].clone()
            for row, start in zip(rows.tolist(), at.tolist(), strict=True):
                value[row, start:] = part[row, : tokens.shape[1] - start]
            whole = self._resume(Run(run.tokens, run.acts, None, run.entering), site, value)
            again = self._resume(late, site, part)
        except torch.OutOfMemoryError:
            raise
        except (*FAILURES, UserError):
            return False
        bound = max(1e-4, min(0.05, 8 * torch.finfo(whole.dtype).eps)) * float(whole.abs().max())
        ends = (tokens.shape[1] - 1 - at, torch.full_like(at, tokens.shape[1] - 1))
        return float((again[rows, ends[0]] - whole[rows, ends[1]]).abs().max()) <= bound

    def _same(self, a: Tensor, b: Tensor) -> bool:
        """Whether two results are equal; elsewhere than on a CPU, up to sums taken in another order."""
        if self.runs_on.type == "cpu" or torch.equal(a, b):
            return torch.equal(a, b)
        return float((a - b).abs().max()) <= 8 * torch.finfo(b.dtype).eps * float(b.abs().max())
