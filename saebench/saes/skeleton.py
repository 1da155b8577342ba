"""A `saebench.yaml` to begin with, for weights whose format is not known."""

from __future__ import annotations

from collections.abc import Mapping

from saebench.saes.orient import ALIASES


def skeleton(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The description that a user has to complete, on one line, with the parts of tensors guessed."""
    layers = of_layers(shapes)
    parts = {part: name for part, name in _usual(shapes).items() if name in layers} if layers else guessed(shapes)
    placed = ", ".join(f"{ours}: {own}" for ours, own in parts.items())
    rest = [name for name in shapes if name not in parts.values()]
    left = f", ignore: [{', '.join(rest)}]" if rest else ""
    if layers:
        hooks = ", ".join(f"blocks.{layer}.hook_resid_post" for layer in range(layers[parts["W_enc"]][0]))
        return f"{{architecture: crosscoder, hook: [{hooks}], tensors: {{{placed}}}{left}}}"
    return (
        "{architecture: topk, k: 32, hook: blocks.8.hook_resid_post, subtract_b_dec: true, "
        f"tensors: {{{placed}}}{left}}}"
    )


def of_layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The parts of a crosscoder, where encoder and decoder have an axis more than those of a SAE; else nothing."""
    parts = _usual(shapes)
    if not all(len(shapes.get(parts.get(part, ""), ())) == 3 for part in ("W_enc", "W_dec")):
        return {}
    return {name: shapes[name] for name in parts.values()}


def _usual(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Own names by ours, of tensors under a usual name."""
    return {ours: own for ours, names in ALIASES.items() for own in names if own in shapes}


def guessed(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Own names by ours, where a name or a size tells; a part is given once, to the first tensor that looks like it."""
    usual = {own: ours for ours, names in ALIASES.items() for own in names}
    found: dict[str, str] = {}
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    for name in matrices:
        role = usual.get(name) or next((f"W_{part}" for part in ("enc", "dec") if part in name.lower()), None)
        if role:
            found.setdefault(role, name)
    sides = {side for name in found.values() for side in shapes[name]}
    for name, shape in shapes.items():
        if len(shape) == 1 and len(sides) == 2 and shape[0] in sides:
            by_size = "b_enc" if shape[0] == max(sides) else "b_dec"
            found.setdefault(usual.get(name, by_size), name)
    return found
