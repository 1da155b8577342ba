"""A SAE's weights, with products of latents by latents taken in blocks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import SparseCoder

_BLOCK = 1024


class Cosines(NamedTuple):
    """Cosines of each row with all others: the largest, and the mean of the absolute values; each `[rows]`."""

    nearest: Any
    mean_abs: Any


class Weights:
    """Encoder and decoder of a SAE, one row a latent."""

    kind: ClassVar[str] = "weights"

    def __init__(self, sae: SparseCoder) -> None:
        self._sae = sae

    @property
    def hook_in(self) -> str:
        """Hook that it encodes."""
        return self._sae.hook_in

    @property
    def hook_out(self) -> str:
        """Hook that it reconstructs."""
        return self._sae.hook_out

    @cached_property
    def decoder(self) -> Tensor:
        """Decoder rows, `[d_sae, d_out]`.

        Raises:
            NotApplicable: The decoder is not linear.
        """
        if self._sae.W_dec is None:
            raise NotApplicable(f"the decoder of the {self._sae.architecture} SAE is not linear")
        return self._sae.W_dec.detach().float()

    @cached_property
    def encoder(self) -> Tensor:
        """Encoder columns as rows, `[d_sae, d_in]`.

        Raises:
            NotApplicable: The SAE has no encoder matrix.
        """
        if self._sae.W_enc is None:
            raise NotApplicable(f"the {self._sae.architecture} SAE has no encoder matrix")
        return self._sae.W_enc.detach().float().T

    @cached_property
    def decoder_cosines(self) -> Cosines:
        """Each decoder row against all others."""
        return cosines(self.decoder)

    @cached_property
    def encoder_cosines(self) -> Cosines:
        """Each encoder column against all others."""
        return cosines(self.encoder)


def cosines(rows: Tensor) -> Cosines:
    """Nearest and mean absolute cosine of each row to the other rows, in blocks: never n x n in memory.

    Args:
        rows: `[n, d]`; a zero row has cosine 0 with everything.

    Raises:
        NotApplicable: Fewer than two rows.
    """
    import torch

    n = len(rows)
    if n < 2:
        raise NotApplicable("a dictionary of one latent has no neighbours")
    unit = torch.nn.functional.normalize(rows, dim=-1)
    nearest = unit.new_empty(n)
    mean_abs = torch.empty(n, dtype=torch.float64, device=unit.device)
    for start in range(0, n, _BLOCK):
        block = unit[start : start + _BLOCK] @ unit.T
        own = torch.arange(start, min(start + _BLOCK, n), device=unit.device)
        here = own - start
        block[here, own] = 0
        mean_abs[own] = block.abs().sum(-1, dtype=torch.float64) / (n - 1)
        block[here, own] = -torch.inf
        nearest[own] = block.amax(-1)
    return Cosines(nearest, mean_abs)
