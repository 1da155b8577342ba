"""Hooks as other libraries name them, modules of a transformers model, in TransformerLens' vocabulary."""

from __future__ import annotations

import re

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)(?:\.(.+))?$")
_OURS = re.compile(r"hook_embed|blocks\.\d+\.(?:[a-z0-9_]+\.)*hook_[a-z_]+")
_SIDE = re.compile(r"\.(input|output)$")
_EMBED = ("embed_tokens", "embed_in", "wte", "embedding")

AMBIGUOUS = ("hook_mlp_in", "hook_attn_in")
"""Names that TransformerLens has for the residual before a norm, and some SAEs for what comes after it."""

_PARTS = {
    "": ("hook_resid_pre", "hook_resid_post"),
    "mlp": ("mlp.hook_in", "hook_mlp_out"),
    "feed_forward": ("mlp.hook_in", "hook_mlp_out"),
    "block_sparse_moe": ("mlp.hook_in", "hook_mlp_out"),
    "attn": ("attn.hook_in", "hook_attn_out"),
    "self_attn": ("attn.hook_in", "hook_attn_out"),
    "attention": ("attn.hook_in", "hook_attn_out"),
    "input_layernorm": ("hook_resid_pre", "attn.hook_in"),
    "attn.c_proj": ("attn.hook_z", None),
    "self_attn.o_proj": ("attn.hook_z", None),
    "attention.dense": ("attn.hook_z", None),
    "mlp.down_proj": ("mlp.hook_post", None),
    "mlp.c_proj": ("mlp.hook_post", None),
    "mlp.dense_4h_to_h": ("mlp.hook_post", None),
    "mlp.fc2": ("mlp.hook_post", None),
    "pre_feedforward_layernorm": ("hook_resid_mid", "mlp.hook_in"),
    "post_feedforward_layernorm": (None, "hook_mlp_out"),
}
"""Part of a block: what its input and its output are called."""


def hook_of_module(name: str, side: str = "output") -> str:
    """Hook at a module of a transformers model, or nothing where it has no name of its own.

    Args:
        name: Path of the module, with or without what stands before the list of blocks, such as
            `layers.3.mlp`, `model.layers.3`, `gpt_neox.layers.8` or `h.2`; it may end in `.input` or
            `.output`. A hook is given back as it is.
        side: Whether its input or its output is meant, where the name does not say.

    >>> hook_of_module("layers.3.mlp")
    'blocks.3.hook_mlp_out'
    >>> hook_of_module("model.layers.3.self_attn.o_proj.input")
    'blocks.3.attn.hook_z'
    """
    if _OURS.fullmatch(name):
        return name
    told = _SIDE.search(name)
    if told:
        side, name = told.group(1), name[: told.start()]
    if name.rpartition(".")[2] in _EMBED:
        return "hook_embed" if side == "output" else ""
    found = _LAYER.search(name)
    if not found:
        return ""
    before, after = _PARTS.get(found.group(2) or "", (None, None))
    kind = before if side == "input" else after
    return f"blocks.{found.group(1)}.{kind}" if kind else ""


_SUBMODULES = (
    ("resid_pre", "hook_resid_pre", "hook_resid_pre"),
    ("resid_mid", "hook_resid_mid", "hook_resid_mid"),
    ("mlp", "mlp.hook_in", "hook_mlp_out"),
    ("att", "attn.hook_in", "hook_attn_out"),
    ("resid", "hook_resid_pre", "hook_resid_post"),
    ("", "hook_resid_pre", "hook_resid_post"),
)
"""Parts of dictionary_learning's free-text names, with the hooks before and after; the last is of no name at all."""


def hooks_of_submodule(layer: object, name: str, side: str) -> tuple[str, str]:
    """Input and output hook of a submodule as dictionary_learning names it; nothing where the name is not understood.

    Args:
        layer: Number of the block.
        name: What the run called the submodule, such as `resid_post_layer_3`, or nothing.
        side: Activations trained on: `out`, `in`, or `in_and_out` of the submodule.

    >>> hooks_of_submodule(3, "mlp_layer_3", "in_and_out")
    ('blocks.3.mlp.hook_in', 'blocks.3.hook_mlp_out')
    """
    found = next((ends for part, *ends in _SUBMODULES if (part in name if part else not name)), None)
    if not isinstance(layer, int) or found is None:
        return "", ""
    before, after = found
    hook_in, hook_out = {"in": (before, before), "in_and_out": (before, after)}.get(side, (after, after))
    return (f"blocks.{layer}.{hook_in}" if hook_in else ""), (f"blocks.{layer}.{hook_out}" if hook_out else "")
