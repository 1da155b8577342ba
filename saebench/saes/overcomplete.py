"""State dicts of overcomplete (Kempner Institute): batch norm folded in, archetypal dictionaries fused."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from saebench.saes.building import single

_LAYER = "encoder.final_block.0"
_NORM = "encoder.final_block.1"
_ARCHETYPAL = ("dictionary.W", "dictionary.C", "dictionary.Relax", "dictionary.multiplier")
_EPS = 1e-5
"""Of torch's batch norm."""


def is_overcomplete(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are those of one linear block and a dictionary layer."""
    return f"{_LAYER}.weight" in tensors and any(name.startswith("dictionary.") for name in tensors)


def fused(tensors: Mapping[str, Tensor], delta: float) -> dict[str, Tensor]:
    """The tensors under usual names, as the library's modules act in evaluation mode.

    Batch norm after the encoder's layer is folded into it. A dictionary of archetypes is
    D = (W C + R) exp(m), rows of W non-negative with sum one, rows of R at most delta long (Fel et al. 2025, eq. 4).
    What is not recognised is left as it is, for the caller to refuse.

    Args:
        tensors: State dict.
        delta: Longest row of R that the archetypal dictionary allows.
    """
    rest = {name: single(tensor) for name, tensor in tensors.items()}
    weight, bias = rest.pop(f"{_LAYER}.weight"), rest.pop(f"{_LAYER}.bias")
    if f"{_NORM}.running_var" in rest:
        gain = rest.pop(f"{_NORM}.weight") / (rest.pop(f"{_NORM}.running_var") + _EPS).sqrt()
        bias = (bias - rest.pop(f"{_NORM}.running_mean")) * gain + rest.pop(f"{_NORM}.bias")
        weight = weight * gain[:, None]
        rest.pop(f"{_NORM}.num_batches_tracked", None)
    found = {"W_enc": weight.T.contiguous(), "b_enc": bias}
    if all(name in rest for name in _ARCHETYPAL):
        found["W_dec"] = _archetypes(*(rest.pop(name) for name in _ARCHETYPAL), delta=delta)
    elif "dictionary._weights" in rest:
        found["W_dec"] = rest.pop("dictionary._weights")
    if "thresholds" in rest:
        found["log_threshold"] = rest.pop("thresholds")
    return {**found, **rest}


def _archetypes(mix: Tensor, points: Tensor, relax: Tensor, multiplier: Tensor, *, delta: float) -> Tensor:
    mix = mix.relu()
    mix = mix / (mix.sum(-1, keepdim=True) + 1e-8)
    relax = relax * (delta / relax.norm(dim=-1, keepdim=True)).clamp(max=1)
    return (mix @ points + relax) * multiplier.exp()
