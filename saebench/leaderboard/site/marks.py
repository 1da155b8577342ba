"""The markers of the figures as outlines for pages."""

from __future__ import annotations

MARKS = {
    "o": "M6 2.2a3.8 3.8 0 1 1 0 7.6a3.8 3.8 0 1 1 0-7.6z",
    "s": "M2.5 2.5h7v7h-7z",
    "^": "M6 1.8L10.2 9.6H1.8z",
    "D": "M6 1.2L10.8 6L6 10.8L1.2 6z",
    "v": "M6 10.2L10.2 2.4H1.8z",
    "p": "M6 1.5L10.4 4.7L8.7 9.8H3.3L1.6 4.7z",
    "<": "M1.8 6L9.6 1.8V10.2z",
    "h": "M6 1.2L10.2 3.6V8.4L6 10.8L1.8 8.4V3.6z",
    ">": "M10.2 6L2.4 1.8V10.2z",
    "*": "M6 .8L7.3 4.5L11.2 4.6L8.1 7L9.2 10.8L6 8.6L2.8 10.8L3.9 7L.8 4.6L4.7 4.5z",
    "d": "M6 1.2L9 6L6 10.8L3 6z",
    "null": "M2.5 2.5l7 7m0-7l-7 7",
    "baseline": "M6 1.5v9M1.5 6h9",
}
"""The markers of the figures as outlines in a box of 12 by 12, by matplotlib's name or by role."""
