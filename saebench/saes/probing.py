"""The trial that turns a foreign object into a `Wrapped` coder: sizes, linearity, hidden parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from saebench.errors import UserError
from saebench.saes.codes import Codes
from saebench.saes.files import first_line
from saebench.saes.wrapped import (
    TROUBLE,
    Wrapped,
    check_held,
    identify,
    run_decode,
    run_encode,
    run_forward,
)  # fmt: skip

TOKENS = 48
"""Random tokens on which an object is tried."""


@torch.no_grad()
def wrap(obj: Any, *, name: str = "") -> Wrapped:
    """A `SparseCoder` of any object with `encode` and `decode`.

    Args:
        obj: The object; a torch module is put in evaluation mode.
        name: Label, the class's name if left out.

    Raises:
        UserError: A method is missing, the input width is not to be found, or the trial fails.
    """
    label = name or type(obj).__name__
    for method in ("encode", "decode"):
        if not callable(getattr(obj, method, None)):
            raise UserError(
                f"{label} ({type(obj).__name__}) is no SAE: it has no {method} method. "
                "Pass a reference, or an object with encode and decode."
            )
    if isinstance(obj, nn.Module):
        obj.eval()
    tensors = check_held(obj, label)
    first = next((t for t in tensors.values() if t.is_floating_point()), torch.zeros(1))
    x = _probe(_input_width(obj, tensors, label)).to(first.device, first.dtype)
    codes, y, pairs = _try(obj, x, label)
    linear = None if pairs else _linear_part(obj, codes.width, y)
    forward = run_forward(obj, x, y.shape[1])
    return Wrapped(
        inner=obj, d_in=x.shape[1], d_out=y.shape[1], d_sae=codes.width,
        W_dec=linear[0] if linear else _oriented(getattr(obj, "W_dec", None), codes.width, y.shape[1]),
        W_enc=_oriented(_attribute(obj, "W_enc", "encoder"), x.shape[1], codes.width),
        b_dec=linear[1] if linear else None,
        linear_decoder=linear is not None,
        signed=bool((codes.values < 0).any()),
        adds_rest=forward is not None and not _close(forward, y),
        pairs=pairs, device=x.device, dtype=x.dtype,
        identity=identify(obj, tensors, x),
        architecture=_architecture(obj), name=label, ref=f"object:{type(obj).__name__}",
        metadata=_facts(obj), warnings=_suspicions(obj, x, codes),
    )  # fmt: skip


def _try(obj: Any, x: Tensor, label: str) -> tuple[Codes, Tensor, bool]:
    try:
        codes, pairs = run_encode(obj, x)
        y = run_decode(obj, codes, pairs)
    except TROUBLE as error:
        raise UserError(
            f"{label}: encode and decode of {list(x.shape)} random activations failed: {first_line(error)}."
        ) from error
    if codes.n != len(x) or not isinstance(y, Tensor) or y.ndim != 2 or len(y) != len(x):
        raise UserError(
            f"{label}: for {len(x)} tokens, encode gave {codes.n} rows and decode {getattr(y, 'shape', type(y))}. "
            "Both must keep a row a token."
        )
    if not bool(codes.values.isfinite().all()) or not bool(y.isfinite().all()):
        raise UserError(f"{label}: encode or decode gives NaN or infinity on random activations.")
    return codes, y.detach(), pairs


def _linear_part(obj: Any, width: int, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """W_dec and b_dec of a decoder that is linear in dense codes, or None if it is not."""
    try:
        bias = obj.decode(like.new_zeros(1, width))[0]
        held = _oriented(_attribute(obj, "W_dec", "decoder"), width, like.shape[1])
        if held is None or not _obeys(obj, held, bias):
            held = torch.cat([obj.decode(_units(width, at, like)) - bias for at in range(0, width, 1024)])
        return (held.detach().contiguous(), bias.detach()) if _obeys(obj, held, bias) else None
    except TROUBLE:
        return None


def _units(width: int, start: int, like: Tensor) -> Tensor:
    rows = torch.arange(start, min(start + 1024, width), device=like.device)
    return like.new_zeros(len(rows), width).index_put((rows - start, rows), like.new_ones(len(rows)))


def _obeys(obj: Any, matrix: Tensor, bias: Tensor) -> bool:
    """Whether decode equals codes @ matrix + bias on codes of several sizes."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randn(6, len(matrix), generator=generator).to(matrix)
    codes = codes * torch.tensor([0.01, 0.1, 1, 1, 3, 10]).to(codes)[:, None]
    return _close(obj.decode(codes), codes @ matrix + bias)


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    tolerance = 1e-4 if a.element_size() >= 4 else 2e-2
    return float((a - b).norm()) <= tolerance * (float(b.norm()) + 1e-6)


def _attribute(obj: Any, name: str, module: str) -> Tensor | None:
    """A matrix by its usual names: `W_dec`, or the weight of a linear layer `decoder`."""
    matrix = getattr(obj, name, None)
    if isinstance(matrix, Tensor):
        return matrix
    weight = getattr(getattr(obj, module, None), "weight", None)
    return weight.T if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _oriented(matrix: Any, rows: int, columns: int) -> Tensor | None:
    if not isinstance(matrix, Tensor) or matrix.ndim != 2:
        return None
    if tuple(matrix.shape) == (rows, columns):
        return matrix.detach()
    return matrix.detach().T if tuple(matrix.shape) == (columns, rows) else None


def _input_width(obj: Any, tensors: dict[str, Tensor], label: str) -> int:
    holders = [obj, *(getattr(obj, part, None) for part in ("cfg", "config", "dictionary"))]
    for name in ("d_in", "activation_dim", "d_model", "input_dim", "n_inputs", "in_dimensions"):
        for holder in holders:
            if isinstance(getattr(holder, name, None), int):
                return getattr(holder, name)
    matrix = _attribute(obj, "W_enc", "encoder")
    if matrix is not None and matrix.ndim == 2:
        return matrix.shape[0]
    rows = _attribute(obj, "W_dec", "decoder")
    if rows is not None and rows.ndim == 2:
        return rows.shape[1]
    for name in ("b_dec", "bias", "pre_bias"):
        if name in tensors and tensors[name].ndim:
            return tensors[name].shape[-1]
    raise UserError(f"{label}: the width of its input is not to be found. Give the object an attribute d_in.")


def _architecture(obj: Any) -> str:
    own = getattr(obj, "architecture", None) or getattr(getattr(obj, "cfg", None), "architecture", None)
    try:
        own = own() if callable(own) else own
    except TROUBLE:
        own = None
    return own if isinstance(own, str) else type(obj).__name__.lower()


def _facts(obj: Any) -> dict[str, Any]:
    holders = [obj, getattr(obj, "cfg", None), getattr(getattr(obj, "cfg", None), "metadata", None)]
    facts: dict[str, Any] = {}
    for name in ("model_name", "hook_name", "hook_name_out", "k", "l0", "seed", "context_size"):
        found = [getattr(holder, name, None) for holder in holders]
        value = next((v for v in found if isinstance(v, (int, float, str))), None)
        if value is not None:
            facts[name] = value
    return facts


def _suspicions(obj: Any, x: Tensor, codes: Codes) -> list[str]:
    found: list[str] = []
    if not len(codes.values):
        found.append("no latent fires on random activations")
    again = run_encode(obj, x[:8])[0].dense()
    if not _close(again, codes[:8].dense()):
        found.append("encoding a token depends on the other tokens of the batch, or on chance")
    return found


def _probe(width: int) -> Tensor:
    return torch.randn(TOKENS, width, generator=torch.Generator().manual_seed(0))
