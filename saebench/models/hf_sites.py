"""Where a transformers model can be read, found out by watching a pass, and why not where it cannot."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.models import sites as at
from saebench.models.affine import Affine, affine_of
from saebench.models.anatomy import Block, projection_width
from saebench.models.flow import PARALLEL, UNKNOWN, Trace, stream_broken, traced
from saebench.models.hf_passes import HFPasses, finish
from saebench.models.proofs import FAILURES
from saebench.models.surgery import Point, operate, unpacked

_OF_ATTENTION = (at.ATTN_NORMALIZED, at.ATTN_IN, at.Z, at.ATTN_OUT)


class HFSites(HFPasses):
    """The hooks of a Hugging Face model."""

    def __init__(self, model: Any, name: str, tokenizer: Any = None, revision: str | None = None) -> None:
        super().__init__(model, name, tokenizer, revision)
        self._reasons: dict[tuple[Any, ...], dict[str, str | None]] = {}
        self._affines: dict[str, Affine | None] = {}
        self._middles: dict[tuple[Any, ...], str | None] = {}

    @cached_property
    def _blocks(self) -> tuple[Block, ...]:
        """The blocks, with what one pass shows of how activations flow through one of each build."""
        self._prove_causal()  # also that its values are finite
        blocks = self._anatomy.blocks
        traces = [Trace(block) for block in blocks]
        seen: set[tuple[Any, ...]] = set()
        tokens = self._probe_tokens()
        with self._on_text(), operate(self.model) as op:
            for trace in traces:
                trace.watch(op, inside=trace.block.kind not in seen)
                seen.add(trace.block.kind)
            ends: list[Any] = []
            op.observe(self._anatomy.trunk, lambda args, kwargs, output: ends.append(unpacked(output)))
            output = self._call(op, tokens)
        reason = stream_broken(traces, [*tokens.shape, self.d_model]) or self._headless(ends, output)
        if reason:
            raise UserError(f"{self.name} ({self.architecture}) cannot be read here: {reason}.")
        models = {trace.block.kind: trace for trace in reversed(traces)}
        found = {kind: trace.refined() for kind, trace in models.items()}
        self._reasons = {kind: trace.reasons(found[kind]) for kind, trace in models.items()}
        self._idle = frozenset(i for i, trace in enumerate(traces) if not trace.parts)
        return tuple(traced(block, models[block.kind].block, found[block.kind]) for block in blocks)

    def _headless(self, ends: list[Any], output: Any) -> str | None:
        """Why the logits do not follow from what its stack of blocks gave, or None if they do."""
        if len(ends) != 1:
            return f"its stack of blocks runs {len(ends)} times in a pass"
        try:
            logits = self.logits(ends[0])
        except torch.OutOfMemoryError:
            raise
        except FAILURES:
            logits = None
        plain = (output.logits if hasattr(output, "logits") else output[0]).to(self.device)
        fine = logits is not None and logits.shape == plain.shape and self._same(logits, plain)
        return None if fine else "its logits do not follow from what leaves its stack of blocks"

    def _point(self, kind: str, layer: int) -> Point | None:
        block = self._blocks[layer]
        return {
            at.EMBED: self._anatomy.embed,
            at.RESID_PRE: block.resid_pre,
            at.RESID_POST: block.resid_post,
            at.RESID_MID: block.mid,
            at.ATTN_NORMALIZED: block.attn_in if block.attn_norm else None,
            at.ATTN_IN: block.attn_in,
            at.ATTN_OUT: block.mixed if block.attends else None,
            at.MLP_OUT: block.mlp_out,
            at.NORMALIZED: block.mlp_in if block.norm else None,
            at.MLP_IN: block.mlp_in,
            at.NEURONS: block.neurons,
            at.Z: block.z,
        }[kind]

    def _absent(self, kind: str, layer: int) -> str | None:
        point, block = self._point(kind, layer), self._blocks[layer]
        if layer in self._idle and kind != at.EMBED:
            return "this block does not run on text alone"
        if kind in _OF_ATTENTION and not block.attends and block.mixer:
            return f"this block has {type(self.model.get_submodule(block.mixer)).__name__} in the place of attention"
        branch = {at.NORMALIZED: block.mlp_in, at.ATTN_NORMALIZED: block.attn_in}.get(kind)
        if branch is not None and self._affine(kind, layer) is None:
            what = "MLP" if kind == at.NORMALIZED else "attention"
            return f"no layer norm or RMS norm with a weight stands before its {what}"
        if kind == at.RESID_MID and point is None:
            return PARALLEL if block.mlp_in is not None else UNKNOWN
        part = {at.ATTN_OUT: "mixed", at.MLP_OUT: "mlp_out", at.NEURONS: "neurons"}.get(kind)
        if part == "neurons" or (part and point is not None):
            return self._reasons[block.kind][part]
        if point is None:
            return UNKNOWN
        return self._no_middle(block) if kind == at.RESID_MID else None

    def _width(self, kind: str, layer: int) -> int:
        if kind not in (at.Z, at.NEURONS):
            return self.d_model
        point = self._point(kind, layer)
        assert point is not None
        return projection_width(self.model.get_submodule(point.path))

    def _affine(self, kind: str, layer: int) -> Affine | None:
        """Weight and bias of the norm after which a hook lies, of `ln1.hook_normalized` and `ln2.hook_normalized`."""
        block = self._blocks[layer]
        path = {at.NORMALIZED: block.norm, at.ATTN_NORMALIZED: block.attn_norm}.get(kind)
        if path is None:
            return None
        if path not in self._affines:
            like = torch.zeros((), device=self.runs_on, dtype=self.dtype)
            with operate(self.model):
                self._affines[path] = affine_of(self.model.get_submodule(path), self.d_model, like)
        return self._affines[path]

    def _no_middle(self, block: Block) -> str | None:
        """Why there is no residual between attention and MLP, found out by running one block of each build.

        With attention zero and the clean middle residual as its input, a block must give its clean output.
        """
        if block.kind not in self._middles:
            self._middles[block.kind] = self._middle_examined(block)
        return self._middles[block.kind]

    def _middle_examined(self, block: Block) -> str | None:
        if block.mixed is None or block.mid is None:
            return "what its blocks do before the MLP is not known by name"
        wanted = {block.resid_pre, block.mid, block.resid_post}
        seen = self._read(self._probe_tokens(), wanted | self._formats(block), keep=wanted)
        if len(seen) < len(wanted):
            return "a part of its blocks is there, but never runs"
        if torch.equal(seen[block.mid], seen[block.resid_pre]):
            return PARALLEL
        zero = torch.zeros_like(seen[block.mid])
        try:
            again = self._run_block(self._probe_tokens(), block, seen[block.mid], {block.mixed: zero})
        except torch.OutOfMemoryError:
            raise
        except FAILURES:
            return "its blocks read more of attention than what it adds to the residual"
        if self._same(again, seen[block.resid_post]):
            return None
        return self._reasons[block.kind]["mixed"] or "the MLP's norm does not read the residual stream"

    def _run_block(self, tokens: Tensor, block: Block, resid: Tensor, outputs: dict[Point, Tensor]) -> Tensor:
        got: list[Tensor] = []
        with operate(self.model) as op:
            self._enter(op, self._blocks.index(block), resid)
            for point, value in outputs.items():
                self._put(op, block, point, value)
            op.read(block.resid_post, partial(finish, got.append))
            self._call(op, tokens)
        return got[0].reshape(resid.shape).to(self.device)

    def _has_mid(self, layer: int) -> bool:
        return self._blocks[layer].mid is not None and self._absent(at.RESID_MID, layer) is None
