"""Exchange of results with other tools: the reference suite's (SAEBench 0.6.0) files, in and out."""

from __future__ import annotations

from saebench.results.exchange.reading import Imported, import_saebench
from saebench.results.exchange.writing import Exported, export_saebench

__all__ = ["Exported", "Imported", "export_saebench", "import_saebench"]
