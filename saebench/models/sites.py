"""Names of the places where a model can be read or changed, in TransformerLens' vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from saebench.errors import UserError, unknown

EMBED = "hook_embed"
RESID_PRE = "hook_resid_pre"
ATTN_NORMALIZED = "ln1.hook_normalized"
ATTN_IN = "attn.hook_in"
Z = "attn.hook_z"
ATTN_OUT = "hook_attn_out"
RESID_MID = "hook_resid_mid"
NORMALIZED = "ln2.hook_normalized"
MLP_IN = "mlp.hook_in"
NEURONS = "mlp.hook_post"
MLP_OUT = "hook_mlp_out"
RESID_POST = "hook_resid_post"

KINDS = (
    RESID_PRE, ATTN_NORMALIZED, ATTN_IN, Z, ATTN_OUT, RESID_MID, NORMALIZED, MLP_IN, NEURONS, MLP_OUT,
    RESID_POST,
)  # fmt: skip
"""Hooks of one block, in the order in which they fire in a sequential block."""

RESIDUAL = frozenset({RESID_PRE, RESID_MID, RESID_POST})
"""Kinds that are the residual stream itself, not something added to it or read from it."""

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")

_HINTS = {
    "hook_mlp_in": "It is ambiguous: TransformerLens means the residual before the MLP's norm, some SAEs are "
    "trained after it. Use mlp.hook_in (the MLP's input, after its norm), ln2.hook_normalized (after the norm, before "
    "its weight and bias) or hook_resid_mid (before it)",
    "hook_attn_in": "It is ambiguous: TransformerLens means the residual before attention's norm, once for each head. "
    "Use attn.hook_in (attention's input, after its norm), ln1.hook_normalized (after the norm, before its weight and "
    "bias) or hook_resid_pre (before it)",
    "hook_out": "Use hook_resid_post",
    "hook_in": "Use hook_resid_pre",
    "mlp.hook_out": "Use hook_mlp_out",
    "attn.hook_out": "Use hook_attn_out",
}


class Site(NamedTuple):
    """A validated place in a model.

    Attributes:
        hook: Its name, such as `blocks.8.hook_resid_post`.
        layer: Block it belongs to; 0 for `hook_embed`.
        width: Size of its last axis.
        is_residual: Whether the activation is the residual stream itself.
    """

    hook: str
    layer: int
    width: int
    is_residual: bool

    @property
    def kind(self) -> str:
        """The name without its block, such as `hook_resid_post`."""
        return kind_of(self.hook)


def kind_of(hook: str) -> str:
    """The hook's name without `blocks.L.`."""
    match = _BLOCK.fullmatch(hook)
    return match.group(2) if match else hook


def name_of(kind: str, layer: int) -> str:
    """The hook's full name."""
    return EMBED if kind == EMBED else f"blocks.{layer}.{kind}"


def parts_of(hook: str) -> list[str]:
    """The hooks that `A + B` reads side by side; the hook itself where it is one."""
    return [part.strip() for part in hook.split("+")] if "+" in hook else [hook]


def parse_hook(hook: str, n_layers: int, options: Callable[[], Iterable[str]]) -> tuple[str, int]:
    """Kind and layer of a hook's name.

    Args:
        hook: Name in TransformerLens' vocabulary.
        n_layers: Number of blocks of the model.
        options: Gives the valid names, called only to word an error.

    Raises:
        UserError: The name is not in the vocabulary, or its layer is out of range.
    """
    if hook == EMBED:
        return EMBED, 0
    match = _BLOCK.fullmatch(hook)
    if match and match.group(2) in KINDS:
        layer = int(match.group(1))
        if layer >= n_layers:
            raise UserError(f"Hook {hook!r} names layer {layer}, but the model has layers 0 to {n_layers - 1}.")
        return match.group(2), layer
    if match and match.group(2) in _HINTS:
        raise UserError(f"Unknown hook {hook!r}. {_HINTS[match.group(2)]}.")
    raise unknown("hook", hook, options())
