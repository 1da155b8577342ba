"""Codes of a batch's valid tokens: which latents fire, and how strongly."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.memo import Memo
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import Codes


class Activity(Memo):
    """A SAE's sparse codes on a batch of valid tokens; a latent fires where its code is not zero.

    Attributes:
        codes: Sparse codes, `[tokens, d_sae]`.
        decoder: Decoder rows, `[d_sae, d_out]`, or None where the decoder is not linear.
    """

    kind: ClassVar[str] = "stream"

    def __init__(self, codes: Codes, decoder: Tensor | None) -> None:
        super().__init__()
        self.codes = codes
        self.decoder = decoder

    @property
    def rows(self) -> Tensor:
        """Decoder rows, `[d_sae, d_out]`.

        Raises:
            NotApplicable: The decoder is not linear, so a latent has no one direction.
        """
        if self.decoder is None:
            raise NotApplicable("its decoder is not linear: a latent has no one direction")
        return self.decoder

    @cached_property
    def norms(self) -> Tensor:
        """Norm of each decoder row, `[d_sae]`.

        Raises:
            NotApplicable: The decoder is not linear, so a latent has no one direction.
        """
        return self.rows.norm(dim=-1)

    @cached_property
    def l0(self) -> Tensor:
        """Latents that fire on each token, `[tokens]`."""
        return self.codes.l0

    @cached_property
    def l1(self) -> Tensor:
        """Sum of the codes' absolute values on each token, `[tokens]`."""
        return self.codes.l1

    @cached_property
    def fires(self) -> Tensor:
        """Tokens of the batch on which each latent fires, `[d_sae]`."""
        return self.codes.fires

    @cached_property
    def effective_l0(self) -> Tensor:
        """exp of the entropy of p, p_i proportional to |f_i| times the norm of d_i, `[tokens]`.

        From one pass over the entries: with w = |f| |d| and W its sum over a token, the entropy is
        log W - (sum of w log w) / W. A token on which nothing fires counts as 0.
        """
        weight = (self.codes.values.abs() * self.norms[self.codes.latents]).double()
        total = weight.new_zeros(self.codes.n).index_add_(0, self.codes.tokens, weight)
        spread = weight.new_zeros(self.codes.n).index_add_(0, self.codes.tokens, weight.xlogy(weight))
        alive = total > 0
        safe = total.where(alive, total.new_ones(()))
        return ((safe.log() - spread / safe).exp()).where(alive, total.new_zeros(()))
