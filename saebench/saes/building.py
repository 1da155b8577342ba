"""From the tensors of a checkpoint, under their own names, to a checked coder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.stored import TensorFile


def single(tensor: Tensor) -> Tensor:
    """A detached tensor, in single precision at least where it holds fractions."""
    tensor = tensor.detach()
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def renamed(
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    where: str,
    *,
    transposed: Collection[str] = (),
    ignored: Collection[str] = (),
) -> dict[str, Any]:
    """The tensors of a checkpoint under the names of a coder's fields.

    Args:
        tensors: By their own names.
        names: Their own names by ours.
        where: What to call the checkpoint in an error.
        transposed: Our names of those that are stored the other way round.
        ignored: Own names that may be there and change nothing.

    Raises:
        UserError: One is missing, or one is there that this format does not have, whose part is unknown.
    """
    check_names(tensors, [*names.values()], where, ignored=ignored)
    order = sorted(names, key=lambda ours: ours != "W_dec")  # what may be copied comes first, while there is room
    return {ours: _taken(tensors, names[ours], ours, where, turn=ours in transposed) for ours in order}


def check_names(found: Collection[str], names: Collection[str], where: str, *, ignored: Collection[str] = ()) -> None:
    """Refuse a checkpoint without all the tensors of its format, or with others.

    Args:
        found: Names of its tensors.
        names: Those that must be there.
        where: What to call the checkpoint in an error.
        ignored: Those that may be there and change nothing.

    Raises:
        UserError: One is missing, or one is there that this format does not have, whose part is unknown.
    """
    for own in names:
        if own not in found:
            raise UserError(f"{where}: the tensor {own!r} is missing among {_listed(found)}.")
    known = {*names, *ignored}
    strange = [own for own in found if own not in known]
    if strange:
        raise UserError(
            f"{where}: holds a tensor {strange[0]!r} that this format does not have, so its equations are not those "
            "that are known. Describe it in a saebench.yaml beside it, or register a loader (docs/formats.md)."
        )


def _taken(tensors: Mapping[str, Tensor], own: str, ours: str, where: str, *, turn: bool) -> Tensor:
    """A tensor the way round that a coder has it; only rows of a decoder, which are gathered, must lie together."""
    turned = tensors.turned(own) if turn and ours != "W_enc" and isinstance(tensors, TensorFile) else None
    tensor = tensors[own] if turned is None else turned
    check_fractions(ours, tensor, where)
    if ours in ("W_enc", "W_dec") and tensor.ndim != 2:
        raise UserError(f"{where}: {ours!r} must be a matrix, found shape {list(tensor.shape)}.")
    tensor = single(tensor)
    tensor = tensor.T if turn and turned is None and tensor.ndim == 2 else tensor
    return tensor if ours == "W_enc" else tensor.contiguous()


def check_fractions(name: str, tensor: Tensor, where: str) -> None:
    """Refuse whole numbers where weights belong.

    Raises:
        UserError: Names the tensor and its precision.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(
            f"{where}: {name!r} holds {kind} numbers, and a quantised SAE cannot be read without its scales. "
            "Save it in float32, bfloat16 or float16."
        )


def check_sizes(declared: Mapping[str, Any], found: Mapping[str, int], where: str) -> None:
    """Refuse a configuration whose sizes are not those of the tensors.

    Args:
        declared: Sizes by the configuration's keys; None where it does not say.
        found: Sizes of the tensors by the same keys.
        where: What to call the checkpoint in an error.

    Raises:
        UserError: Names the key and both sizes.
    """
    for key, size in found.items():
        told = declared.get(key)
        if told is not None and told != size and str(told) != str(size):
            raise UserError(f"{where}: the configuration says {key} is {told!r}, but its tensors have {size}.")


def check_shape(name: str, shape: Sequence[int], wanted: Sequence[int], where: str) -> None:
    """Refuse a tensor of another shape than the configuration or the other tensors ask for.

    Raises:
        UserError: Names the tensor and both shapes.
    """
    if list(shape) != list(wanted):
        raise UserError(f"{where}: {name!r} has shape {list(shape)}, but {list(wanted)} is asked for.")


def check_together(weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors whose sizes are not those of `W_dec [F, d_out]`, before they are multiplied.

    Raises:
        UserError: Names the tensor and both shapes.
    """
    latents, d_out = weights["W_dec"].shape
    wanted = {"W_enc": (len(weights["W_enc"]), latents), "b_enc": (latents,), "b_dec": (d_out,),
              "threshold": (latents,)}  # fmt: skip
    for name, shape in wanted.items():
        if name in weights and tuple(weights[name].shape) != shape:
            found = list(weights[name].shape)
            raise UserError(
                f"{where}: {name!r} has shape {found}, but W_dec {[latents, d_out]} asks for {list(shape)}."
            )


def layer_names(encoder: str, decoder: str) -> dict[str, str]:
    """Names of the tensors of two linear layers with biases, by ours."""
    return {"W_enc": f"{encoder}.weight", "b_enc": f"{encoder}.bias",
            "W_dec": f"{decoder}.weight", "b_dec": f"{decoder}.bias"}  # fmt: skip


def of_each(threshold: Tensor, latents: int) -> Tensor:
    """The threshold of each latent, `[latents]`, where one may stand for all."""
    return threshold.reshape(1).expand(latents).contiguous() if threshold.numel() == 1 else threshold


def said(**facts: Any) -> dict[str, Any]:
    """Declared facts, without those that a checkpoint says nothing of."""
    return {name: fact for name, fact in facts.items() if fact is not None}


def section(config: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """The object under a key of a configuration, empty where it says nothing.

    Raises:
        UserError: Something else is there.
    """
    found = config.get(key)
    if found is not None and not isinstance(found, dict):
        raise UserError(f"{where}: {key} in its configuration must be an object, found {found!r}.")
    return found or {}


def number(config: Mapping[str, Any], key: str, where: str) -> float | None:
    """The finite number under a key of a configuration, None where it says nothing.

    Raises:
        UserError: Something else is there.
    """
    found = config.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not -1e30 < found < 1e30:
        raise UserError(f"{where}: {key} in its configuration must be a number, found {found!r}.")
    return float(found)


def scalar(tensor: Tensor | None, default: Any = None) -> Any:
    """The number in a tensor of one entry."""
    return default if tensor is None or not tensor.numel() else tensor.reshape(-1)[0].item()


def _listed(found: Collection[str]) -> str:
    names = sorted(found)
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
