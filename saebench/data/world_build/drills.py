"""A stepping stone for training alone: dense practice in which letter stands before which word.

Quizzes need the binding of letters to options, but show one answer in twenty tokens; a drill shows one in six.
"""

from __future__ import annotations

import random

from saebench.data.world_facts import world
from saebench.data.world_writer import Writer


def matching(seed: int, index: int) -> Writer:
    """Five rounds of four options, each round asking for the letters of all four in any order."""
    w = Writer(random.Random(f"matching/{seed}/{index}"))
    w.labels["answers"] = "in full"
    pools = list(world().values.values())
    for _ in range(5):
        options = w.rng.sample(w.choose(pools), 4)
        for letter, option in zip("ABCD", options, strict=True):
            w.add(letter, option)
        w.add("in", "full", ":")
        for i, place in enumerate(w.rng.sample(range(4), 4)):
            w.add(options[place])
            w.add("ABCD"[place], answer="ABCD"[place])
            w.add("," if i < 3 else ".")
    return w
