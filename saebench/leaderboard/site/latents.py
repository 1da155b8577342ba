"""The pages of single latents that a run left beside its rows, taken into the site."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import NamedTuple

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
