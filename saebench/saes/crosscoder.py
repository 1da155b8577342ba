"""Crosscoders: one code of several layers, and a decoder to each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.layered import Layered, parted


def crosscoder(
    tensors: Mapping[str, Tensor],
    places: Sequence[str],
    make: Callable[..., Coder],
    *,
    scales: float | Sequence[float] = 1.0,
    norms: Tensor | None = None,
    transposed: Collection[str] = (),
    where: str,
) -> Layered:
    """The coder at each layer of a crosscoder (Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features").

    f = act(sum over l of x_l W_enc[l] + b_enc), y_l = f W_dec[l] + b_dec[l]. At layer l it is a coder that reads all
    layers side by side and writes one, so all metrics of a transcoder can be taken of it; its latents are the same at
    every layer.

    Args:
        tensors: `W_enc [layers, d, F]`, `W_dec [layers, F, d]` or `[F, layers, d]`, `b_dec [layers, d]`, and what
            else the activation needs, over latents.
        places: Hooks in the order of the tensors' layers, `IN -> OUT` where they differ.
        make: The coder's class, with its settings.
        scales: Factor that training put on activations, of all layers or of each.
        norms: `[layers, F]`, what pre-activations are multiplied by before the activation of a layer and codes divided
            by after it; none if None.
        transposed: `W_enc` where it is `[layers, F, d]` and its sizes do not tell.
        where: What to call it in an error.

    Raises:
        UserError: Shapes that contradict each other or the number of hooks.
    """
    ends = [parted(place) for place in places]
    inputs = list(dict.fromkeys(into for into, _ in ends))
    W_enc, W_dec = _encoder(tensors, len(inputs), transposed, where), _decoder(tensors, len(ends), where)
    b_dec = tensors["b_dec"]
    if b_dec.shape != (len(ends), W_dec.shape[-1]):
        raise UserError(
            f"{where}: 'b_dec' has shape {list(b_dec.shape)}, but {len(ends)} hooks of width {W_dec.shape[-1]} ask for "
            f"{[len(ends), W_dec.shape[-1]]}. List each hook of the crosscoder under `hook:`, in its tensors' order."
        )
    each = list(scales) if isinstance(scales, Sequence) else [scales] * len(ends)
    if len(each) != len(ends) or (len(set(each)) > 1 and inputs != [out for _, out in ends]):
        raise UserError(f"{where}: input_scale has {len(each)} factors, but there are {len(ends)} hooks.")
    scaled = W_enc * W_enc.new_tensor(each[: len(inputs)])[:, None, None]
    flat = scaled.reshape(-1, scaled.shape[-1]).contiguous()
    deepest = max(map(_depth, inputs))
    rest: dict[str, Any] = {name: one for name, one in tensors.items() if name not in ("W_enc", "W_dec", "b_dec")}

    def build(hook: str) -> Coder:
        at = [out for _, out in ends].index(hook)
        ahead = f"its codes come from layers beyond {hook} too, read before a splice there changes them"
        own = {**rest, "W_enc": flat, "W_dec": (W_dec[at] / each[at]).contiguous(), "b_dec": b_dec[at] / each[at]}
        if norms is not None:
            own |= opened_by(norms[at], own)
        coder = make(
            **own, hook_in=" + ".join(inputs), hook_out=hook, warnings=[ahead] if deepest > _depth(hook) >= 0 else [],
        )  # fmt: skip
        return admit(coder, where)

    return Layered(tuple(out for _, out in ends), build)


def opened_by(norms: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that change where latents are chosen by pre-activation times a norm.

    A threshold is divided by it; k largest are found among products, so the rows of the decoder are divided instead.

    Args:
        norms: Of each latent, `[F]`.
        weights: `threshold`, or else `W_enc`, `b_enc` and `W_dec`.
    """
    norms = norms.clamp_min(1e-30)
    if "threshold" in weights:
        return {"threshold": weights["threshold"] / norms}
    return {"W_enc": weights["W_enc"] * norms, "b_enc": weights["b_enc"] * norms,
            "W_dec": weights["W_dec"] / norms[:, None]}  # fmt: skip


def _encoder(tensors: Mapping[str, Tensor], layers: int, transposed: Collection[str], where: str) -> Tensor:
    """`[layers, d, F]`."""
    W_enc, latents = tensors["W_enc"], _latents(tensors)
    if W_enc.ndim != 3 or W_enc.shape[0] != layers:
        raise UserError(
            f"{where}: 'W_enc' of a crosscoder of {layers} hooks is [{layers}, width, latents], found "
            f"{list(W_enc.shape)}. List every hook that it reads under `hook:`; one that compares two models cannot be "
            "scored on one."
        )
    turned = "W_enc" in transposed or (W_enc.shape[1] == latents != W_enc.shape[2])
    return W_enc.transpose(1, 2) if turned else W_enc


def _decoder(tensors: Mapping[str, Tensor], layers: int, where: str) -> Tensor:
    """`[layers, F, d]`."""
    W_dec, latents = tensors["W_dec"], _latents(tensors)
    if W_dec.ndim == 3 and W_dec.shape[:2] == (layers, latents):
        return W_dec
    if W_dec.ndim == 3 and W_dec.shape[:2] == (latents, layers):
        return W_dec.transpose(0, 1)
    raise UserError(
        f"{where}: 'W_dec' of a crosscoder of {layers} hooks and {latents} latents is [{layers}, {latents}, width] or "
        f"[{latents}, {layers}, width], found {list(W_dec.shape)}."
    )


def _depth(hook: str) -> int:
    """The hook's block, -1 where its name has none."""
    told = re.match(r"blocks\.(\d+)\.", hook)
    return int(told.group(1)) if told else -1


def _latents(tensors: Mapping[str, Tensor]) -> int:
    vector = next((tensors[name] for name in ("b_enc", "threshold") if name in tensors), None)
    return tensors["W_enc"].shape[-1] if vector is None or vector.numel() == 1 else len(vector)
