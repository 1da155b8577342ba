"""A stored table of values: if a value moves for the same input, the metric's version must move too.

python -m tests.evals.reference_values --write
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import saebench as sb
from tests.helpers.toys import ToySAE, tiny_llama, token_rows

FILE = Path(__file__).with_suffix(".json")


def computed() -> dict[str, float]:
    """Values of every metric of the core suite on a fixed toy, by `metric@version[slice]`."""
    rows = sb.evaluate(ToySAE(seed=11), "core", model=tiny_llama(), data={"text": token_rows(24, 9, seed=11)}).rows
    return {
        f"{row.metric}@{row.version}" + (f"[{row.slice}]" if row.slice else ""): row.value
        for row in rows
        if row.role == "sae" and row.value is not None
    }


def stored() -> dict[str, float]:
    """The table on disk."""
    return json.loads(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__" and "--write" in sys.argv:
    FILE.write_text(json.dumps(computed(), indent=1) + "\n", encoding="utf-8")
