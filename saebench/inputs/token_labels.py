"""What is true of each token, by programmatic labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenLabels:
    """Which labels hold at each valid token: those that the data brings, or what the token's string shows.

    Attributes:
        names: Names of the labels, `family=value`.
        holds: Whether each label holds at each token, `[tokens, labels]` bool.
        total: Tokens of the whole corpus at which each label holds, one a label.
        source: What the labels come from, in words.
    """

    kind: ClassVar[str] = "stream"

    names: tuple[str, ...]
    holds: Tensor
    total: tuple[int, ...]
    source: str
