"""Codes pooled over documents while they stream by, kept sparse."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.inputs import PooledCodes

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.saes import Codes


class Pool:
    """Sum of the codes of each (document, latent) that was seen to fire."""

    def __init__(self) -> None:
        self.keys = np.zeros(0, dtype=np.int64)
        self.sums = np.zeros(0)

    def adder(self, codes: Codes, document: Tensor) -> Callable[[], None]:
        """A function that adds a batch of codes; `document` names the document of each token."""
        keys = (document[codes.tokens] * codes.width + codes.latents).cpu()
        values = codes.values.double().cpu()

        def add() -> None:
            joined = np.concatenate([self.keys, keys.numpy()])
            self.keys, place = np.unique(joined, return_inverse=True)
            self.sums = np.bincount(place, weights=np.concatenate([self.sums, values.numpy()]))

        return add

    def pooled(self, corpus: Corpus, width: int) -> PooledCodes:
        """The mean code of each document over its valid tokens."""
        from saebench.saes import Codes

        documents = int(corpus.documents[-1]) + 1
        owner = np.repeat(corpus.documents, corpus.lengths)[corpus.valid]
        tokens = np.bincount(owner, minlength=documents)
        document, latent = np.divmod(self.keys, width)
        offsets = np.searchsorted(document, np.arange(documents + 1))
        names = sorted(set(corpus.domains))
        return PooledCodes(
            codes=Codes(
                offsets=torch.from_numpy(offsets),
                latents=torch.from_numpy(latent),
                values=torch.from_numpy(self.sums / tokens[document]).float(),
                width=width,
            ),
            domain=torch.tensor([names.index(name) for name in corpus.domains], dtype=torch.long),
            domains=tuple(names),
        )
