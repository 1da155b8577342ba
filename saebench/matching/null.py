"""What chance scores: random dictionaries of the same shapes, matched by the same code, kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from saebench.matching.dictionary import Dictionary, dictionary, joined
from saebench.matching.matched import matched

VERSION = 1
LATENTS, MOST_DRAWS = 4096, 32
"""Pairs of dictionaries are drawn until so many latents are matched, at most so many pairs."""


@dataclass(frozen=True)
class Null:
    """The score of random dictionaries of one shape.

    Attributes:
        value: Mean matched similarity over all draws.
        stderr: Its standard error.
        low, middle, high: 2.5 %, 50 % and 97.5 % quantile of a matched pair's similarity.
        draws: Pairs of dictionaries drawn.
    """

    value: float
    stderr: float
    low: float
    middle: float
    high: float
    draws: int


def null_of(
    widths: tuple[int, ...], sizes: tuple[int, int], *, signed: bool, device: torch.device | str = "cpu"
) -> Null:
    """The null of a shape, from disk or drawn now.

    Args:
        widths: Dimensions of each part of a latent: one for a decoder or encoder, two for both.
        sizes: Latents of the two dictionaries, in any order.
        signed: Similarity is the cosine; else its absolute value.
        device: Where products are taken; the directions are the same on any.
    """
    small, large = sorted(sizes)
    name = f"match-null-v{VERSION}-{'+'.join(map(str, widths))}-{small}x{large}-{'signed' if signed else 'absolute'}"
    file = cache_folder() / f"{name}.json"
    kept = _read(file)
    if kept is None:
        kept = _drawn(name, widths, (small, large), signed=signed, device=device)
        _write(file, kept)
    return kept


def cache_folder() -> Path:
    """Where nulls are kept: `SAEBENCH_CACHE`, else `saebench` in the user's cache folder."""
    given = os.environ.get("SAEBENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "saebench"


def _drawn(
    name: str, widths: tuple[int, ...], sizes: tuple[int, int], *, signed: bool, device: torch.device | str
) -> Null:
    draws = min(MOST_DRAWS, math.ceil(LATENTS / sizes[0]))
    values, pairs = [], []
    for draw in range(draws):
        a, b = (_random(f"{name}/{draw}/{side}", size, widths, device) for side, size in enumerate(sizes))
        found = matched(a, b, signed=signed)
        values.append(found.value)
        pairs.append(found.cosine)
    pooled = np.concatenate(pairs)
    low, middle, high = (float(q) for q in np.quantile(pooled, [0.025, 0.5, 0.975]))
    stderr = float(pooled.std() / math.sqrt(len(pooled)))
    return Null(float(np.mean(values)), stderr, low, middle, high, draws)


def _random(key: str, size: int, widths: tuple[int, ...], device: torch.device | str) -> Dictionary:
    """Directions drawn evenly from the sphere, by a generator of their own."""
    digest = hashlib.sha256(key.encode()).digest()[:8]
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return joined([dictionary(torch.randn(size, d, generator=generator).to(device), "the null") for d in widths])


def _read(file: Path) -> Null | None:
    try:
        return Null(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, null: Null) -> None:
    """Write to a temporary name and rename; a folder that cannot be written only costs the next run time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False, encoding="utf-8") as out:
            json.dump(asdict(null), out)
        Path(out.name).replace(file)
