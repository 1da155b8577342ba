"""Codes at the word that a prompt is about: the items of feature absorption."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.labelled import Activations
from saebench.inputs.memo import Memo
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.words import Words
    from saebench.saes import Codes


class WordCodes(Memo):
    """Activations and codes at the last token of the word in each prompt, one encode a prompt.

    Attributes:
        words: The prompts' hierarchies, labels and split.
        activations: Activations y at the hook that is reconstructed, under `last`, the same for every SAE.
        codes: Codes at the word, `[prompts, d_sae]`.
        effects: Codes times the token's decoding scale, so that y_hat = effects @ decoder + rest, `[prompts, d_sae]`.
        b_dec: What is decoded when nothing fires, `[d_out]`, or None.
    """

    kind: ClassVar[str] = "items"
    data: ClassVar[str] = "words"

    def __init__(
        self,
        words: Words,
        codes: Codes,
        effects: Codes,
        activations: Activations,
        decoder: Tensor | None,
        b_dec: Tensor | None,
    ) -> None:
        super().__init__()
        self.words = words
        self.codes = codes
        self.effects = effects
        self.activations = activations
        self.b_dec = b_dec
        self._decoder = decoder

    @property
    def y(self) -> Tensor:
        """Activation at the word at the hook that is reconstructed, `[prompts, d_out]`."""
        return self.activations.pooled["last"]

    @property
    def decoder(self) -> Tensor:
        """Decoder rows, `[d_sae, d_out]`.

        Raises:
            NotApplicable: The decoder is not linear.
        """
        if self._decoder is None:
            raise NotApplicable("its decoder is not linear: a latent has no one direction")
        return self._decoder
