"""Multiple-choice questions to forget and to retain: the items of unlearning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Questions:
    """Multiple-choice questions, each asked with its options in several orders.

    Attributes:
        names: A short name of each question, `[questions]`.
        domain: Domain of each question, `[questions]` index into `domains`.
        domains: Names of the domains (`wmdp-bio`, `high_school_geography` ...).
        forget: Which domains are to be forgotten, `[domains]` bool.
        rows: Token ids of each prompt, BOS included; it ends where the answer belongs.
        question: Question of each prompt, `[prompts]`; every order of the options is a prompt.
        candidates: Token ids that stand for each option at the answer's place, `[prompts, options, forms]`, -1 for
            no further form (`A` and ` A` are two forms; the option counts its likeliest).
        answer: Index of the right option, `[prompts]`.
        held_out: Which questions are for scoring what was chosen on the others, `[questions]` bool.
        style: `letter` or `text`: what is read at the answer's place.
    """

    names: tuple[str, ...]
    domain: np.ndarray
    domains: tuple[str, ...]
    forget: np.ndarray
    rows: tuple[np.ndarray, ...]
    question: np.ndarray
    candidates: np.ndarray
    answer: np.ndarray
    held_out: np.ndarray
    style: str = "letter"
    seed: int = 0
    left_out: tuple[str, ...] = ()
    source: str = ""
