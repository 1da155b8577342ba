"""Next-token losses of the model with the SAE's reconstruction in place of the activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """Losses at each valid token whose next token is valid too; the other rows are zero.

    Attributes:
        predicts: 1 where the token predicts a valid token, else 0, `[tokens]`.
        ce: Cross-entropy of the next token with the SAE spliced in, nats, `[tokens]`.
        kl: KL(clean || SAE) of the next-token distribution, nats, `[tokens]`.
        agrees: 1 where the likeliest next token is the clean model's, `[tokens]`.

    Shared sums for `Sums(shared=...)`: `predictions` (count), `ce_clean`, `ce_zero`, `ce_mean` (clean,
    zero- and mean-ablated at the output hook on the same tokens) and `kl_zero`.
    """

    kind: ClassVar[str] = "stream"

    predicts: Tensor
    ce: Tensor
    kl: Tensor
    agrees: Tensor
