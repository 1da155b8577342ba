"""Whether the same weights, read by another convention or at another hook, explain what this reading does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from saebench.saes.coder import Coder

PROBE = 1024
"""Most tokens on which readings are compared."""

WORTH_A_LOOK = 0.05
"""Unexplained variance below which no other reading is tried."""

POOR = 0.3
"""Unexplained variance above which hooks of all blocks are tried, not only of those near."""

MUCH_BETTER = 0.6
"""Another reading is reported when it leaves less than this share of what is unexplained now."""

GOOD = 0.5
"""Explained variance that another reading must reach, so that among bad ones none is recommended."""


Elsewhere = Mapping[str, tuple[Tensor, Tensor]]
"""Input and target at other hooks than a coder's own, by words such as `blocks.3.hook_resid_post`."""


@torch.no_grad()
def suspect(
    coder: Coder, x: Tensor, y: Tensor, elsewhere: Elsewhere | None = None, far: Elsewhere | None = None
) -> list[str]:
    """A warning where a usual mistake, undone, would explain much more of the target than the coder does.

    Tried are: the decoder's bias subtracted from the input or not, each normalisation of the input, a factor
    that brings activations to the norm sqrt(d), a square decoder transposed, and other hooks. A SAE is trained under
    its own convention, so another one that does much better is a sign that the checkpoint was read wrongly.

    Args:
        coder: The coder as it was loaded.
        x: Probe activations `[n, d_in]`.
        y: What it reconstructs, `[n, d_out]`.
        elsewhere: The same at other hooks, of the same widths.
        far: The same at hooks that are tried only where little is explained.
    """
    if coder.role != "sae":
        return []
    own = _unexplained(coder, coder.reconstruct, x, y)
    if own < WORTH_A_LOOK:
        return []
    x = x[:PROBE].to(coder.device, coder.dtype)
    tried = [(_unexplained(coder, other, x, y), what, "convention") for what, other in readings(coder, x)]
    others = {**(elsewhere or {}), **((far or {}) if own > POOR else {})}
    tried += [(_unexplained(coder, coder.reconstruct, *acts), f"at {hook}", "hook") for hook, acts in others.items()]
    best, what, kind = min(tried, default=(own, "", ""))
    if best > MUCH_BETTER * own or 1 - best < GOOD:
        return []
    return [f"explains {1 - own:.2f} of the variance as it was read, but {1 - best:.2f} {what}: a wrong {kind}?"]


def readings(coder: Coder, x: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Reconstructions by other readings of the same weights, each with words that follow "explains so much".

    No weights are copied, but for a square decoder's transpose.
    """
    same_width = coder.d_in == coder.d_out
    if same_width and bool((coder.b_dec != 0).any()):
        words = f"if b_dec were {'not ' if coder.centred else ''}subtracted from the input"
        yield words, coder.replace(centred=not coder.centred).reconstruct
    if same_width:
        for norm in ("none", "layer_norm", "constant_norm_rescale"):
            if norm != coder.normalise:
                words = "without normalisation of the input" if norm == "none" else f"with the input's {norm}"
                yield words, coder.replace(normalise=norm, restore=True).reconstruct
    factor = math.sqrt(coder.d_in) / float(x.norm(dim=-1).mean())
    if coder.normalise == "none" and not 0.8 < factor < 1.25:
        words = f"sqrt(d) / their mean norm ({factor:.3g})"
        yield f"with activations multiplied by {words}", partial(_scaled, coder, factor)
        yield f"with activations divided by {words}", partial(_scaled, coder, 1 / factor)
    if coder.d_sae == coder.d_out:
        yield "with the decoder transposed", coder.replace(W_dec=coder.W_dec.T.contiguous()).reconstruct


def _scaled(coder: Coder, scale: float, x: Tensor) -> Tensor:
    return coder.reconstruct(x * scale) / scale


def _unexplained(coder: Coder, reconstruct: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    x, y = (part[:PROBE].to(coder.device, coder.dtype) for part in (x, y))
    spread = float((y - y.mean(0)).double().square().sum())
    return float((reconstruct(x) - y).double().square().sum()) / max(spread, 1e-30)
