"""The subject model: tokens to activations at a hook, to logits, and on from a changed activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saebench.models.loading import load_model
    from saebench.models.run import Run
    from saebench.models.sites import Site
    from saebench.models.subject import Subject

__all__ = ["Run", "Site", "Subject", "load_model"]

_HOMES = {"load_model": "loading", "Site": "sites", "Run": "run", "Subject": "subject"}


def __getattr__(name: str) -> Any:
    """Public names, imported when first used, so that importing this package imports no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
