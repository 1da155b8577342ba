"""Words in prompts, each with the group it belongs to: the items of feature absorption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hierarchy:
    """Words and the groups above them: first letters, continents of countries, fields of professions.

    Attributes:
        name: Such as `first_letter`.
        groups: Names of the groups (`a`, `b`, ...).
        items: Items of this hierarchy, `[n]` int64 indices into `Words.rows`.
        label: Group of each item, `[n]`.
        word: Number of each item's word, `[n]`; several items may show one word in different prompts.
        words: The words by number.
        test: Which items are for scoring, `[n]` bool; all items of a word lie on the same side.
        left_out: A sentence for each group or word that was left out, with the reason.
    """

    name: str
    groups: tuple[str, ...]
    items: np.ndarray
    label: np.ndarray
    word: np.ndarray
    words: tuple[str, ...]
    test: np.ndarray
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """Prompts as token rows, cut after the word that each is about.

    Attributes:
        rows: Token ids of each prompt, BOS included, ending with the last token of the word; in a causal
            model nothing after the word can move its activation.
        hierarchies: What the items are grouped by.
    """

    rows: tuple[np.ndarray, ...]
    hierarchies: tuple[Hierarchy, ...]
    seed: int = 0
    source: str = ""
