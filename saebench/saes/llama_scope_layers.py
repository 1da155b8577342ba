"""Crosscoders and cross-layer transcoders of Language-Model-SAEs (llamascopium): one coder for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes import llama_scope_config as told
from saebench.saes.architectures import JumpReLU, ReLU, TopK
from saebench.saes.building import check_names, check_shape, single
from saebench.saes.checkpoint import Checkpoint
from saebench.saes.coder import Coder
from saebench.saes.cross_layer import CrossLayer
from saebench.saes.crosscoder import crosscoder
from saebench.saes.gate import admit
from saebench.saes.layered import Layered
from saebench.saes.saelens_config import whole


def build_crosscoder(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Layered:
    """The coder at each hook of a crosscoder.

    p = sum over l of (s_l x_l W_E[l] + b_E[l]); at hook l f = act(p ||W_D[l]||) / ||W_D[l]|| and
    y = (f W_D[l] + b_D[l]) / s_l, with s_l = sqrt(d) over the average norm there. The norm is that of the hook's own
    row, so a latent may be active at one hook and not at another.

    Raises:
        UserError: A batch's or a token's norms, a tensor or hook that is missing, or sizes that disagree.
    """
    where = checkpoint.where
    act = told.activation(config, where)
    told.not_by_token(config, where)
    hooks = _hooks(config, "hook_points", where)
    tensors = checkpoint.tensors()
    check_names(tensors, ["W_E", "b_E", "W_D", "b_D"], where, ignored=told.unused(tensors))
    _, width, latents = _three(checkpoint, "W_E")
    wanted = {"W_E": [len(hooks), width, latents], "b_E": [len(hooks), latents],
              "W_D": [len(hooks), latents, width], "b_D": [len(hooks), width]}  # fmt: skip
    _check(checkpoint, config, wanted, width, latents)
    weights = {"W_enc": single(tensors["W_E"]), "b_enc": single(tensors["b_E"]).sum(0),
               "W_dec": single(tensors["W_D"]), "b_dec": single(tensors["b_D"])}  # fmt: skip
    make: Any = {"relu": ReLU, "jumprelu": JumpReLU, "topk": TopK}[act]
    if act == "jumprelu":
        weights["threshold"] = told.threshold(tensors, config, [latents], where)
    if act == "topk":
        make = partial(TopK, k=whole(config.get("top_k"), where))
    made = crosscoder(
        weights, hooks, partial(make, architecture="crosscoder"), where=where,
        scales=[told.scale(tensors, config, hook, "in", width, where) for hook in hooks],
        norms=weights["W_dec"].norm(dim=-1) if told.by_norm(config) and act != "relu" else None,
    )  # fmt: skip
    return made.replace(metadata=told.facts(checkpoint, config))


def build_transcoder(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Layered:
    """The coder at each layer of a cross-layer transcoder.

    f_s = act((s_s x_s E_s + b_s) n_s) / n_s, y_l = (sum over s up to l of f_s W_D[l][s] + b_D[l]) / t_l, with n_s the
    norm of the latent's rows to all layers and s_s, t_l sqrt(d) over the average norms at the hooks.

    Raises:
        UserError: A batch's or a token's norms, a tensor or hook that is missing, or sizes that disagree.
    """
    where = checkpoint.where
    act = told.activation(config, where, ("relu", "jumprelu", "topk", "layertopk"))
    told.not_by_token(config, where)
    reads, writes = _hooks(config, "hook_points_in", where), _hooks(config, "hook_points_out", where)
    if len(reads) != len(writes):
        raise UserError(f"{where}: {len(reads)} hook_points_in, but {len(writes)} hook_points_out.")
    layers = len(reads)
    names = ["W_E", "b_E", *(f"{kind}.{layer}" for kind in ("W_D", "b_D") for layer in range(layers))]
    check_names(checkpoint.shapes, names, where, ignored=told.unused(checkpoint.shapes))
    _, width, latents = _three(checkpoint, "W_E")
    wanted = {"W_E": [layers, width, latents], "b_E": [layers, latents]}
    wanted |= {f"W_D.{layer}": [layer + 1, latents, width] for layer in range(layers)}
    wanted |= {f"b_D.{layer}": [width] for layer in range(layers)}
    _check(checkpoint, config, wanted, width, latents)
    tensors = checkpoint.tensors()
    chosen = {"k": whole(config.get("top_k"), where)} if act.endswith("topk") else {}
    gated = told.by_norm(config) and act != "relu"

    @cache
    def norms() -> Tensor:
        """Norm of each latent's rows to all layers, `[layers, latents]`."""
        squares = torch.zeros(layers, latents)
        for layer in range(layers if gated else 0):
            squares[: layer + 1] += single(tensors[f"W_D.{layer}"]).square().sum(-1)
        return squares.sqrt().clamp_min(1e-30) if gated else squares + 1

    def make(hook: str) -> Coder:
        last = writes.index(hook)
        used = layers if act == "layertopk" else last + 1
        scales = torch.tensor([told.scale(tensors, config, one, "in", width, where) for one in reads[:used]])
        after = told.scale(tensors, config, hook, "out", width, where)
        unit = norms()[:used] if chosen else 1 / scales[:, None].expand(used, latents)
        rows = single(tensors[f"W_D.{last}"]) / (unit[: last + 1, :, None] * after)
        fields: dict[str, Any] = dict(chosen)
        if act == "jumprelu":
            bars = told.threshold(tensors, config, [layers, latents], where)[:used]
            fields["threshold"] = (bars * unit / norms()[:used]).flatten()
        coder = CrossLayer(
            encoders=(single(tensors["W_E"])[:used] * (unit * scales[:, None])[:, None]).contiguous(),
            b_enc=(single(tensors["b_E"])[:used] * unit).flatten(), W_dec=rows.flatten(0, 1).contiguous(),
            b_dec=single(tensors[f"b_D.{last}"]) / after, **fields, shared=act == "layertopk",
            architecture="cross_layer_transcoder", hook_in=" + ".join(reads[:used]), hook_out=hook,
        )  # fmt: skip
        return admit(coder, where)

    return Layered(tuple(writes), make, metadata=told.facts(checkpoint, config))


def _hooks(config: Mapping[str, Any], key: str, where: str) -> list[str]:
    hooks = config.get(key)
    if not isinstance(hooks, list) or not hooks or not all(isinstance(hook, str) and hook for hook in hooks):
        raise UserError(f"{where}: {key} in its configuration must be a list of hooks, found {hooks!r}.")
    if len(set(hooks)) < len(hooks):
        raise UserError(f"{where}: {key} in its configuration names one hook twice: {', '.join(hooks)}.")
    return hooks


def _three(checkpoint: Checkpoint, name: str) -> tuple[int, int, int]:
    shape = checkpoint.shapes.get(name, ())
    if len(shape) != 3:
        raise UserError(f"{checkpoint.where}: {name!r} must be [layers, width, latents], found shape {list(shape)}.")
    return shape


def _check(
    checkpoint: Checkpoint, config: Mapping[str, Any], wanted: Mapping[str, list[int]], width: int, latents: int
) -> None:
    for name, shape in wanted.items():
        check_shape(name, checkpoint.shapes[name], shape, checkpoint.where)
    told.check_declared(config, width, latents, checkpoint.where)
