"""What a metric may ask for, by parameter type; the engine fills each from as few passes as it can."""

from __future__ import annotations

from saebench.inputs.activity import Activity
from saebench.inputs.losses import Losses
from saebench.inputs.pooled import PooledCodes
from saebench.inputs.reconstruction import Reconstruction
from saebench.inputs.tokens import TokenInfo
from saebench.inputs.weights import Weights

__all__ = ["Activity", "Losses", "PooledCodes", "Reconstruction", "TokenInfo", "Weights"]
