"""Tensors under the names that training codes give them, and whichever way round, as a coder's fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from saebench.errors import UserError, nearest
from saebench.saes.building import of_each, single

ALIASES = {
    "W_enc": ("W_enc", "w_enc", "W_E", "encoder.weight", "encoder_linear.weight", "W_encoder", "encoder"),
    "W_dec": ("W_dec", "w_dec", "W_D", "decoder.weight", "decoder_linear.weight", "W_decoder", "decoder", "dictionary"),
    "b_enc": ("b_enc", "b_E", "encoder.bias", "encoder_linear.bias", "latent_bias"),
    "b_dec": (
        "b_dec",
        "b_D",
        "decoder.bias",
        "decoder_linear.bias",
        "bias",
        "pre_bias",
        "decoder_bias",
        "pre_encoder_bias",
    ),
    "threshold": ("threshold",),
    "log_threshold": (
        "log_threshold",
        "log_jumprelu_threshold",
        "jumprelu.log_threshold",
        "activation_function.log_jumprelu_threshold",
    ),
    "b_gate": ("b_gate", "gate_bias"),
    "r_mag": ("r_mag",),
    "b_mag": ("b_mag", "mag_bias"),
    "W_skip": ("W_skip",),
    **{name: (name,) for name in ("P", "Q", "p_bias", "q_bias", "probe", "probe_bias", "mean", "k")},
}
"""Names in use for each field; a description may give others."""

PER_LATENT = ("b_enc", "threshold", "log_threshold", "b_gate", "r_mag", "b_mag")
COUNTS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square",
          "num_tokens_since_fired", "group_sizes", "last_nonzero")  # fmt: skip
"""Tensors that training keeps and no forward uses."""


def by_alias(
    tensors: Mapping[str, Tensor], given: Mapping[str, str], ignore: Collection[str], where: str
) -> dict[str, Tensor]:
    """The tensors by our names.

    Args:
        tensors: By their own names.
        given: Own names by ours, where they are not usual ones.
        ignore: Own names of tensors that change nothing.
        where: What to call the file in an error.

    Raises:
        UserError: A given name that is not there, or a tensor whose part is not known.
    """
    tensors = {own: tensor for own, tensor in tensors.items() if own not in ignore}
    for own in given.values():
        if own not in tensors:
            raise UserError(f"{where}: there is no tensor {own!r}. {nearest(own, tensors)}")
    names = {own: ours for ours, own in given.items()}
    for ours, usual in ALIASES.items():
        own = next((name for name in usual if name in tensors and name not in names), None)
        if own is not None and ours not in given:
            names[own] = ours
    strange = [own for own in tensors if own not in names and own not in COUNTS]
    if strange:
        raise UserError(
            f"{where}: the part of tensor {strange[0]!r} is not known. Name it in saebench.yaml under `tensors:` as "
            f"one of {', '.join(ALIASES)}, or list it under `ignore:` if the forward does not use it."
        )
    return {ours: single(tensors[own]) for own, ours in names.items()}


def oriented(named: Mapping[str, Tensor], transposed: Collection[str] | None, where: str) -> dict[str, Tensor]:
    """Encoder `[d_in, F]` and decoder `[F, d_out]`, turned where their sizes, or the description, say so.

    A missing decoder bias is zero. A threshold of one entry is every latent's.

    Raises:
        UserError: The sizes do not tell which way round a matrix is, and neither does the description.
    """
    found = dict(named)
    if "log_threshold" in found:
        found["threshold"] = found.pop("log_threshold").exp()
    for name in ("W_enc", "W_dec"):
        if name in found:
            found[name] = _turned(name, found, transposed, where)
    if "W_dec" in found:
        found.setdefault("b_dec", torch.zeros(found["W_dec"].shape[1]))
        if "threshold" in found:
            found["threshold"] = of_each(found["threshold"], len(found["W_dec"]))
    return found


def _turned(name: str, found: Mapping[str, Tensor], transposed: Collection[str] | None, where: str) -> Tensor:
    matrix = found[name]
    if transposed is not None:
        return matrix.T.contiguous() if name in transposed else matrix
    axis = 1 if name == "W_enc" else 0
    latents = _latents(found)
    if matrix.ndim != 2 or latents is None or matrix.shape[0] == matrix.shape[1]:
        raise UserError(
            f"{where}: the sizes do not tell which way round {name!r} of shape {list(matrix.shape)} is. Say in "
            "saebench.yaml which matrices are stored the other way than W_enc [width, latents] and W_dec [latents, "
            f"width]: `transposed: [{name}]`, or `transposed: []`."
        )
    if matrix.shape[axis] == latents:
        return matrix
    return matrix.T.contiguous() if matrix.shape[1 - axis] == latents else matrix


def _latents(found: Mapping[str, Tensor]) -> int | None:
    """The number of latents: of a vector over them, else the side of the decoder that its bias does not have."""
    vectors = (found[v] for v in PER_LATENT if v in found)
    counted = next((len(v) for v in vectors if v.ndim == 1 and v.numel() > 1), None)
    decoder, bias = found.get("W_dec"), found.get("b_dec")
    if counted is not None or decoder is None or bias is None or decoder.ndim != 2 or bias.ndim != 1:
        return counted
    sides = list(decoder.shape)
    if len(bias) not in sides or sides[0] == sides[1]:
        return None
    return sides[1 - sides.index(len(bias))]
