"""Several dictionaries as one: their latents one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from saebench.saes.codes import Codes


def side_by_side(parts: Sequence[Codes]) -> Codes:
    """Codes of several dictionaries on the same tokens as those of one, `[n, sum of widths]`, without contexts."""
    *starts, width = accumulate((part.width for part in parts), initial=0)
    order = torch.cat([part.tokens for part in parts]).argsort(stable=True)
    latents = torch.cat([part.latents + start for part, start in zip(parts, starts, strict=True)])
    offsets = torch.stack([part.offsets for part in parts]).sum(0)
    return Codes(offsets, latents[order], torch.cat([part.values for part in parts])[order], width)


def split(codes: Codes, widths: Sequence[int]) -> list[Codes]:
    """The codes of each of several dictionaries that `side_by_side` joined, without contexts."""
    found = []
    for start, width in zip(accumulate(widths, initial=0), widths, strict=False):
        part = codes.keep((codes.latents >= start) & (codes.latents < start + width))
        found.append(Codes(part.offsets, part.latents - start, part.values, width))
    return found
