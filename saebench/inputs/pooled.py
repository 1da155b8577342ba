"""Codes pooled over each document: the items of document-level metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.saes import Codes


@dataclass(frozen=True)
class PooledCodes:
    """Mean code of each document over its valid tokens, sparse, from the same encode as everything else.

    Attributes:
        codes: Mean-pooled codes, `[documents, d_sae]`.
        domain: Index of each document's domain in `domains`, `[documents]`.
        domains: Names of the domains; empty where the data has none.
    """

    kind: ClassVar[str] = "items"

    codes: Codes
    domain: Tensor
    domains: tuple[str, ...]
