"""Gemma Scope: `params.npz` of the first release, `params.safetensors` of the second; JumpReLU throughout."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saebench.errors import UserError, unknown
from saebench.saes.architectures import JumpReLU
from saebench.saes.building import check_sizes, renamed
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.hook_names import hook_of_module

_FIELDS = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
_SKIP = "affine_skip_connection"
_SAID = ("model_name", "hf_hook_point_in", "hf_hook_point_out", "l0")
_MODEL = re.compile(r"gemma-scope-(2-)?(\d+[bm])-(pt|it)")

_FIRST = (
    ("transcoder", "ln2.hook_normalized", "hook_mlp_out"),
    ("res", "hook_resid_post", "hook_resid_post"),
    ("mlp", "hook_mlp_out", "hook_mlp_out"),
    ("att", "attn.hook_z", "attn.hook_z"),
)
"""Parts of the repositories' names, and the hooks they stand for."""

_SECOND_FOLDERS = {
    "resid_post": ("hook_resid_post", "hook_resid_post"), "attn_out": ("attn.hook_z", "attn.hook_z"),
    "mlp_out": ("hook_mlp_out", "hook_mlp_out"), "transcoder": ("mlp.hook_in", "hook_mlp_out"),
}  # fmt: skip
"""Folders of the second release, and the hooks they stand for where no config.json does."""


def _lower(checkpoint: Checkpoint) -> bool:
    return checkpoint.has(*(name.replace("W_", "w_") for name in _FIELDS))


def marks_first(checkpoint: Checkpoint) -> bool:
    """Whether it is an npz file with the five arrays of a JumpReLU SAE."""
    return checkpoint.weights.suffix == ".npz" and (checkpoint.has(*_FIELDS) or _lower(checkpoint))


def marks_second(checkpoint: Checkpoint) -> bool:
    """Whether it has the five tensors under the second release's names, and is no layer of a cross-layer transcoder."""
    layer = re.search(r"layer_\d+$", checkpoint.weights.stem) and len(checkpoint.shapes.get("w_dec", ())) == 3
    return checkpoint.weights.suffix != ".npz" and _lower(checkpoint) and not layer


def build_first(checkpoint: Checkpoint) -> Coder:
    """Coder of `params.npz`: f = relu(p) [p > threshold], p = x W_enc + b_enc; b_dec is not subtracted from x.

    The file says nothing of where it belongs; model, hook and L0 are read from the folders above it.

    Raises:
        UserError: Sizes that disagree.
    """
    path = checkpoint.weights.absolute().as_posix()
    if "/embedding/" in path:
        return _of_embeddings(checkpoint, _facts(path))
    hook_in, hook_out = _hooks_by_folder(path)
    warnings = []
    if hook_in != hook_out:
        warnings.append(
            f"reads {hook_in}, the MLP's input before its norm's weight: at mlp.hook_in, which is after it, "
            "divide the rows of W_enc by that weight first"
        )
    return _coder(checkpoint, hook_in, hook_out, _facts(path), warnings)


def _of_embeddings(checkpoint: Checkpoint, facts: Mapping[str, Any]) -> Coder:
    """Coder of embeddings: it was trained on them before Gemma's scaling by sqrt(d), and hook_embed is after it."""
    coder = _coder(checkpoint, "hook_embed", "hook_embed", facts, [])
    scale = math.sqrt(coder.d_in)
    return coder.replace(W_enc=coder.W_enc / scale, W_dec=coder.W_dec * scale, b_dec=coder.b_dec * scale)


def build_second(checkpoint: Checkpoint) -> Coder:
    """Coder of `params.safetensors`, with its affine skip connection where there is one; hooks from config.json.

    Raises:
        UserError: A cross-layer transcoder out of its folder, another architecture, sizes that disagree.
    """
    config, where = checkpoint.configs.get("config.json", {}), checkpoint.where
    if config.get("architecture", "jump_relu") != "jump_relu":
        raise unknown(f"architecture in {where}:", str(config["architecture"]), ["jump_relu"])
    if config.get("affine_connection") and not checkpoint.has(_SKIP):
        raise UserError(f"{where}: affine_connection is set, but there is no tensor {_SKIP!r}.")
    if len(checkpoint.shapes["w_dec"]) != 2:
        raise UserError(
            f"{where}: writes to several layers, as a layer of a cross-layer transcoder does. Name the folder of all "
            "its layers, which are files NAME_layer_0.safetensors and so on."
        )
    check_sizes({"width": config.get("width")}, {"width": checkpoint.shapes["w_dec"][0]}, where)
    hook_in = hook_of_module(str(config.get("hf_hook_point_in") or ""))
    told = config.get("hf_hook_point_out")
    hook_out = hook_of_module(str(told)) if told else hook_in
    if not config:
        hook_in, hook_out = _hooks_of_second(checkpoint.weights.absolute())
    said = {key: config[key] for key in _SAID if config.get(key) is not None}
    facts = {**_facts(checkpoint.weights.absolute().as_posix()), **said}
    return _coder(checkpoint, hook_in, hook_out, facts, [])


def _coder(checkpoint: Checkpoint, hook_in: str, hook_out: str, facts: Mapping[str, Any], warnings: list[str]) -> Coder:
    names = {name: name.replace("W_", "w_") if _lower(checkpoint) else name for name in _FIELDS}
    if checkpoint.has(_SKIP):
        names["W_skip"] = _SKIP
    weights = renamed(checkpoint.tensors(), names, checkpoint.where, transposed=("W_skip",))
    across = hook_in != hook_out or "W_skip" in weights
    skip = "skip_" if "W_skip" in weights else ""
    coder = JumpReLU(
        **weights, architecture=f"jumprelu_{skip}transcoder" if across else "jumprelu",
        hook_in=hook_in, hook_out=hook_out, metadata=dict(facts), warnings=warnings,
    )  # fmt: skip
    return admit(coder, checkpoint.where)


def _hooks_by_folder(path: str) -> tuple[str, str]:
    layer = re.search(r"layer_(\d+)", path)
    name = _MODEL.search(path)
    if not layer or not name:
        return "", ""
    kind = path[name.end() :].partition("/")[0]
    for part, before, after in _FIRST:
        if part in kind:
            return f"blocks.{layer.group(1)}.{before}", f"blocks.{layer.group(1)}.{after}"
    return "", ""


def _hooks_of_second(path: Path) -> tuple[str, str]:
    """Hooks by the folders of the second release, `transcoder_all/layer_12_width_16k_l0_big/params.safetensors`."""
    layer = re.match(r"layer_(\d+)_", path.parent.name)
    kind = path.parent.parent.name.removesuffix("_all")
    if not layer or kind not in _SECOND_FOLDERS:
        return "", ""
    before, after = _SECOND_FOLDERS[kind]
    return f"blocks.{layer.group(1)}.{before}", f"blocks.{layer.group(1)}.{after}"


def _facts(path: str) -> dict[str, Any]:
    """Model and average L0, where the folders above the file name them."""
    facts: dict[str, Any] = {}
    if model := _MODEL.search(path):
        family, tuned = ("3" if model.group(1) else "2"), model.group(3)
        suffix = {"3": f"-{tuned}", "2": "-it" if tuned == "it" else ""}[family]
        facts["model_name"] = f"google/gemma-{family}-{model.group(2)}{suffix}"
    if l0 := re.search(r"average_l0_(\d+)", path):
        facts["l0"] = int(l0.group(1))
    return facts


FIRST = by_contents("gemma_scope", "params.npz with W_enc, W_dec and threshold", marks_first, build_first)
SECOND = by_contents("gemma_scope_2", "params.safetensors with w_enc, w_dec and threshold", marks_second, build_second)
