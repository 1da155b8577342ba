"""What is known of a SAE's error before it is seen: linear predictions fitted to other text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ErrorModel:
    """Predictions of the error e = y - y_hat and of its norm, fitted by least squares to text that is not scored.

    Attributes:
        linear: A x + b, the prediction of e from the activation x, `[tokens, d_out]`.
        constant: Mean of e on the text that was fitted to, `[d_out]`.
        norm: a . x + c, the prediction of |e|, `[tokens]`.
        norm_constant: Mean of |e| on the text that was fitted to.
        decile: Which tenth of the fitted text's squared errors the token's error falls in, 0 the smallest, `[tokens]`.
    """

    kind: ClassVar[str] = "stream"

    linear: Tensor
    constant: Tensor
    norm: Tensor
    norm_constant: float
    decile: Tensor
