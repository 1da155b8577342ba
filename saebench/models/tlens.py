"""A TransformerLens `HookedTransformer` as the subject, read and changed at its own hook points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.models import sites as at
from saebench.models.run import Run, wants_grad
from saebench.models.sites import Site, name_of
from saebench.models.subject import Subject
from saebench.models.surgery import Point, Stop, Surgery, operate

_FINAL = Point("unembed", "in")


class HookedSubject(Subject):
    """A HookedTransformer; resumes with `start_at_layer`.

    The weights are taken as they are: with folded norms or centred writing weights (TransformerLens'
    defaults) activations differ from those of the original model, and so does the fingerprint.
    """

    def __init__(self, model: Any, name: str, tokenizer: Any = None) -> None:
        super().__init__(model)
        cfg = self._config()
        self.name = name
        self.tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
        self.d_model, self.n_layers, self.vocab_size = int(cfg.d_model), int(cfg.n_layers), int(cfg.d_vocab_out)
        self.max_context = int(cfg.n_ctx)
        if cfg.positional_embedding_type == "shortformer":
            raise UserError(f"{name} has shortformer positions, which cannot be resumed from a layer.")
        self._parts = dict(model.named_modules())

    @property
    def runs_on(self) -> torch.device:
        return self.model.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.W_E.dtype

    @cached_property
    def processing(self) -> frozenset[str]:
        written = [w.detach() for w in (self.model.W_E, *(block.attn.W_O for block in self.model.blocks))]
        centred = all(float(w.mean(-1).abs().max()) < 1e-3 * float(w.std()) for w in written)
        folded = str(self._config().normalization_type or "").endswith("Pre")
        return frozenset(["center_writing_weights"] * centred + ["fold_ln"] * folded)

    def _config(self) -> Any:
        return self.model.cfg

    def _point(self, kind: str, layer: int) -> Point:
        if kind == at.MLP_IN:
            return Point(f"blocks.{layer}.mlp", "in")
        return Point(name_of(kind, layer), "out")

    def _absent(self, kind: str, layer: int) -> str | None:
        if kind == at.ATTN_IN:
            return "TransformerLens has no such hook point"
        if kind == at.RESID_MID and self._config().parallel_attn_mlp:
            return "its blocks run attention and MLP in parallel, so no residual lies between them"
        return None if self._point(kind, layer).path in self._parts else "it has no such hook point"

    def _width(self, kind: str, layer: int) -> int:
        cfg = self._config()
        wide = {at.Z: cfg.n_heads * cfg.d_head, at.NEURONS: cfg.d_mlp}
        return int(wide.get(kind) or self.d_model)

    def _forward(self, tokens: Tensor, sites: Sequence[Site], final: bool) -> Run:
        points = {site.hook: self._point(site.kind, site.layer) for site in sites}
        starts = {
            site.hook: self._point(at.RESID_PRE, site.layer)
            for site in sites
            if site.kind not in at.RESIDUAL - {at.RESID_MID} and site.kind != at.EMBED
        }
        wanted = {*points.values(), *starts.values(), *([_FINAL] if final else [])}
        seen: dict[Point, Tensor] = {}

        def see(point: Point, tensor: Tensor) -> None:
            seen[point] = tensor.detach().to(self.device, copy=True).reshape(*tokens.shape, -1)
            if len(seen) == len(wanted):
                raise Stop

        with operate(self.model) as op:
            for point in wanted:
                op.read(point, partial(see, point))
            self._call(op, tokens)
        for hook, point in points.items():
            if point not in seen:
                raise UserError(f"Hook {hook!r} never fired on {self.name} ({self.architecture}).")
        acts = {hook: seen[point] for hook, point in points.items()}
        return Run(tokens, acts, seen.get(_FINAL), {hook: seen[point] for hook, point in starts.items()})

    def _resume(self, run: Run, site: Site, value: Tensor) -> Tensor:
        got: list[Tensor] = []
        fired = None

        def finish(tensor: Tensor) -> None:
            got.append(tensor)
            raise Stop

        with operate(self.model, grad=wants_grad(value)) as op:
            op.read(_FINAL, finish)
            if site.kind == at.RESID_POST:
                self._call(op, value, start_at_layer=site.layer + 1)
            elif site.kind == at.RESID_PRE:
                self._call(op, value, start_at_layer=site.layer)
            else:
                fired = op.write(self._point(site.kind, site.layer), value)
                if site.hook in run.entering:
                    self._call(op, run.entering[site.hook], start_at_layer=site.layer)
                else:
                    self._call(op, run.tokens)
        often = 3 if site.kind == at.ATTN_NORMALIZED else 1  # once each for queries, keys and values
        if not got or (fired is not None and fired() != often):
            raise UserError(f"Hook {site.hook!r} did not fire once when resuming {self.name} ({self.architecture}).")
        return got[0].to(self.device)

    def logits(self, hidden: Tensor) -> Tensor:
        batch = (hidden if hidden.ndim == 3 else hidden.reshape(1, -1, hidden.shape[-1])).to(self.runs_on)
        with operate(self.model, grad=wants_grad(hidden)):
            logits = self.model.unembed(batch)
            cap = float(self._config().output_logits_soft_cap or -1.0)
            logits = cap * torch.tanh(logits / cap) if cap > 0 else logits
        return logits.reshape(*hidden.shape[:-1], logits.shape[-1]).to(self.device)

    def _call(self, op: Surgery, batch: Tensor, start_at_layer: int | None = None) -> None:
        side = {} if getattr(self.model, "tokenizer", None) is None else {"padding_side": "right"}
        given = batch.to(self.runs_on, copy=True)
        op.run(given, return_type="logits", prepend_bos=False, start_at_layer=start_at_layer, **side)
