"""Randomness by name: the same draw for the same names, whatever ran before."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*names: str | int) -> np.random.Generator:
    """A generator that depends on the names alone: seed, dataset, class, purpose."""
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest, "little")))


def uniforms(numbers: np.ndarray, *names: str | int) -> np.ndarray:
    """A number in (0, 1) for each whole number, by its value and the names alone, float64 of the same shape.

    For what is too many for a generator each: windows of a corpus, pairs of a latent and a window. It is the
    finaliser of SplitMix64 (Steele et al. 2014), started from a hash of the names.
    """
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=8).digest()
    step, first, second = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    with np.errstate(over="ignore"):
        mixed = (np.asarray(numbers).astype(np.uint64) + np.uint64(1)) * step + np.uint64(
            int.from_bytes(digest, "little")
        )
        mixed = (mixed ^ (mixed >> np.uint64(30))) * first
        mixed = (mixed ^ (mixed >> np.uint64(27))) * second
    mixed = mixed ^ (mixed >> np.uint64(31))
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
