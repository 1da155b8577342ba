"""The subject model: tokens to activations at named hooks, to logits, and on from a changed activation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saebench.devices import host_of
from saebench.errors import UserError
from saebench.models.fingerprint import content_hash
from saebench.models.proofs import Proved
from saebench.models.run import Run
from saebench.models.sites import EMBED, KINDS, RESIDUAL, Site, name_of, parse_hook, parts_of

if TYPE_CHECKING:
    from saebench.data.synthetic import Synthetic


class Subject(Proved):
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
        super().__init__()
        self.model: Any = model
        self._sites: dict[str, Site] = {}
        self._remembers: dict[str, bool] = {}

    # what it is

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the weights, 16 hex digits; see `saebench.models.fingerprint`."""
        return content_hash(self.model.state_dict())

    @property
    def device(self) -> torch.device:
        """Where tokens go in and activations come out: where the model runs, or the CPU if that has no float64."""
        return host_of(self.runs_on)

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

    @cached_property
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

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits `[..., vocab]` of final hidden states `[..., d_model]` by the model's own head.

        Soft-capping and scaling are included. Any subset of positions may be given.
        """

    def __repr__(self) -> str:
        return f"<Subject {self.name}: {self.architecture}, {self.n_layers} layers, d_model {self.d_model}>"
