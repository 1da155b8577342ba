"""Any Python object with `encode` and `decode`, probed once and then held to the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from saebench.errors import UserError
from saebench.saes.coder import fingerprint
from saebench.saes.codes import Codes
from saebench.saes.gate import check_finite
from saebench.saes.protocol import Role

TROUBLE = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError, NotImplementedError)
"""What a foreign encode, decode or forward raises when it is called in a way it does not know."""


@dataclass(eq=False, kw_only=True, repr=False)
class Wrapped:
    """A foreign object as a `SparseCoder`.

    Where its decoder is linear (found by trial), `W_dec` is exact and decoding is a sparse product.
    What its forward adds beyond decode(encode(x)), such as a skip connection, is kept as
    `ctx["rest"]` and added back.
    """

    inner: Any
    d_in: int
    d_out: int
    d_sae: int
    W_dec: Tensor | None
    W_enc: Tensor | None
    b_dec: Tensor | None
    linear_decoder: bool
    signed: bool
    adds_rest: bool
    pairs: bool
    """decode takes values and indices instead of dense codes."""
    device: torch.device
    dtype: torch.dtype
    identity: str
    """Hash of the object's weights or behaviour."""
    architecture: str = "custom"
    hook_in: str = ""
    hook_out: str = ""
    name: str = ""
    ref: str = ""
    role: Role = "sae"
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    needs_sequence = False
    normalised = False

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the weights (or the behaviour) and the hooks."""
        return fingerprint({}, {"object": self.identity, "in": self.hook_in, "out": self.hook_out})

    @torch.no_grad()
    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]`."""
        x = x.to(self.device, self.dtype)
        codes = run_encode(self.inner, x)[0]
        if self.adds_rest:
            whole = run_forward(self.inner, x, self.d_out)
            if whole is None:
                raise UserError(f"The forward of SAE {self.name!r} gave no reconstruction of {len(x)} tokens.")
            codes.ctx["rest"] = whole - self._decode(codes)
        return codes

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        """Activations `[n, d_out]` of codes `[n, F]`."""
        if ctx is None:
            ctx = codes.ctx if isinstance(codes, Codes) else {}
        y = self._decode(codes)
        if not self.adds_rest:
            return y
        if "rest" not in ctx:
            raise UserError(
                f"SAE {self.name!r} adds to its output what is not in its codes, so dense codes cannot be "
                "decoded alone. Pass ctx=codes.ctx of the codes they came from."
            )
        return y + ctx["rest"]

    def reconstruct(self, x: Tensor) -> Tensor:
        """The object's own full forward of activations `[n, d_in]`."""
        return self.decode(self.encode(x))

    def _decode(self, codes: Codes | Tensor) -> Tensor:
        if self.W_dec is not None and self.linear_decoder:
            y = codes @ self.W_dec
            return y if self.b_dec is None else y + self.b_dec
        return run_decode(self.inner, codes, self.pairs)

    def replace(self, **changes: Any) -> Wrapped:
        """A twin with some fields changed."""
        import dataclasses

        return dataclasses.replace(self, **changes)

    def to(self, *, device: Any = None, dtype: torch.dtype | None = None) -> Wrapped:
        """The same coder elsewhere; the wrapped module is moved too, so it is not a copy."""
        if (device is None or torch.device(device) == self.device) and dtype in (None, self.dtype):
            return self
        if isinstance(self.inner, nn.Module):
            self.inner.to(device=device, dtype=dtype)
        elif device is not None and torch.device(device) != self.device:
            raise UserError(f"SAE {self.name!r} is no torch module, so it cannot be moved to {device}.")
        moved = {key: None if t is None else t.to(device=device, dtype=dtype)
                 for key, t in (("W_dec", self.W_dec), ("W_enc", self.W_enc), ("b_dec", self.b_dec))}  # fmt: skip
        device = self.device if device is None else torch.device(device)
        return self.replace(**moved, device=device, dtype=dtype or self.dtype)

    def __repr__(self) -> str:
        return f"<{self.architecture} {self.name!r}: {self.d_in} -> {self.d_sae} latents, wrapped>"


def run_encode(obj: Any, x: Tensor) -> tuple[Codes, bool]:
    """Codes of an object's `encode`, whatever form it returns, and whether they came as pairs.

    Accepts `Codes`, dense or sparse tensors, (values, indices), objects with `top_acts` and `top_indices`
    (EleutherAI's sparsify), whose width is asked of the object, and (activations before selection,
    codes), which are dense (overcomplete).

    Raises:
        UserError: It returns something else.
    """
    out = obj.encode(x)
    if isinstance(out, Codes):
        return out, False
    if isinstance(out, Tensor):
        return Codes.from_dense((out.to_dense() if out.is_sparse else out).detach()), False
    pair = (getattr(out, "top_acts", None), getattr(out, "top_indices", None))
    if pair[0] is None and isinstance(out, tuple) and len(out) == 2:
        pair = out
    values, indices = pair
    if isinstance(indices, Tensor) and _before_and_after(values, indices):
        return Codes.from_dense(indices.detach()), False
    if isinstance(values, Tensor) and isinstance(indices, Tensor) and not indices.is_floating_point():
        return Codes.from_topk(values.detach(), indices, _width(obj)), True
    raise UserError(
        f"encode of {type(obj).__name__} returned {type(out).__name__}. Return a tensor [tokens, latents], "
        "or a pair (values, indices), both [tokens, k]."
    )


def _before_and_after(first: Any, second: Tensor) -> bool:
    return isinstance(first, Tensor) and second.is_floating_point() and first.shape == second.shape


def run_decode(obj: Any, codes: Codes | Tensor, pairs: bool) -> Tensor:
    """Output of an object's `decode`, given codes in the form that its `encode` returns."""
    if pairs:
        codes = codes if isinstance(codes, Codes) else Codes.from_dense(codes)
        return obj.decode(*codes.padded())
    return obj.decode(codes.dense() if isinstance(codes, Codes) else codes)


def run_forward(obj: Any, x: Tensor, d_out: int) -> Tensor | None:
    """The reconstruction in what an object's forward returns, or None if there is none."""
    if not callable(obj):
        return None
    try:
        out = obj(x)
    except TROUBLE:
        return None
    out = getattr(out, "sae_out", out)
    if isinstance(out, (tuple, list)) and out:
        out = out[0]
    return out.detach() if isinstance(out, Tensor) and out.shape == (len(x), d_out) else None


def _width(obj: Any) -> int:
    for name in ("d_sae", "num_latents", "dict_size", "n_latents"):
        for holder in (obj, getattr(obj, "cfg", None), getattr(obj, "config", None)):
            if isinstance(getattr(holder, name, None), int):
                return getattr(holder, name)
    matrix = getattr(obj, "W_dec", None)
    if isinstance(matrix, Tensor):
        return matrix.shape[0]
    raise UserError(
        f"{type(obj).__name__} returns pairs (values, indices), so the number of latents is not to be seen. "
        "Give it an attribute d_sae."
    )


def identify(obj: Any, tensors: Mapping[str, Tensor], probe: Tensor) -> str:
    """Fingerprint of a foreign object: its weights, or what it does to a probe where it shows none."""
    settings = {"class": f"{type(obj).__module__}.{type(obj).__qualname__}"}
    settings |= {k: v for k, v in vars(obj).items() if isinstance(v, (int, float, str, bool)) and k[0] != "_"}
    if not tensors:
        tensors = {"behaviour": run_encode(obj, probe)[0].dense()}
    return fingerprint(tensors, settings)


def held_tensors(obj: Any) -> dict[str, Tensor]:
    """The tensors that an object holds: its state dict, or its tensor attributes."""
    if isinstance(obj, nn.Module):
        return {k: v.detach() for k, v in obj.state_dict().items() if isinstance(v, Tensor)}
    return {k: v.detach() for k, v in getattr(obj, "__dict__", {}).items() if isinstance(v, Tensor)}


def check_held(obj: Any, where: str) -> dict[str, Tensor]:
    """The tensors of an object, refused if one is not finite."""
    tensors = held_tensors(obj)
    check_finite(tensors, where)
    return tensors
