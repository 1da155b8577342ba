"""Whether the same weights, read by another convention, would explain what this reading does not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from saebench.saes.coder import Coder

WORTH_A_LOOK = 0.05
"""Unexplained variance below which no other reading is tried."""

MUCH_BETTER = 0.6
"""Another reading is reported when it leaves less than this share of what is unexplained now."""

GOOD = 0.5
"""Explained variance that another reading must reach, so that among bad ones none is recommended."""


@torch.no_grad()
def suspect(coder: Coder, x: Tensor, y: Tensor) -> list[str]:
    """A warning where a usual mistake, undone, would explain much more of the target than the coder does.

    Tried are: the decoder's bias subtracted from the input or not, each normalisation of the input, a factor
    that brings activations to the norm sqrt(d), and a square decoder transposed. A SAE is trained under its own
    convention, so another one that does much better is a sign that the checkpoint was read wrongly.

    Args:
        coder: The coder as it was loaded.
        x: Probe activations `[n, d_in]`.
        y: What it reconstructs, `[n, d_out]`.
    """
    if coder.role != "sae":
        return []
    x, y = x.to(coder.device, coder.dtype), y.to(coder.device, coder.dtype)
    spread = float((y - y.mean(0)).double().square().sum())
    own = _unexplained(coder, x, y, spread)
    if own < WORTH_A_LOOK:
        return []
    tried = [(_unexplained(other, x, y, spread), what) for what, other in readings(coder, x)]
    best, what = min(tried, default=(own, ""))
    if best > MUCH_BETTER * own or 1 - best < GOOD:
        return []
    return [f"explains {1 - own:.2f} of the variance as it was read, but {1 - best:.2f} {what}: a wrong convention?"]


def readings(coder: Coder, x: Tensor) -> Iterator[tuple[str, Coder]]:
    """Other readings of the same weights, each with words that follow "explains so much"."""
    same_width = coder.d_in == coder.d_out
    if same_width and bool((coder.b_dec != 0).any()):
        yield (
            f"if b_dec were {'not ' if coder.centred else ''}subtracted from the input",
            coder.replace(centred=not coder.centred),
        )
    if same_width:
        for norm in ("none", "layer_norm", "constant_norm_rescale"):
            if norm != coder.normalise:
                words = "without normalisation of the input" if norm == "none" else f"with the input's {norm}"
                yield words, coder.replace(normalise=norm, restore=True)
    factor = math.sqrt(coder.d_in) / float(x.norm(dim=-1).mean())
    if "W_enc" in coder.tensors() and coder.normalise == "none" and not 0.8 < factor < 1.25:
        for words, scale in (("multiplied by", factor), ("divided by", 1 / factor)):
            folded = coder.replace(W_enc=coder.W_enc * scale, W_dec=coder.W_dec / scale, b_dec=coder.b_dec / scale)
            yield f"with activations {words} sqrt(d) / their mean norm ({factor:.3g})", folded
    if coder.d_sae == coder.d_out:
        yield "with the decoder transposed", coder.replace(W_dec=coder.W_dec.T.contiguous())


def _unexplained(coder: Coder, x: Tensor, y: Tensor, spread: float) -> float:
    return float((coder.reconstruct(x) - y).double().square().sum()) / max(spread, 1e-30)
