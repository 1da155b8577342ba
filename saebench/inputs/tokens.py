"""What is known of each scored token besides its activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenInfo:
    """Token id, place, frequency and domain of each valid token of a batch.

    Attributes:
        ids: Token ids, `[tokens]`.
        position: Place in the row, BOS at 0, `[tokens]`.
        frequency: Share of the corpus' valid tokens that are this token, `[tokens]`.
        domain: Index of the document's domain in `domains`, `[tokens]`.
        domains: Names of the domains; empty where the data has none.
    """

    kind: ClassVar[str] = "stream"

    ids: Tensor
    position: Tensor
    frequency: Tensor
    domain: Tensor
    domains: tuple[str, ...]
