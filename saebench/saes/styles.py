"""Architectures by the name that a `saebench.yaml` gives, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from saebench.errors import UserError, nearest
from saebench.saes.adaptive import AdaptiveTopK, Kron, TopAFA
from saebench.saes.architectures import AbsTopK, Gated, GroupMax, JumpReLU, KSparse, ReLU, TopK
from saebench.saes.coder import Coder, Normalisation
from saebench.saes.pursuit import Codebook, GradientPursuit, MatchingPursuit
from saebench.saes.saelens_config import whole


@dataclass(frozen=True)
class Style:
    """What a coder of one architecture is made of.

    Attributes:
        cls: The coder.
        needs: Tensors beside W_dec.
        may: Tensors that may be there as well.
        k: It keeps a number of latents.
        options: Further settings, with their defaults.
        tied: The encoder is the decoder's transpose where there is none.
        unit_rows: The forward divides decoder rows by their norm.
        centred: Whether b_dec is subtracted from the input, where the architecture says so.
        normalise: What is done to each token, where the architecture says so.
        unused: Tensors of training that its deterministic forward does not use.
        layers: It reads and writes several hooks at once.
        warnings: What such a coder leaves out of its paper's method.
    """

    cls: type[Coder]
    needs: tuple[str, ...] = ("W_enc", "b_enc")
    may: tuple[str, ...] = ()
    k: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    tied: bool = False
    unit_rows: bool = False
    centred: bool | None = None
    normalise: Normalisation = "none"
    unused: tuple[str, ...] = ()
    layers: bool = False
    warnings: tuple[str, ...] = ()

    def complete(self, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
        """The weights that this architecture uses.

        Raises:
            UserError: One is missing, or one is there that its equations do not use.
        """
        if self.tied and "W_enc" not in weights and "W_dec" in weights:
            weights["W_enc"] = weights["W_dec"].T.contiguous()
        for name in ("W_dec", *self.needs):
            if name not in weights:
                found = ", ".join(sorted(weights))
                raise UserError(f"{where}: this architecture needs a tensor {name!r}; found {found}.")
        allowed = {"W_dec", "b_dec", "W_skip", *self.needs, *self.may}
        strange = [name for name in weights if name not in allowed]
        if strange:
            raise UserError(
                f"{where}: has a {strange[0]!r}, which this architecture does not use: is it another one? "
                "If its forward does not use it, list it under `ignore:`."
            )
        return weights

    def settings(self, k: int | None, options: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Keyword arguments of the coder that are not tensors.

        Raises:
            UserError: k is missing or no whole number, or an option is not known.
        """
        known = self.options
        for name in options:
            if name not in known:
                raise UserError(f"{where}: unknown option {name!r}. {nearest(name, known)}")
        chosen = {**known, **options}
        for name, value in chosen.items():
            if value is None:
                raise UserError(f"{where}: this architecture needs the option {name!r}, under `options:`.")
        return {**({"k": whole(k, where)} if self.k else {}), **chosen}


_RELU = Style(ReLU)
_TOPK = Style(TopK, needs=("W_enc",), may=("b_enc",), k=True)
_JUMP = Style(JumpReLU, needs=("W_enc", "b_enc", "threshold"))
_VARIANCE = ("var_encoder.weight", "var_encoder.bias", "W_enc_var", "b_enc_var")
"""The head that learns the variance of a variational SAE, which its mean path leaves out."""

STYLES: dict[str, Style] = {
    "standard": _RELU, "relu": _RELU, "p_anneal": _RELU, "transcoder": _RELU, "skip_transcoder": _RELU,
    "topk": _TOPK, "msae": _TOPK, "topk_transcoder": _TOPK,
    "jumprelu": _JUMP, "batchtopk": _JUMP, "matryoshka_batchtopk": _JUMP,
    "jumprelu_transcoder": _JUMP, "jumprelu_skip_transcoder": _JUMP,
    "gated": Style(Gated, needs=("W_enc", "b_gate", "r_mag", "b_mag")),
    "gba": _RELU, "archetypal_topk": _TOPK, "archetypal_jumprelu": _JUMP,
    "feature_choice": _JUMP, "mutual_choice": _JUMP,
    "e2e": replace(_RELU, unit_rows=True, centred=False),
    "vsae": replace(_TOPK, unused=(*_VARIANCE, "threshold")),
    "mlsae": replace(_TOPK, centred=True, normalise="layer_norm"),
    "crosscoder": replace(_RELU, layers=True), "topk_crosscoder": replace(_TOPK, layers=True),
    "jumprelu_crosscoder": replace(_JUMP, layers=True),
    "g_sae": Style(TopK, needs=("W_enc",), may=("b_enc",), k=True, warnings=(
        "latents are selected by their activation alone, not by its product with the gradient",)),
    "k_sparse": Style(KSparse, needs=("W_enc",), may=("b_enc",), k=True, tied=True),
    "matching_pursuit": Style(MatchingPursuit, needs=("W_enc",), k=True, tied=True),
    "itda": Style(GradientPursuit, needs=("W_enc", "mean"), k=True, tied=True),
    "codebook": Style(Codebook, needs=("W_enc",), k=True, tied=True),
    "adaptive_topk": Style(AdaptiveTopK, needs=("W_enc", "probe", "probe_bias"), may=("b_enc",),
                           options={"k_min": 20, "k_max": 320}),
    "top_afa": Style(TopAFA, needs=("W_enc",), may=("b_enc",)),
    "kron": Style(Kron, needs=("P", "Q"), may=("p_bias", "q_bias"), k=True, options={"heads": None}),
    "abstopk": Style(AbsTopK, needs=("W_enc",), may=("b_enc",), k=True),
    "groupmax": Style(GroupMax, needs=("W_enc",), may=("b_enc",), k=True),
}  # fmt: skip
"""Architectures by name; those of one line share their forward and differ in training."""


def style(name: str, where: str) -> Style:
    """The architecture of a name.

    Raises:
        UserError: Unknown; offers the nearest name, and says how to bring one's own.
    """
    if name not in STYLES:
        raise UserError(
            f"Unknown architecture {name!r} in {where}. {nearest(name, STYLES)} For one of your own, register a loader "
            "in the entry-point group 'saebench.saes', or pass an object with encode and decode (docs/formats.md)."
        )
    return STYLES[name]
