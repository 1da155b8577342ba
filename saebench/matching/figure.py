"""The histogram of matched cosines beside what chance gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.matching.result import Match

_BINS = 50


def draw(match: Match, path: str | os.PathLike[str]) -> None:
    """Draw the histogram of a match's cosines with the band of random dictionaries; the suffix names the format.

    Raises:
        UserError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    low = -1.0 if match.signed and match.matched.min() < 0 else 0.0
    axes.hist(match.matched, bins=np.linspace(low, 1, _BINS + 1).tolist(), color="#4c72b0")
    chance = match.chance
    axes.axvspan(chance.low, chance.high, color="#999999", alpha=0.35, label="random dictionaries, 95 % of pairs")
    axes.axvline(match.value, color="#c44e52", label=f"mean {match.value:.3f} (null {chance.value:.3f})")
    axes.set(xlabel=f"{'' if match.signed else 'absolute '}cosine of matched latents, {match.side}", ylabel="latents")
    axes.set_title(f"{match.names[0]} and {match.names[1]}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"Cannot write {os.fspath(path)!r}: {error.strerror or error}.") from error
