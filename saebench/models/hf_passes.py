"""A transformers model under forward hooks: its passes, read at points, entered in the middle, ended early."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from saebench.errors import UserError
from saebench.models.anatomy import Block, dissect, text_config
from saebench.models.fingerprint import content_hash
from saebench.models.run import wants_grad
from saebench.models.subject import Subject
from saebench.models.surgery import Fixed, Point, Skip, Stop, Surgery, Swap, operate


class HFPasses(Subject):
    """Runs a Hugging Face model whole or in part.

    Layers before a point are swapped for stand-ins that pass the saved residual on, so that the model's own
    forward runs the rest: positions, masks, rotary embeddings and soft-capping are its own.
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
        self._idle: frozenset[int] = frozenset()  # blocks that do not run on text, known once a pass was watched

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

    def _formats(self, block: Block) -> set[Point]:
        """Modules whose output format must be known to stand in for them."""
        branches = (Point(path, "out") for path in (block.mixer, block.mlp) if path)
        return {*branches, *(point for point in (block.mixed, block.mlp_out) if point)}

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


def finish(take: Callable[[Tensor], None], tensor: Tensor) -> None:
    """Take a tensor and end the pass."""
    take(tensor)
    raise Stop
