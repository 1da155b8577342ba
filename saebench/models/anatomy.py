"""Where things are in a transformers model: its blocks, and the parts of each block, found by structure."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from saebench.errors import UserError
from saebench.models.surgery import Point

_ATTENTION = ("self_attn", "attn", "attention", "self_attention", "linear_attn")
_MLP = ("mlp", "ffn", "feed_forward", "block_sparse_moe", "moe")
_HEADS_TO_RESIDUAL = ("o_proj", "c_proj", "out_proj", "dense", "wo", "o")
_NEURONS_TO_RESIDUAL = ("down_proj", "dense_4h_to_h", "c_proj", "fc_out", "fc2")
_MLP_NORM = ("post_attention_layernorm", "ln_2", "norm_2", "ffn_norm", "final_layer_norm", "ln2")
_ATTENTION_POST_NORM = ("post_self_attn_layernorm",)
_MLP_POST_NORM = ("post_feedforward_layernorm", "post_mlp_layernorm")


@dataclass(frozen=True)
class Block:
    """Parts of one block; a part is None where the architecture has none that we know.

    Attributes:
        path: The block.
        kind: What blocks of the same build share, so that a check of one serves for all.
        attn: The attention module.
        attn_out: What attention adds to the residual, after its post-norm if there is one.
        z: Input of the projection from heads to the residual.
        mlp: The MLP module.
        mlp_in: Input of the MLP, after its norm.
        mlp_out: What the MLP adds to the residual, after its post-norm if there is one.
        mid: Input of the MLP's norm; the residual between attention and MLP in a sequential block.
    """

    path: str
    kind: tuple[Any, ...]
    attn: str | None = None
    attn_out: Point | None = None
    z: Point | None = None
    mlp: str | None = None
    mlp_in: Point | None = None
    mlp_out: Point | None = None
    mid: Point | None = None

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
    """Size of the input of a linear layer: torch's, transformers' Conv1D, or one wrapped by a bridge."""
    module = _inner(module)
    width: Any = getattr(module, "in_features", None)
    weight: Any = module.weight
    return int(width if width is not None else weight.shape[0])


def _head(model: Any) -> Any:
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def _block_list(model: nn.Module) -> tuple[str, list[nn.Module]]:
    lists: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not inside:
            lists[path] = module
    if not lists:
        raise UserError(f"{type(model).__name__} has no list of layers, so it is not a model that can be read here.")
    depth = getattr(text_config(model), "num_hidden_layers", None)
    fitting = {path: found for path, found in lists.items() if len(found) == depth} or lists
    path = max(fitting, key=lambda p: sum(w.numel() for w in fitting[p].parameters()))
    return path, list(fitting[path])


def _block(layer: nn.Module, path: str) -> Block:
    inside = _inner(layer)
    base = path if inside is layer else f"{path}._original_component"
    has = {name for name, child in inside.named_children() if child is not None}
    attn, mlp = _first(_ATTENTION, has), _first(_MLP, has)
    parts: dict[str, Any] = {}
    if attn:
        parts |= {"attn": f"{base}.{attn}", "attn_out": Point(f"{base}.{attn}", "out")}
        module = inside.get_submodule(attn)
        if projection := _descendant(module, _HEADS_TO_RESIDUAL):
            parts["z"] = Point(f"{base}.{attn}.{projection}", "in")
            if _adds_residual(module):
                parts["attn_out"] = Point(f"{base}.{attn}.{projection}", "out")
    if mlp:
        parts |= {
            "mlp": f"{base}.{mlp}",
            "mlp_in": Point(f"{base}.{mlp}", "in"),
            "mlp_out": Point(f"{base}.{mlp}", "out"),
        }
        module = inside.get_submodule(mlp)
        if _adds_residual(module) and (projection := _descendant(module, _NEURONS_TO_RESIDUAL)):
            parts["mlp_out"] = Point(f"{base}.{mlp}.{projection}", "out")
    elif {"fc1", "fc2"} <= has:  # OPT keeps its MLP in the block itself
        parts |= {"mlp_in": Point(f"{base}.fc1", "in"), "mlp_out": Point(f"{base}.fc2", "out")}
    for role, norm in _norms(has).items():
        parts[role] = Point(f"{base}.{norm}", "in" if role == "mid" else "out")
    relative = tuple(sorted((k, str(v).replace(path, "")) for k, v in parts.items()))
    return Block(path, (type(inside).__name__, relative), **parts)


def _norms(has: set[str]) -> dict[str, str]:
    """Which norms stand between a branch and the residual, by the block's children.

    Llama's `post_attention_layernorm` is the MLP's norm; in Gemma-2 and OLMo-2, which have a
    `post_feedforward_layernorm` too, it is attention's post-norm.
    """
    roles = {}
    if post := _first(_MLP_POST_NORM, has):
        roles["mlp_out"] = post
    if post == "post_feedforward_layernorm":
        if "post_attention_layernorm" in has:
            roles["attn_out"] = "post_attention_layernorm"
        roles["mid"] = "pre_feedforward_layernorm" if "pre_feedforward_layernorm" in has else _first(_MLP, has)
    else:
        if post := _first(_ATTENTION_POST_NORM, has):
            roles["attn_out"] = post
        roles["mid"] = _first(_MLP_NORM, has)
    return {role: name for role, name in roles.items() if name}


def _inner(module: nn.Module) -> nn.Module:
    """The module that a TransformerLens bridge component wraps, or the module itself."""
    return module._modules.get("_original_component") or module


def _first(names: Iterable[str], present: set[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _descendant(module: nn.Module, names: tuple[str, ...]) -> str | None:
    """Path of the first submodule, nearest first, whose own name is one of `names`."""
    paths = sorted((path for path, _ in module.named_modules() if path), key=lambda path: path.count("."))
    return next((path for path in paths if path.rpartition(".")[2] in names), None)


def _adds_residual(module: nn.Module) -> bool:
    """Whether a branch is handed the residual and adds it itself (Bloom, MPT)."""
    return "residual" in inspect.signature(_inner(module).forward).parameters
