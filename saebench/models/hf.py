"""A transformers causal language model as the subject: its activations at hooks, and on from changed ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from saebench.errors import UserError
from saebench.models import sites as at
from saebench.models.hf_passes import finish
from saebench.models.hf_sites import HFSites
from saebench.models.past import Past
from saebench.models.run import Run, wants_grad
from saebench.models.sites import Site
from saebench.models.surgery import Point, operate

_OF_MLP = (at.NORMALIZED, at.MLP_IN, at.NEURONS, at.MLP_OUT)


class HFSubject(HFSites):
    """A Hugging Face model.

    `hook_attn_out` and `hook_mlp_out` are what the branch adds to the residual, so after the
    post-norm in families that have one (Gemma-2, Gemma-3, OLMo-2, GLM-4), as in TransformerLens;
    a constant multiplier on the branch (Granite) is not included. `hook_embed` is the token
    embedding, with Gemma's scale, without positions.
    """

    def _remember(self, tokens: Tensor, site: Site) -> Run:
        cache = DynamicCache()
        run = self._forward(tokens, [site], True, cache)
        kept = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
        layers = tuple((k, v) for k, v in kept if isinstance(k, Tensor) and isinstance(v, Tensor))
        if len(layers) != self.n_layers or any(k.shape[2] != tokens.shape[1] for k, _ in layers):
            raise NotImplementedError("its layers do not each remember all tokens by keys and values")
        run.past = Past(layers, torch.ones_like(tokens, dtype=torch.bool)).above(site.layer)
        return run

    def _forward(self, tokens: Tensor, sites: Sequence[Site], final: bool, cache: DynamicCache | None = None) -> Run:
        points = {site.hook: self._point(site.kind, site.layer) for site in sites}
        starts = {site.hook: self._start(site) for site in sites}
        keep = {p for p in (*points.values(), *starts.values()) if p is not None}
        watch = set(keep)
        for site in sites:
            if site.kind in (at.ATTN_OUT, at.RESID_MID, *_OF_MLP):
                watch |= self._formats(self._blocks[site.layer])
        end = Point(self._anatomy.trunk, "out")
        seen = self._read(tokens, watch | {end} if final else watch, keep | {end} if final else keep, cache)
        for hook in points:
            if points[hook] not in seen or (starts[hook] or points[hook]) not in seen:
                raise UserError(f"Hook {hook!r} never fired on {self.name} ({self.architecture}).")
        acts = {hook: seen[point] for hook, point in points.items() if point is not None}
        for site in sites:
            if (affine := self._affine(site.kind, site.layer)) is not None:
                acts[site.hook] = affine.before(acts[site.hook])
        return Run(
            tokens,
            acts,
            seen.get(end),
            {hook: seen[start] for hook, start in starts.items() if start is not None},
        )

    def _start(self, site: Site) -> Point | None:
        """The residual that resuming from a site needs beside the value: before the block, or in its middle."""
        block = self._blocks[site.layer]
        if site.kind in (at.ATTN_NORMALIZED, at.ATTN_IN, at.ATTN_OUT, at.Z):
            return block.resid_pre
        if site.kind in _OF_MLP:
            return block.mid if self._has_mid(site.layer) else block.resid_pre
        return None

    def _resume(self, run: Run, site: Site, value: Tensor) -> Tensor:
        block, kind, start = self._blocks[site.layer], site.kind, run.entering.get(site.hook)
        point = self._point(kind, site.layer)
        assert point is not None
        checks: list[Callable[[], int]] = []
        got: list[Tensor] = []
        with operate(self.model, grad=wants_grad(value)) as op:
            if kind in at.RESIDUAL:
                checks.append(self._enter(op, site.layer + (kind == at.RESID_POST), value))
            elif start is not None:
                checks.append(self._enter(op, site.layer, start))
            if kind == at.RESID_MID or (kind in _OF_MLP and self._has_mid(site.layer)):
                assert block.mixed is not None
                zero = torch.zeros_like(value if start is None else start)
                checks.append(self._put(op, block, block.mixed, zero))
            if kind in (at.ATTN_OUT, at.MLP_OUT):
                checks.append(self._put(op, block, point, value))
            elif (affine := self._affine(kind, site.layer)) is not None:
                checks.append(op.edit(point, partial(affine.moved, by=value - run.acts[site.hook])))
            elif kind not in at.RESIDUAL:
                checks.append(op.write(point, value))
            op.read(Point(self._anatomy.trunk, "out"), partial(finish, got.append))
            self._call(op, run.tokens, {} if run.past is None else run.past.call(run.tokens, self._takes_positions))
        if any(check() != 1 for check in checks) or not got:
            raise UserError(f"Hook {site.hook!r} did not fire once when resuming {self.name} ({self.architecture}).")
        return got[0].to(self.device)

    @cached_property
    def _takes_positions(self) -> bool:
        return "position_ids" in inspect.signature(self.model.forward).parameters
