"""The features that activations are really made of, where they are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.memo import Memo
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from saebench.matching import Match
    from saebench.saes import SparseCoder

UNKNOWN = "the true features are not known: score on a known dictionary, such as --model synthetic:flat?d=64&n=256"


class TrueDictionary(Memo):
    """A SAE's decoder beside the true dictionary.

    Attributes:
        directions: Unit rows, one a true feature, `[n, d]` float32.
        parent: The feature without which each one never fires, -1 for none, `[n]`.
        partner: The feature that each one is correlated with, -1 for none, `[n]`.
    """

    kind: ClassVar[str] = "weights"

    def __init__(self, sae: SparseCoder, directions: np.ndarray, parent: np.ndarray, partner: np.ndarray) -> None:
        super().__init__()
        self._sae = sae
        self.directions, self.parent, self.partner = directions, parent, partner

    @cached_property
    def match(self) -> Match:
        """The best one-to-one matching of true features (A) with decoder rows (B), by absolute cosine.

        Raises:
            NotApplicable: The decoder is not linear.
        """
        import torch

        from saebench.matching import match

        if self._sae.W_dec is None:
            raise NotApplicable(f"the decoder of the {self._sae.architecture} SAE is not linear")
        return match(torch.from_numpy(self.directions), self._sae.W_dec.detach().float().cpu())

    @cached_property
    def decoder(self) -> np.ndarray:
        """Unit decoder rows, `[d_sae, d]` float64; zero rows stay zero."""
        import numpy as np

        assert self.match is not None and self._sae.W_dec is not None
        rows = self._sae.W_dec.detach().double().cpu().numpy()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-30)

    def mixture(self, feature: np.ndarray, latent: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Share of a second feature in a latent's decoder row beside a first, `[pairs]`, 0 to 1.

        |c_2| / (|c_1| + |c_2|) of the least-squares fit d_i = c_1 f_1 + c_2 f_2, so that the cosine of the two
        features counts for nothing.
        """
        import numpy as np

        rows = self.decoder[latent]
        first, second = self.directions[feature].astype(np.float64), self.directions[other].astype(np.float64)
        cosine = (first * second).sum(1)
        a, b = (rows * first).sum(1), (rows * second).sum(1)
        below = np.maximum(1 - cosine**2, 1e-12)
        one, two = np.abs(a - cosine * b) / below, np.abs(b - cosine * a) / below
        return two / np.maximum(one + two, 1e-30)


@dataclass(frozen=True)
class TrueFeatures:
    """Which true features fire on a batch of tokens.

    Attributes:
        holds: `[tokens, n]` bool.
        dictionary: The features, beside the SAE's decoder.
    """

    kind: ClassVar[str] = "stream"

    holds: Tensor
    dictionary: TrueDictionary
