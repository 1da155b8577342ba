"""Pooled codes of labelled texts: the items of sparse probing, TPP and SCR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.memo import Memo
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.labelled import LabelledTexts
    from saebench.saes import Codes


class Activations(Memo):
    """What the model itself says of the texts, the same for every SAE at a hook.

    Attributes:
        pooled: Activations by pooling (`mean`, `max`, `last`), each `[texts, d]` float32.
    """

    def __init__(self, pooled: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.pooled = dict(pooled)


class LabelledCodes(Memo):
    """Codes of labelled texts pooled over each text's valid tokens, each text encoded once.

    A metric that takes it has a keyword setting `pooling`: `mean`, `max` or `last` (the last valid token).

    Attributes:
        texts: The texts' tasks and splits.
        activations: Pooled activations at the hook that is encoded.
    """

    kind: ClassVar[str] = "items"
    data: ClassVar[str] = "probing"

    def __init__(self, texts: LabelledTexts, codes: Mapping[str, Codes], activations: Activations) -> None:
        super().__init__()
        self.texts = texts
        self.activations = activations
        self._codes = dict(codes)

    def codes(self, pooling: str) -> Codes:
        """Pooled codes, `[texts, d_sae]`."""
        return self._codes[pooling]

    def x(self, pooling: str) -> Tensor:
        """Pooled activations at the hook that is encoded, `[texts, d_in]`."""
        return self.activations.pooled[pooling]


class LastTokenCodes(LabelledCodes):
    """Codes of the last valid token of the texts of the sae-probes protocol; its metrics' `pooling` is `last`."""

    data: ClassVar[str] = "last_token"


class LabelledEffects(Memo):
    """What each latent adds to the mean activation of each text: the items of TPP and SCR.

    The mean of y over a text's valid tokens moves by `- effects[text, i] * decoder[i]` when latent i is
    ablated, exactly, as long as decoding is linear.

    Attributes:
        texts: The texts' tasks, pairs and splits.
        effects: Mean over valid tokens of the code times the token's decoding scale, `[texts, d_sae]`.
        activations: Mean of y at the hook that is reconstructed, under `mean`.
        linear: Whether decoding is linear, so that the closed form holds.
    """

    kind: ClassVar[str] = "items"
    data: ClassVar[str] = "probing"

    def __init__(
        self,
        texts: LabelledTexts,
        effects: Codes,
        activations: Activations,
        decoder: Tensor | None,
        ablate: Callable[[list[Tensor]], Tensor],
    ) -> None:
        super().__init__()
        self.texts = texts
        self.effects = effects
        self.activations = activations
        self.linear = decoder is not None
        self._decoder = decoder
        self._ablate = ablate

    @property
    def y(self) -> Tensor:
        """Mean activation of each text at the hook that is reconstructed, `[texts, d_out]`."""
        return self.activations.pooled["mean"]

    @property
    def decoder(self) -> Tensor:
        """Decoder rows, `[d_sae, d_out]`.

        Raises:
            NotApplicable: The decoder is not linear; `shifts` works all the same.
        """
        if self._decoder is None:
            raise NotApplicable("its decoder is not linear: a latent has no one direction")
        return self._decoder

    def shifts(self, sets: list[Tensor]) -> Tensor:
        """By how much the mean of y moves when each set of latents is ablated, `[sets, texts, d_out]`.

        The slow path: the texts are run and encoded again, and decoded once for each set.
        """
        return self._ablate(sets)
