"""Codes and reconstruction on rows of uniformly drawn token ids, which mean nothing."""

from __future__ import annotations

from typing import ClassVar

from saebench.inputs.activity import Activity
from saebench.inputs.reconstruction import Reconstruction


class RandomActivity(Activity):
    """A SAE's sparse codes on a batch of random tokens."""

    data: ClassVar[str] = "random_tokens"


class RandomReconstruction(Reconstruction):
    """Target and reconstruction on a batch of random tokens."""

    data: ClassVar[str] = "random_tokens"
