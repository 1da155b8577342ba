"""What a run left of single latents beside its rows, taken into the site: judged pages, and a table of all."""

from __future__ import annotations

import html
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

TITLE = re.compile(r"<title>Latents of (.*), seed (\d+)</title>")
"""What such a page says it shows."""


class LatentPage(NamedTuple):
    """Contexts, explanations and predictions of some latents of a SAE.

    Attributes:
        sae: Name of the SAE.
        seed: What they were drawn with.
        file: The page as the run wrote it; the site keeps its name.
    """

    sae: str
    seed: int
    file: Path


def latent_pages(folder: Path | None) -> list[LatentPage]:
    """The pages in `autointerp/` of a run's folder, by SAE and seed; none without a folder."""
    found = []
    for file in sorted((folder / "autointerp").glob("*.html")) if folder else []:
        with file.open(encoding="utf-8") as page:
            if told := TITLE.search(page.read(1000)):
                found.append(LatentPage(html.unescape(told[1]), int(told[2]), file))
    return sorted(found)


class LatentTable(NamedTuple):
    """A line for each latent of a SAE.

    Attributes:
        sae: Name of the SAE.
        page: Name of its page, without ending.
        file: The Parquet file that the run wrote.
    """

    sae: str
    page: str
    file: Path

    def data(self) -> str:
        """Columns and their values to four digits as JSON that may stand in a script."""
        import pandas as pd

        frame = pd.read_parquet(self.file)
        columns = {str(name): _short(frame[name]) for name in frame}
        return json.dumps(columns, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def latent_tables(folder: Path | None) -> list[LatentTable]:
    """The tables in `latents/` of a run's folder; none without a folder. What cannot be read is passed over."""
    import pyarrow.parquet as pq

    found = []
    for file in sorted((folder / "latents").glob("*.parquet")) if folder else []:
        try:
            attributes = json.loads((pq.read_schema(file).metadata or {}).get(b"PANDAS_ATTRS", b"{}"))
        except (OSError, ValueError):
            continue
        if sae := attributes.get("sae"):
            found.append(LatentTable(str(sae), f"{file.stem}-table", file))
    return found


def _short(values: pd.Series) -> list[float | int | None]:
    if values.dtype.kind in "iu":
        return values.tolist()
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]
