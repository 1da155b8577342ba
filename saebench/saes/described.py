"""What a loaded SAE holds, in words: format, sizes, hooks, conventions, thresholds, norms, provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.saes.coder import Coder
from saebench.saes.gate import declared_l0

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes.gate import Measured
    from saebench.saes.protocol import SparseCoder


def facts(sae: SparseCoder) -> dict[str, str]:
    """What was detected, by name; declared facts come last."""
    rows = sae.W_dec
    shown = {
        "reference": sae.ref,
        "format": str(sae.metadata.get("format", "object")),
        "architecture": sae.architecture,
        "sizes": f"d_in {sae.d_in}, d_sae {sae.d_sae}, d_out {sae.d_out}",
        "hook": sae.hook_in if sae.hook_in == sae.hook_out else f"{sae.hook_in} -> {sae.hook_out}",
        "fires": _fires(sae),
        "input": _input(sae),
        "decoder norms": "none: the decoder is not linear" if rows is None else _range(rows.float().norm(dim=-1)),
        "fingerprint": sae.fingerprint,
    }
    told = {k: v for k, v in sae.metadata.items() if k != "format" and v != "" and isinstance(v, (str, int, float))}
    return {**shown, **{f"declared {key}": str(value) for key, value in told.items()}}


def verdict(sae: SparseCoder, measured: Measured) -> str:
    """One sentence on whether what was measured fits what was declared."""
    if not measured.warnings:
        return (
            "it behaves as declared on the probe batch"
            if declared_l0(sae)
            else "nothing contradicts it on the probe batch"
        )
    return "do not trust its scores before this is explained"


def measurements(sae: SparseCoder, measured: Measured, tokens: int, text: str) -> dict[str, str]:
    """What the SAE did on a probe batch, by name."""
    declared = declared_l0(sae)
    return {
        "probe batch": f"{tokens:,} tokens of {text}",
        "L0": f"{measured.l0:.4g}" + (f" (declared {declared:g})" if declared else " (none declared)"),
        "explained variance": f"{measured.explained_variance:.4f}",
        "silent latents": f"{measured.silent:.1%} never fired on these tokens",
    }


def _fires(sae: SparseCoder) -> str:
    k = getattr(sae, "k", None)
    threshold = getattr(sae, "threshold", None)
    if threshold is not None:
        return f"above its threshold: {_range(threshold.float())}"
    if isinstance(getattr(sae, "k_max", None), int):
        return f"the largest of a token, {getattr(sae, 'k_min', 1)} to {getattr(sae, 'k_max', 1)} of them"
    if isinstance(k, int):
        return f"the {k} largest of a token" + (" by magnitude" if sae.signed else "")
    return "where it is not zero" if sae.signed else "where it is positive"


def _input(sae: SparseCoder) -> str:
    if not isinstance(sae, Coder):
        return "as the object's own encode takes it"
    steps = {
        "none": [], "layer_norm": ["each token standardised, and restored afterwards"],
        "constant_norm_rescale": ["each token scaled to the norm sqrt(d), and restored afterwards"],
        "zero_mean": ["each token's mean over the width subtracted, and added back afterwards"],
    }[sae.normalise]  # fmt: skip
    steps = [*steps, "b_dec subtracted" if sae.centred else "b_dec not subtracted"]
    return ", ".join([*steps, *(["a linear skip connection"] if sae.W_skip is not None else [])])


def _range(values: Tensor) -> str:
    low, mean, high = float(values.min()), float(values.mean()), float(values.max())
    return f"{low:.4g}, all alike" if low == high else f"{low:.4g} to {high:.4g}, mean {mean:.4g}"
