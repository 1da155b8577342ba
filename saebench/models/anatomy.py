"""Where things are in a transformers model: its blocks, and the parts of each block, found by structure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from saebench.errors import UserError
from saebench.models.surgery import Point

_ATTENTION = ("self_attn", "attn", "attention", "self_attention", "linear_attn", "multi_head_attention")
_OTHER_MIXERS = ("mamba", "mixer", "conv", "temporal_block")
_OTHER_SENSES = re.compile("vision|visual|image|img|audio|speech")
_MLP = ("mlp", "ffn", "feed_forward", "block_sparse_moe", "moe", "shared_mlp", "mlp_block")
_HEADS_TO_RESIDUAL = ("o_proj", "c_proj", "out_proj", "dense", "wo", "o")
_NEURONS_TO_RESIDUAL = ("down_proj", "dense_4h_to_h", "c_proj", "fc_out", "fc2", "w2", "wo", "Wo", "lin2")


@dataclass(frozen=True)
class Block:
    """Parts of one block; a part is None where the architecture has none that we know.

    What is found by names alone lacks the norms around the branches; `saebench.models.flow` adds them.

    Attributes:
        path: The block.
        kind: What blocks of the same build share, so that a check of one serves for all.
        mixer: The module that moves information between tokens: attention, or what stands in its place.
        attends: Whether that is attention.
        attn_in: Input of attention, after its norm.
        attn_norm: Attention's norm.
        mixed: What it adds to the residual, after its post-norm if there is one.
        z: Input of the projection from heads to the residual.
        mlp: The MLP module.
        mlp_in: Input of the MLP, after its norm.
        neurons: Input of the MLP's last layer, where it has one.
        mlp_out: What the MLP adds to the residual, after its post-norm if there is one.
        mid: Input of the MLP's norm; the residual between attention and MLP in a sequential block.
        norm: The MLP's norm.
    """

    path: str
    kind: tuple[Any, ...]
    mixer: str | None = None
    attends: bool = False
    attn_in: Point | None = None
    attn_norm: str | None = None
    mixed: Point | None = None
    z: Point | None = None
    mlp: str | None = None
    mlp_in: Point | None = None
    neurons: Point | None = None
    mlp_out: Point | None = None
    mid: Point | None = None
    norm: str | None = None

    @property
    def resid_pre(self) -> Point:
        return Point(self.path, "in")

    @property
    def resid_post(self) -> Point:
        return Point(self.path, "out")


@dataclass(frozen=True)
class Anatomy:
    """The whole model.

    Attributes:
        trunk: The module that owns the blocks, takes tokens in and gives the final hidden states.
        embed: Output of the token embedding.
        blocks: The blocks in order.
    """

    trunk: str
    embed: Point
    blocks: tuple[Block, ...]


def dissect(model: Any) -> Anatomy:
    """Find the blocks of a causal language model and the parts of each.

    The blocks are the largest outermost `ModuleList`, preferring one whose length is the
    configuration's number of layers; parts are recognised by the names that transformers' families
    use. Unknown parts only cost the hooks that need them.

    Raises:
        UserError: No list of blocks, blocks that share one module, or no head over the vocabulary.
    """
    name = type(model).__name__
    path, layers = _block_list(model)
    if len({id(layer) for layer in layers}) < len(layers):
        raise UserError(f"{name} uses one module for several layers, so its layers cannot be told apart.")
    trunk = path.rpartition(".")[0]
    if not trunk or _head(model) is None:
        raise UserError(f"{name} has no language-model head over its blocks: load it with AutoModelForCausalLM.")
    embedding = model.get_input_embeddings()
    paths = {id(module): place for place, module in model.named_modules()}
    blocks = tuple(_block(layer, f"{path}.{i}") for i, layer in enumerate(layers))
    return Anatomy(trunk, Point(paths[id(embedding)], "out"), blocks)


def text_config(model: nn.Module) -> Any:
    """The language model's own settings, also where they are part of a multimodal configuration."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def projection_width(module: nn.Module) -> int:
    """Size of the input of a linear layer: torch's, transformers' Conv1D, or one wrapped by another module."""
    module = _inner(module)
    if (width := getattr(module, "in_features", None)) is not None:
        return int(width)
    weight = getattr(module, "weight", None)
    return projection_width(next(module.children())) if weight is None else int(weight.shape[0])


def _head(model: Any) -> Any:
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def _block_list(model: Any) -> tuple[str, list[nn.Module]]:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    lists = _outermost(model, decoder) or _outermost(model, model)
    if not lists:
        raise UserError(f"{type(model).__name__} has no list of layers, so it is not a model that can be read here.")
    depth = getattr(text_config(model), "num_hidden_layers", None)
    lists = {path: found for path, found in lists.items() if not _OTHER_SENSES.search(path)} or lists
    fitting = {path: found for path, found in lists.items() if len(found) == depth} or lists
    path = max(fitting, key=lambda p: sum(w.numel() for w in fitting[p].parameters()))
    return path, list(fitting[path])


def _outermost(model: nn.Module, within: Any) -> dict[str, nn.ModuleList]:
    """Lists of modules that lie in no other list, in one part of a model, by path."""
    lists: dict[str, nn.ModuleList] = {}
    root = next((path for path, module in model.named_modules() if module is within), None)
    for path, module in model.named_modules() if root is not None else ():
        inside = any(path.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not inside and path.startswith(root or ""):
            lists[path] = module
    return lists


def _block(layer: nn.Module, path: str) -> Block:
    inside = _inner(layer)
    base = path if inside is layer else f"{path}._original_component"
    has = {name for name, child in inside.named_children() if not isinstance(child, nn.ModuleList)}
    attn, mlp = _branch(inside, has, _ATTENTION), _first(_MLP, has)
    mixer = attn or _first(_OTHER_MIXERS, has)
    if mixer and not attn:  # what stands there may go by its class: Nemotron-H and RecurrentGemma name all alike
        build = type(inside.get_submodule(mixer)).__name__.lower()
        attn = mixer if "attention" in build else None
        if mlp is None and re.search("mlp|moe", build):
            mixer, mlp = None, mixer
    parts: dict[str, Any] = {"attends": attn is not None}
    if mixer:
        parts |= {"mixer": f"{base}.{mixer}", "mixed": Point(f"{base}.{mixer}", "out")}
    if attn:
        parts["attn_in"] = Point(f"{base}.{attn}", "in")
        module = inside.get_submodule(attn)
        if projection := _descendant(module, _HEADS_TO_RESIDUAL):
            parts["z"] = Point(f"{base}.{attn}.{projection}", "in")
            if _adds_residual(module):
                parts["mixed"] = Point(f"{base}.{attn}.{projection}", "out")
    if mlp:
        parts |= {
            "mlp": f"{base}.{mlp}",
            "mlp_in": Point(f"{base}.{mlp}", "in"),
            "mlp_out": Point(f"{base}.{mlp}", "out"),
        }
        module = inside.get_submodule(mlp)
        projection = _descendant(module, _NEURONS_TO_RESIDUAL)
        if projection and "." not in projection.removeprefix("_original_component."):  # an expert's lies deeper
            parts["neurons"] = Point(f"{base}.{mlp}.{projection}", "in")
        if projection and _adds_residual(module):
            parts["mlp_out"] = Point(f"{base}.{mlp}.{projection}", "out")
    elif {"fc1", "fc2"} <= has:  # OPT keeps its MLP in the block itself
        parts |= {"mlp_in": Point(f"{base}.fc1", "in"), "mlp_out": Point(f"{base}.fc2", "out")}
        parts["neurons"] = Point(f"{base}.fc2", "in")
    build = tuple((name, tuple(weight.shape)) for name, weight in inside.named_parameters())
    return Block(path, (type(inside).__name__, build), **parts)


def _inner(module: nn.Module) -> nn.Module:
    """The module that a TransformerLens bridge component wraps, or the module itself."""
    return module._modules.get("_original_component") or module


def _branch(block: nn.Module, has: set[str], names: tuple[str, ...]) -> str | None:
    """A child of a block by its name, or a grandchild where none of its children has one (DBRX)."""
    deeper = (f"{child}.{name}" for child in sorted(has) for name in names)
    return _first(names, has) or next((path for path in deeper if _submodule(block, path) is not None), None)


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    parent, _, name = path.rpartition(".")
    return module.get_submodule(parent)._modules.get(name)


def _first(names: Iterable[str], present: set[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _descendant(module: nn.Module, names: tuple[str, ...]) -> str | None:
    """Path of the first submodule, nearest first, whose own name is one of `names`."""
    paths = sorted((path for path, _ in module.named_modules() if path), key=lambda path: path.count("."))
    return next((path for path in paths if path.rpartition(".")[2] in names), None)


def _adds_residual(module: nn.Module) -> bool:
    """Whether a branch is handed the residual and adds it itself (Bloom, MPT)."""
    return "residual" in inspect.signature(_inner(module).forward).parameters
