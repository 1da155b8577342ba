"""The base class of the coders that are a dictionary: a row of the decoder for each latent."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.codes import Codes
from saebench.saes.protocol import Role

Normalisation = Literal["none", "layer_norm", "constant_norm_rescale", "zero_mean"]
"""What is done to each token before encoding: nothing, zero mean and unit deviation, norm sqrt(d), zero mean alone."""

C = TypeVar("C", bound="Coder")


@dataclass(eq=False, kw_only=True, repr=False)
class Coder:
    """A dictionary: y = (codes @ W_dec + b_dec), rescaled, plus the skip connection if there is one.

    Subclasses give `activate`. Instances are treated as immutable; `to` and `replace` make twins.
    Every tensor field belongs to the fingerprint and moves with `to`.
    """

    W_dec: Tensor
    W_enc: Tensor
    b_dec: Tensor
    b_enc: Tensor | None = None
    W_skip: Tensor | None = None
    """`[d_out, d_in]`, applied to the raw input and added to the output."""
    centred: bool = False
    """b_dec is subtracted from the input before encoding."""
    normalise: Normalisation = "none"
    restore: bool = True
    """The output is scaled back by the input's statistics (transcoders do not)."""
    architecture: str = "standard"
    hook_in: str = ""
    hook_out: str = ""
    name: str = ""
    ref: str = ""
    role: Role = "sae"
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    identity: str = ""
    """Fingerprint carried over from the coder this one was cast from."""

    signed = False
    needs_sequence = False
    linear_decoder = True

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.W_enc.shape[0]

    @property
    def d_out(self) -> int:
        """Width of the output."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of latents, F."""
        return self.W_dec.shape[0]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape that each tensor must have, given those of `W_enc` and `W_dec`; a vector over latents if not named."""
        return {"W_dec": (self.d_sae, self.d_out), "W_enc": (self.d_in, self.d_sae), "b_dec": (self.d_out,),
                "W_skip": (self.d_out, self.d_in)}  # fmt: skip

    def complaint(self) -> str | None:
        """Why these weights cannot be run by this architecture's equations, or None."""
        return None

    @property
    def normalised(self) -> bool:
        """Each token is rescaled before encoding and back after decoding."""
        return self.normalise != "none" and self.restore

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights and so of the products."""
        return self.W_dec.dtype

    def activate(self, x: Tensor) -> Codes:
        """Codes of prepared input `[n, d_in]`: normalised, and centred where the coder is."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]`, with what decode needs in their `ctx`."""
        x = x.to(self.device, self.dtype)
        prepared, ctx = self._normalise(x)
        if self.centred:
            prepared = prepared - self.b_dec
        codes = self.activate(prepared)
        if self.restore:
            codes.ctx.update(ctx)
        if self.W_skip is not None:
            codes.ctx["skip"] = x
        return codes

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        """Activations `[n, d_out]` of codes `[n, F]`.

        Args:
            codes: Codes, or a dense tensor together with the `ctx` of the codes it came from.
            ctx: Context of another pass; that of the codes if left out.

        Raises:
            UserError: Dense codes of a normalised or skip coder without their context.
        """
        if ctx is None:
            ctx = codes.ctx if isinstance(codes, Codes) else {}
        y = (codes @ self.W_dec).add_(self.b_dec)
        if self.normalised:
            y = y * self._context(ctx, "scale")
            if "shift" in ctx:
                y = y + ctx["shift"]
        if self.W_skip is not None:
            y = y.addmm_(self._context(ctx, "skip"), self.W_skip.T)
        return y

    def reconstruct(self, x: Tensor) -> Tensor:
        """The full forward of activations `[n, d_in]`, skip and normalisation included."""
        return self.decode(self.encode(x))

    def _context(self, ctx: Mapping[str, Tensor], key: str) -> Tensor:
        if key not in ctx:
            raise UserError(
                f"SAE {self.name!r} cannot decode dense codes alone: it needs {key!r} of the input. "
                "Pass ctx=codes.ctx of the codes they came from."
            )
        return ctx[key]

    def _normalise(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.normalise == "layer_norm":
            shift = x.mean(-1, keepdim=True)
            centred = x - shift
            scale = centred.std(-1, keepdim=True)
            return centred / (scale + 1e-5), {"shift": shift, "scale": scale}
        if self.normalise == "constant_norm_rescale":
            norm = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
            scale = norm / math.sqrt(x.shape[-1])
            return x / scale, {"scale": scale}
        if self.normalise == "zero_mean":
            shift = x.mean(-1, keepdim=True)
            return x - shift, {"shift": shift, "scale": torch.ones_like(shift)}
        return x, {}

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def replace(self: C, **changes: Any) -> C:
        """A twin with some fields changed; a change of weights or hooks changes the fingerprint."""
        return dataclasses.replace(self, **{"identity": "", **changes})

    def to(self: C, *, device: Any = None, dtype: torch.dtype | None = None) -> C:
        """The same coder on another device or in another dtype; its fingerprint stays."""
        moved = {name: t.to(device=device, dtype=dtype) for name, t in self.tensors().items()}
        if all(moved[name] is t for name, t in self.tensors().items()):
            return self
        return self.replace(identity=self.fingerprint, **moved)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the weights, the settings and the hooks; the same in every dtype."""
        if not self.identity:
            self.identity = fingerprint(self.tensors(), self.settings())
        return self.identity

    def settings(self) -> dict[str, Any]:
        """Everything but the weights that the numbers depend on."""
        shown = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        aside = {"name", "ref", "role", "metadata", "warnings", "identity", "architecture"}
        kept = {k: v for k, v in shown.items() if k not in aside and not isinstance(v, Tensor)}
        return {"class": type(self).__name__, **kept}

    def __repr__(self) -> str:
        at = self.hook_in if self.hook_in == self.hook_out else f"{self.hook_in} -> {self.hook_out}"
        return f"<{self.architecture} {self.name!r}: {self.d_in} -> {self.d_sae} latents, {at}>"


def fingerprint(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    """16 hex digits of tensors and settings; half precision counts as its value in single."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, tensor in sorted(tensors.items()):
        wide = torch.float64 if tensor.dtype is torch.float64 else torch.float32
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", wide).contiguous().numpy().data)
    return digest.hexdigest()[:16]
