"""A transformers causal language model as the subject, read and changed by forward hooks.

Resuming swaps the layers before a hook for stand-ins that pass the saved residual on, so that the
model's own forward runs the rest: positions, masks, rotary embeddings and soft-capping are its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from saebench.errors import UserError
from saebench.models import sites as at
from saebench.models.affine import Affine, affine_of
from saebench.models.anatomy import Block, dissect, projection_width, text_config
from saebench.models.fingerprint import content_hash
from saebench.models.flow import PARALLEL, UNKNOWN, Trace, stream_broken, traced
from saebench.models.past import Past
from saebench.models.sites import Site
from saebench.models.subject import FAILURES, Run, Subject, wants_grad
from saebench.models.surgery import Fixed, Point, Skip, Stop, Surgery, Swap, operate, unpacked

_OF_MLP = (at.NORMALIZED, at.MLP_IN, at.MLP_OUT)


class HFSubject(Subject):
    """A Hugging Face model.

    `hook_attn_out` and `hook_mlp_out` are what the branch adds to the residual, so after the
    post-norm in families that have one (Gemma-2, Gemma-3, OLMo-2, GLM-4), as in TransformerLens;
    a constant multiplier on the branch (Granite) is not included. `hook_embed` is the token
    embedding, with Gemma's scale, without positions.
    """

    def __init__(self, model: Any, name: str, tokenizer: Any = None, revision: str | None = None) -> None:
        super().__init__(model)
        self.name, self.tokenizer, self.revision = name, tokenizer, revision
        self._anatomy = dissect(model)
        config = self._config()
        head = model.get_output_embeddings().weight
        self.vocab_size = int(head.shape[0]) if head.ndim == 2 else int(config.vocab_size)
        width = getattr(config, "hidden_size", None)
        self.d_model = int(width or model.get_input_embeddings().embedding_dim)
        self.n_layers = len(self._anatomy.blocks)
        limit = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
        self.max_context = int(limit) if limit and limit > 0 else None  # XLNet has -1 for none
        self._arity: dict[str, int] = {}
        self._reasons: dict[tuple[Any, ...], dict[str, str | None]] = {}
        self._affines: dict[int, Affine | None] = {}
        self._idle: frozenset[int] = frozenset()
        self._middles: dict[tuple[Any, ...], str | None] = {}

    @property
    def runs_on(self) -> torch.device:
        weight = self._weight
        if not weight.is_meta:
            return weight.device
        hook = getattr(self.model.get_submodule(self._anatomy.embed.path), "_hf_hook", None)  # offloaded
        return torch.device(getattr(hook, "execution_device", None) or "cpu")

    @property
    def dtype(self) -> torch.dtype:
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        return next(self.model.get_submodule(self._anatomy.embed.path).parameters())

    @cached_property
    def fingerprint(self) -> str:
        tensors = self.model.state_dict()
        if any(tensor.is_meta for tensor in tensors.values()):
            from accelerate.utils.modeling import get_state_dict_offloaded_model

            tensors = get_state_dict_offloaded_model(self.model)
        return content_hash(tensors)

    def _config(self) -> Any:
        return text_config(self.model)

    # where it can be read

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
            at.ATTN_OUT: block.mixed if block.attends else None,
            at.MLP_OUT: block.mlp_out,
            at.NORMALIZED: block.mlp_in if block.norm else None,
            at.MLP_IN: block.mlp_in,
            at.Z: block.z,
        }[kind]

    def _absent(self, kind: str, layer: int) -> str | None:
        point, block = self._point(kind, layer), self._blocks[layer]
        if layer in self._idle and kind != at.EMBED:
            return "this block does not run on text alone"
        if kind in (at.ATTN_OUT, at.Z) and not block.attends and block.mixer:
            return f"this block has {type(self.model.get_submodule(block.mixer)).__name__} in the place of attention"
        if kind == at.NORMALIZED and block.mlp_in is not None and (point is None or self._affine(layer) is None):
            return "no layer norm or RMS norm with a weight stands before its MLP"
        if kind == at.RESID_MID and point is None:
            return PARALLEL if block.mlp_in is not None else UNKNOWN
        if point is None:
            return UNKNOWN
        if kind in (at.ATTN_OUT, at.MLP_OUT):
            return self._reasons[block.kind]["mixed" if kind == at.ATTN_OUT else "mlp_out"]
        return self._no_middle(block) if kind == at.RESID_MID else None

    def _width(self, kind: str, layer: int) -> int:
        if kind != at.Z:
            return self.d_model
        point = self._point(kind, layer)
        assert point is not None
        return projection_width(self.model.get_submodule(point.path))

    def _affine(self, layer: int) -> Affine | None:
        """Weight and bias of the MLP's norm."""
        if layer not in self._affines:
            path = self._blocks[layer].norm
            norm = self.model.get_submodule(path) if path else None
            like = torch.zeros((), device=self.runs_on, dtype=self.dtype)
            with operate(self.model):
                self._affines[layer] = affine_of(norm, self.d_model, like) if norm is not None else None
        return self._affines[layer]

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
            op.read(block.resid_post, partial(_finish, got.append))
            self._call(op, tokens)
        return got[0].reshape(resid.shape).to(self.device)

    # reading

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
            if site.kind == at.NORMALIZED and (affine := self._affine(site.layer)) is not None:
                acts[site.hook] = affine.before(acts[site.hook])
        return Run(
            tokens,
            acts,
            seen.get(end),
            {hook: seen[start] for hook, start in starts.items() if start is not None},
        )

    def _read(
        self, tokens: Tensor, watch: set[Point], keep: set[Point], cache: DynamicCache | None = None
    ) -> dict[Point, Tensor]:
        """Run the model until all points to keep have been seen, and return copies of them."""
        seen: dict[Point, Tensor] = {}

        def see(point: Point, tensor: Tensor) -> None:
            if point not in keep:
                return
            if point in seen:
                raise UserError(f"Module {point.path!r} of {self.name} runs more than once in a forward pass.")
            if tensor.shape[:2] != tokens.shape and tensor.shape[0] != tokens.numel():  # OPT flattens in its MLP
                raise UserError(
                    f"{point.path!r} of {self.name} ({self.architecture}) gives {list(tensor.shape)}, which is not one "
                    f"vector for each of {list(tokens.shape)} tokens."
                )
            seen[point] = tensor.detach().to(self.device, copy=True).reshape(*tokens.shape, -1)
            if len(seen) == len(keep):
                raise Stop

        with operate(self.model) as op:
            for point in watch | {self._anatomy.blocks[0].resid_post}:
                op.read(point, partial(see, point), self._arity)
            self._call(op, tokens, {} if cache is None else {"past_key_values": cache, "use_cache": True})
        return seen

    def _start(self, site: Site) -> Point | None:
        """The residual that resuming from a site needs beside the value: before the block, or in its middle."""
        block = self._blocks[site.layer]
        if site.kind in (at.ATTN_OUT, at.Z):
            return block.resid_pre
        if site.kind in _OF_MLP:
            return block.mid if self._has_mid(site.layer) else block.resid_pre
        return None

    def _has_mid(self, layer: int) -> bool:
        return self._blocks[layer].mid is not None and self._absent(at.RESID_MID, layer) is None

    def _formats(self, block: Block) -> set[Point]:
        """Modules whose output format must be known to stand in for them."""
        branches = (Point(path, "out") for path in (block.mixer, block.mlp) if path)
        return {*branches, *(point for point in (block.mixed, block.mlp_out) if point)}

    # changing

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
            elif kind == at.NORMALIZED and (affine := self._affine(site.layer)) is not None:
                checks.append(op.edit(point, partial(affine.moved, by=value - run.acts[site.hook])))
            elif kind not in at.RESIDUAL:
                checks.append(op.write(point, value))
            op.read(Point(self._anatomy.trunk, "out"), partial(_finish, got.append))
            self._call(op, run.tokens, {} if run.past is None else run.past.call(run.tokens, self._takes_positions))
        if any(check() != 1 for check in checks) or not got:
            raise UserError(f"Hook {site.hook!r} did not fire once when resuming {self.name} ({self.architecture}).")
        return got[0].to(self.device)

    def _enter(self, op: Surgery, layer: int, resid: Tensor) -> Callable[[], int]:
        """Skip the layers before `layer` and let it start from `resid`; returns how often it did."""
        before = [block for i, block in enumerate(self._anatomy.blocks[:layer]) if i not in self._idle]
        if not before:
            return op.write(self._anatomy.blocks[layer].resid_pre, resid)
        arity = self._arity.get(before[0].path, 0)
        for block in before[:-1]:
            op.swap(block.path, lambda original: Skip(original, arity))
        fixed = op.swap(before[-1].path, lambda original: Fixed(original, arity, resid))
        return lambda: fixed.fired

    def _put(self, op: Surgery, block: Block, point: Point, value: Tensor) -> Callable[[], int]:
        """Give a branch's contribution instead of computing it; returns how often it was used."""
        module = block.mixer if point == block.mixed else block.mlp
        if module is not None and not f"{point.path}.".startswith(f"{module}."):  # a post-norm: skip what it normalises
            op.swap(module, lambda original: Fixed(original, self._arity.get(module, 0), value))
        fixed = op.swap(point.path, lambda original: Fixed(original, self._arity.get(point.path, 0), value))
        return lambda: fixed.fired

    def logits(self, hidden: Tensor) -> Tensor:
        shape = hidden.shape
        batch = (hidden if hidden.ndim == 3 else hidden.reshape(1, -1, shape[-1])).to(self.runs_on)
        with operate(self.model, grad=wants_grad(hidden)) as op:
            op.swap(self._anatomy.trunk, lambda original: _Trunk(original, batch))
            output = self._call(op, torch.zeros((1, 1), dtype=torch.long, device=self.device))
        logits = output.logits if hasattr(output, "logits") else output[0]
        return logits.reshape(*shape[:-1], logits.shape[-1]).to(self.device)

    @cached_property
    def _takes_positions(self) -> bool:
        return "position_ids" in inspect.signature(self.model.forward).parameters

    def _call(self, op: Surgery, tokens: Tensor, asked: dict[str, Any] | None = None) -> Any:
        op.patch(self.model.get_submodule(self._anatomy.trunk), "warn_if_padding_and_no_attention_mask", _nothing)
        return op.run(input_ids=tokens.to(self.runs_on), **{"use_cache": False, **(asked or {})})


class _Output(BaseModelOutputWithPastAndCrossAttentions):
    """A trunk's output of which only the hidden states are known."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Trunk(Swap):
    """Stands in for the trunk and gives hidden states to the head."""

    def __init__(self, original: nn.Module, hidden: Tensor) -> None:
        super().__init__(original)
        self._hidden = hidden

    def forward(self, *args: Any, **kwargs: Any) -> _Output:
        return _Output(last_hidden_state=self._hidden)


def _nothing(*_: Any) -> None:
    """In place of a warning (and a wait for the device) about padding without a mask, which is what is meant."""


def _finish(take: Callable[[Tensor], None], tensor: Tensor) -> None:
    take(tensor)
    raise Stop
