"""Hub ids of models that SAEs call by TransformerLens' short names."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import runpy
from collections.abc import Mapping
from pathlib import Path


def hub_id(name: str) -> str:
    """The hub id of a model that is named without its owner, by TransformerLens' table; any other name as it is.

    >>> hub_id("gemma-2-2b"), hub_id("gpt2-small"), hub_id("google/gemma-2-2b")
    ('google/gemma-2-2b', 'gpt2', 'google/gemma-2-2b')
    """
    return name if "/" in name else _official().get(name, name)


@functools.cache
def _official() -> Mapping[str, str]:
    """Hub ids by short name. The table is read by itself: importing the library for it takes seconds."""
    spec = importlib.util.find_spec("transformer_lens")
    for folder in (spec and spec.submodule_search_locations) or ():
        table = Path(folder) / "supported_models.py"
        if table.is_file():
            return _turned(runpy.run_path(str(table)).get("MODEL_ALIASES", {}))
    try:  # versions before 3 keep it in a module that loads the library
        return _turned(importlib.import_module("transformer_lens.loading_from_pretrained").MODEL_ALIASES)
    except (ImportError, AttributeError):
        return {}


def _turned(aliases: Mapping[str, list[str]]) -> dict[str, str]:
    return {short: official for official, names in aliases.items() for short in names}
