"""`saebench doctor`: is everything here that a run needs?"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import warnings
from collections.abc import Iterator
from typing import NamedTuple

_PACKAGES = ("torch", "transformers", "transformer-lens", "sae-lens", "safetensors", "pandas", "matplotlib")


class Check(NamedTuple):
    """One thing looked at."""

    name: str
    fine: bool
    finding: str


def examine() -> Iterator[Check]:
    """Look at python, packages, devices, plug-ins and the world, one after the other."""
    yield Check("python", sys.version_info >= (3, 10), platform.python_version())
    for package in _PACKAGES:
        yield _package(package)
    yield _device()
    yield from _plugins()
    yield _world()


def _package(name: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed: pip install {name}")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", True, f"cuda, {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return Check("device", True, "mps")
    return Check("device", True, f"cpu, {torch.get_num_threads()} threads (no GPU was found)")


def _plugins() -> Iterator[Check]:
    from saebench import registry
    from saebench.errors import PluginWarning
    from saebench.saes.formats import formats

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PluginWarning)
        count, kinds = len(registry.metrics()), len(formats())
    yield Check("metrics", count > 0, f"{count} found")
    yield Check("formats", kinds > 0, f"{kinds} formats of SAEs")
    for warning in caught:
        yield Check("plug-in", False, str(warning.message))


def _world() -> Check:
    from saebench.data.world import MODEL_DIR, sae_names

    missing = [
        name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (MODEL_DIR / name).exists()
    ]
    if missing:
        return Check("world", False, f"{', '.join(missing)} missing in {MODEL_DIR}: install saebench again")
    return Check("world", True, f"language model and {len(sae_names())} SAEs")
