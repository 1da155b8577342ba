"""The contract of a sparse coder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from saebench.saes.codes import Codes

Role = Literal["sae", "null", "baseline"]
"""What the coder is on a board: a trained SAE, a control that knows nothing, a simple baseline."""


@runtime_checkable
class SparseCoder(Protocol):
    """Anything that turns activations into sparse codes and codes into activations."""

    @property
    def W_dec(self) -> Tensor | None:
        """`[F, d_out]`, a row a latent; None where the decoder is not linear and shows none."""
        ...

    @property
    def W_enc(self) -> Tensor | None:
        """`[d_in, F]`, a column a latent; None where there is no such matrix."""
        ...

    @property
    def b_dec(self) -> Tensor | None:
        """`[d_out]`, what is decoded when no latent fires."""
        ...

    @property
    def d_in(self) -> int:
        """Width of the input."""
        ...

    @property
    def d_out(self) -> int:
        """Width of the output."""
        ...

    @property
    def d_sae(self) -> int:
        """Number of latents, F."""
        ...

    @property
    def hook_in(self) -> str:
        """Hook that is encoded."""
        ...

    @property
    def hook_out(self) -> str:
        """Hook that is reconstructed."""
        ...

    @property
    def signed(self) -> bool:
        """Codes may be negative."""
        ...

    @property
    def needs_sequence(self) -> bool:
        """Encoding a token needs the tokens before it."""
        ...

    @property
    def linear_decoder(self) -> bool:
        """With ctx held, the output moves by `value * W_dec[latent]`, times `ctx["scale"]` if normalised."""
        ...

    @property
    def normalised(self) -> bool:
        """Each token is rescaled before encoding and back after decoding."""
        ...

    @property
    def architecture(self) -> str:
        """The field's name for it: `topk`, `gated`, `batchtopk` ..."""
        ...

    @property
    def name(self) -> str:
        """Unique label."""
        ...

    @property
    def ref(self) -> str:
        """The reference it was loaded from."""
        ...

    @property
    def role(self) -> Role:
        """A trained SAE, a null or a baseline."""
        ...

    @property
    def metadata(self) -> dict[str, Any]:
        """Declared facts: model_name, k, l0, seed, context_size ..."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What the load gate found suspicious."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the weights, settings and hooks."""
        ...

    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]`."""
        ...

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        """Activations `[n, d_out]` of codes, with the context that encode left in them."""
        ...

    def reconstruct(self, x: Tensor) -> Tensor:
        """The full forward: skip connections and normalisation included, `[n, d_out]`."""
        ...

    def to(self, *, device: Any = None, dtype: Any = None) -> SparseCoder:
        """The same coder on another device or in another dtype."""
        ...
