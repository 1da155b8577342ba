"""How figures look: colours and markers of architectures, sizes, and settings that make files reproducible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's colours for every kind of colour vision; a darker tone stands for their yellow."""

MARKERS = ("o", "s", "^", "D", "v", "p", "<", "h", ">", "*", "d")
GREY = "#7A7A7A"
REFERENCE_MARKERS = {"null": "x", "baseline": "+"}
FRONT_LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))

KNOWN = ("standard", "topk", "batchtopk", "jumprelu", "gated", "matryoshka_batchtopk", "transcoder")
"""Architectures with a look of their own, so that it is the same on every board."""


@dataclass(frozen=True)
class Format:
    """A size of figure.

    Attributes:
        suffix: What its file names end with.
        width: Width in inches.
        height: Height in inches.
        legend: Place of the legend, outside the axes.
        columns: Columns of the legend.
        label_size: Size of the names beside the points, in points.
        letters: Most letters on one line of a label of y.
    """

    suffix: str
    width: float
    height: float
    legend: str
    columns: int
    label_size: float
    letters: int


FORMATS = (
    Format("", 6.9, 3.7, "outside right upper", 1, 6.0, 56),
    Format("-column", 3.4, 3.5, "outside lower center", 3, 5.5, 36),
)

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "saebench",
    "path.simplify": False,
    "text.usetex": False,
}

METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""No dates and no versions, so that a rebuild changes nothing."""


def darker(colour: str) -> str:
    """The colour as text needs it to be read on white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{int(part * 0.68):02X}" for part in parts)


def looks(architectures: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker for each architecture: fixed for the known ones, in order for the others."""
    names = sorted(set(architectures))
    order = [*KNOWN, *(name for name in names if name not in KNOWN)]
    place = {name: i for i, name in enumerate(order)}
    return {name: (PALETTE[place[name] % len(PALETTE)], MARKERS[place[name] % len(MARKERS)]) for name in names}
