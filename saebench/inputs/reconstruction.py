"""Target and reconstruction on a batch's valid tokens, with the sums that metrics share."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Reconstruction:
    """What a SAE was to reproduce at its output hook, and what it made of it.

    Attributes:
        x: Activation at `hook_in`, `[tokens, d_in]`.
        y: Target at `hook_out`, `[tokens, d_out]`; the same as x for a SAE.
        y_hat: The full forward of the SAE, `[tokens, d_out]`.

    Shared sums for `Sums(shared=...)`: `tokens` (count), `variance` (sum of squared distances of y from
    its mean over the corpus) and `power` (sum of squared norms of y).
    """

    kind: ClassVar[str] = "stream"

    def __init__(self, x: Tensor, y: Tensor, y_hat: Tensor) -> None:
        self.x = x
        self.y = y
        self.y_hat = y_hat

    @cached_property
    def error(self) -> Tensor:
        """y - y_hat, `[tokens, d_out]`."""
        return self.y - self.y_hat

    @cached_property
    def squared_error(self) -> Tensor:
        """Squared norm of the error, `[tokens]`."""
        return self.error.square().sum(-1)

    @cached_property
    def power(self) -> Tensor:
        """Squared norm of the target, `[tokens]`."""
        return self.y.square().sum(-1)

    @cached_property
    def power_hat(self) -> Tensor:
        """Squared norm of the reconstruction, `[tokens]`."""
        return self.y_hat.square().sum(-1)

    @cached_property
    def product(self) -> Tensor:
        """Inner product of target and reconstruction, `[tokens]`."""
        return (self.y * self.y_hat).sum(-1)
