"""Sparse autoencoders: the contract, the loaders, the load gate, baselines and nulls."""

from __future__ import annotations

from saebench.saes.coder import Coder
from saebench.saes.codes import Codes
from saebench.saes.formats import Format
from saebench.saes.gate import Measured, check_fits, measure
from saebench.saes.loading import load_sae, resolve
from saebench.saes.protocol import SparseCoder
from saebench.saes.recipes import Recipe

__all__ = [
    "Codes",
    "Coder",
    "Format",
    "Measured",
    "Recipe",
    "SparseCoder",
    "check_fits",
    "load_sae",
    "measure",
    "resolve",
]
