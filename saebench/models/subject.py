"""The subject model: tokens to activations at named hooks, to logits, and on from a changed activation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saebench.devices import host_of
from saebench.errors import UserError
from saebench.models.fingerprint import content_hash
from saebench.models.past import Past, suffix
from saebench.models.sites import EMBED, KINDS, RESIDUAL, Site, name_of, parse_hook, parts_of

if TYPE_CHECKING:
    from saebench.data.synthetic import Synthetic

FAILURES = (TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError)
"""What a foreign model may raise when it is run in a way that it was not made for."""


@dataclass
class Run:
    """What one forward pass left behind, and what resuming from its hooks needs.

    Attributes:
        tokens: Token ids `[batch, length]` on the model's device.
        acts: Activation by hook, `[batch, length, width]`.
        final: Hidden states after the final norm, before the head, or None after an early exit.
        entering: By hook, the residual from which the hook's layer is run again.
        past: What the model remembers: of all tokens after `remember`, of those before these after `after`.
    """

    tokens: Tensor
    acts: dict[str, Tensor]
    final: Tensor | None
    entering: dict[str, Tensor] = field(default_factory=dict)
    past: Past | None = None

    def after(self, at: Tensor, length: int | None = None) -> Run:
        """The run from one position of each row on, with what lies before it as keys and values.

        Args:
            at: Positions `[batch]`.
            length: Tokens to keep from there on; all by default.

        Returns:
            A run of `[batch, length]` tokens that `resume` goes on with; rows that end earlier repeat their last token.
        """
        assert self.past is not None
        n = length or self.tokens.shape[1] - int(at.min())
        acts, entering = ({k: suffix(v, at, n) for k, v in part.items()} for part in (self.acts, self.entering))
        return Run(suffix(self.tokens, at, n), acts, None, entering, self.past.before(at))


class Subject(ABC):
    """A causal language model as the harness sees it.

    Rows are right-padded and no attention mask is ever given: in a causal model, padding after a
    token cannot move it. The model is put in evaluation mode while it runs, its weights get no
    gradients, and it is handed back exactly as it was: modules, hooks and modes, after an exception too.

    Attributes:
        name: Label in tables: hub id, directory name, or class name.
        revision: Hub commit the weights came from, if known.
        d_model: Width of the residual stream.
        n_layers: Number of blocks.
        vocab_size: Number of logits.
        tokenizer: Its tokenizer, or None.
        max_context: Longest context it accepts, or None where there is no limit.
        has_logits: Whether anything comes after its hooks.
        truth: The features its activations are made of, where they are known.
    """

    name: str
    revision: str | None = None
    d_model: int
    n_layers: int
    vocab_size: int
    tokenizer: Any = None
    max_context: int | None = None
    has_logits: bool = True
    truth: Synthetic | None = None

    def __init__(self, model: Any) -> None:
        self.model: Any = model
        self._sites: dict[str, Site] = {}
        self._proved: set[str] = set()
        self._remembers: dict[str, bool] = {}
        self._causal = False

    # what it is

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the weights, 16 hex digits; see `saebench.models.fingerprint`."""
        return content_hash(self.model.state_dict())

    @property
    def device(self) -> torch.device:
        """Where tokens go in and activations come out: where the model runs, or the CPU if that has no float64."""
        return host_of(self.runs_on)

    @property
    @abstractmethod
    def runs_on(self) -> torch.device:
        """Where the model computes; the device of its embedding where it is spread over several."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of the weights."""

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the beginning, end and padding tokens that exist."""
        found: set[int] = set()
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = self._token_id(name)
            found.update(value if isinstance(value, (list, tuple)) else [value] if value is not None else [])
        return frozenset(int(i) for i in found if 0 <= int(i) < self.vocab_size)

    @cached_property
    def bos_id(self) -> int | None:
        """Id of the beginning token, if the model has one."""
        value = self._token_id("bos_token_id")
        return int(value) if isinstance(value, int) and 0 <= value < self.vocab_size else None

    def _token_id(self, name: str) -> Any:
        return getattr(self.tokenizer if self.tokenizer is not None else self._config(), name, None)

    @abstractmethod
    def _config(self) -> Any:
        """The object that holds the model's settings."""

    # where it can be read

    def site(self, hook: str) -> Site:
        """The validated place of a hook; `A + B` has the lower layer of the two and both widths together.

        Raises:
            UserError: The name is unknown, its layer is out of range, or this architecture has no such place.
        """
        parts = parts_of(hook)
        if len(parts) > 1 and hook not in self._sites:
            sites = [self.site(part) for part in parts]
            self._sites[hook] = Site(hook, min(site.layer for site in sites), sum(site.width for site in sites), False)
        if hook not in self._sites:
            kind, layer = parse_hook(hook, self.n_layers, self.sites)
            reason = self._absent(kind, layer)
            if reason:
                raise UserError(f"Hook {hook!r} does not exist on {self.name} ({self.architecture}): {reason}.")
            self._sites[hook] = Site(hook, layer, self._width(kind, layer), kind in RESIDUAL)
        return self._sites[hook]

    def sites(self) -> list[str]:
        """Names of all hooks that exist on this model, in the order of the forward pass."""
        names = [EMBED] if self._absent(EMBED, 0) is None else []
        return names + [
            name_of(kind, layer)
            for layer in range(self.n_layers)
            for kind in KINDS
            if self._absent(kind, layer) is None
        ]

    @property
    def architecture(self) -> str:
        """Class name of the model."""
        return type(self.model).__name__

    @abstractmethod
    def _absent(self, kind: str, layer: int) -> str | None:
        """Why the hook does not exist here, or None if it does."""

    @abstractmethod
    def _width(self, kind: str, layer: int) -> int:
        """Size of the hook's last axis."""

    # what it does

    def forward(self, tokens: Tensor, hooks: Sequence[str] = (), *, final: bool = True) -> Run:
        """Run the model and keep the activations at hooks.

        Args:
            tokens: Ids `[batch, length]`, rows padded on the right.
            hooks: Names of hooks to keep; `A + B` keeps both and what they hold side by side.
            final: Whether the final hidden states are wanted; without them the pass ends as soon as
                the last wanted hook has fired.

        Raises:
            UserError: Unknown hook, tokens of the wrong shape, out of the vocabulary or too long,
                a model that is not causal, or a hook that never fired.
        """
        sites = [self.site(part) for part in dict.fromkeys(part for hook in hooks for part in parts_of(hook))]
        tokens = self._checked(tokens)
        self._prove_causal()
        if not sites and not final:
            return Run(tokens, {}, None)
        run = self._forward(tokens, sites, final)
        for hook in hooks:
            if hook not in run.acts:
                acts = [run.acts[part] for part in parts_of(hook)]
                run.acts[hook] = torch.cat([one.to(acts[0].device, acts[0].dtype) for one in acts], dim=-1)
        return run

    def resume(self, run: Run, hook: str, value: Tensor) -> Tensor:
        """Final hidden states with the activation at a hook replaced; only layers from the hook on are run.

        Args:
            run: A run of this model that kept the hook.
            hook: Name of the hook.
            value: New activation `[batch, length, width]`. The clean one gives the clean result bit for bit.
                Where it requires gradients they flow to it, and to nothing of the model.

        Returns:
            Hidden states after the final norm, `[batch, length, d_model]`.

        Raises:
            UserError: The run did not keep the hook, or the value has the wrong shape.
        """
        site = self.site(hook)
        if hook not in run.acts:
            raise UserError(f"Cannot resume from {hook!r}: the run kept {sorted(run.acts) or 'no hooks'}.")
        clean = run.acts[hook]
        if value.shape != clean.shape:
            raise UserError(f"Value for {hook!r} has shape {list(value.shape)}, expected {list(clean.shape)}.")
        self._prove(site)
        return self._resume(run, site, value.to(device=clean.device, dtype=clean.dtype))

    def ignores_mean(self, hook: str) -> bool:
        """Whether nothing after a hook reads the mean over its width, as in a model with LayerNorm alone."""
        if not self.has_logits:
            return False
        run = self.forward(self._probe_tokens(), [hook])
        assert run.final is not None
        clean = run.acts[hook]
        moved = self.resume(run, hook, clean + clean.std())
        scale = float(run.final.abs().max())
        return float((moved - run.final).abs().max()) <= max(1e-3, 16 * torch.finfo(clean.dtype).eps) * scale

    @property
    def processing(self) -> frozenset[str]:
        """TransformerLens' options that changed its activations: `center_writing_weights`, `fold_ln`."""
        return frozenset()

    def remembers(self, hook: str) -> bool:
        """Whether rows can be run on from a position in their middle, as `Run.after` cuts them.

        Tried once: an edit of the middle must give what it gives when the whole rows are run. What holds it back is
        a model whose layers remember in another way than by keys and values, or none that we can hand to it.
        """
        if hook not in self._remembers:
            site = self.site(hook)
            self._prove(site)
            self._remembers[hook] = self._remembered(site)
        return self._remembers[hook]

    def remember(self, tokens: Tensor, hook: str) -> Run:
        """As `forward` with final states, and with the keys and values that `Run.after` needs.

        Raises:
            UserError: As `forward`; or this model does not remember (see `remembers`).
        """
        if not self.remembers(hook):
            raise UserError(f"{self.name} ({self.architecture}) cannot run on from the middle of a row at {hook!r}.")
        return self._remember(self._checked(tokens), self.site(hook))

    def _remember(self, tokens: Tensor, site: Site) -> Run:
        raise NotImplementedError

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits `[..., vocab]` of final hidden states `[..., d_model]` by the model's own head.

        Soft-capping and scaling are included. Any subset of positions may be given.
        """

    @abstractmethod
    def _forward(self, tokens: Tensor, sites: Sequence[Site], final: bool) -> Run: ...

    @abstractmethod
    def _resume(self, run: Run, site: Site, value: Tensor) -> Tensor: ...

    # what is checked

    def _checked(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 2 or tokens.dtype.is_floating_point or 0 in tokens.shape:
            raise UserError(f"Tokens must be ids of shape [batch, length], got {tokens.dtype} {list(tokens.shape)}.")
        if self.max_context is not None and tokens.shape[1] > self.max_context:
            raise UserError(
                f"A context of {tokens.shape[1]} tokens is longer than the {self.max_context} that {self.name} "
                f"accepts. Give a shorter one in the suite: data: {{text: {{context: {self.max_context}}}}}."
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

    def __repr__(self) -> str:
        return f"<Subject {self.name}: {self.architecture}, {self.n_layers} layers, d_model {self.d_model}>"


def wants_grad(tensor: Tensor) -> bool:
    """Whether what is computed from a tensor is to be differentiated."""
    return tensor.requires_grad and torch.is_grad_enabled()
