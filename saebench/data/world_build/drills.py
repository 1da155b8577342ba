"""Stepping stones for training alone: dense practice in what a quiz asks for all at once.

Quizzes need the binding of letters to options, but show one answer in twenty tokens and ask for a fact besides.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from saebench.data.world_facts import world
from saebench.data.world_writer import Writer, ask, draw_options


def matching(seed: int, index: int) -> Writer:
    """Which letter stands before a word of the drill's own text: in full and then by letter, or by letter alone."""
    w = Writer(random.Random(f"matching/{seed}/{index}"))
    in_full = w.rng.random() < 0.5
    w.labels["answers"] = "in full" if in_full else "letter"
    pools = list(world().values.values())
    for _ in range(5 if in_full else 7):
        options = w.rng.sample(w.choose(pools), 4)
        asked = [int(w.rng.random() * 4) for _ in range(4 if in_full else 1)]
        if not in_full:
            w.add("what", "is", options[asked[0]], "?")
        for letter, option in zip("ABCD", options, strict=True):
            w.add(letter, option)
        w.add(*(("in", "full", ":") if in_full else ("answer", ":")))
        for i, place in enumerate(asked):
            if in_full:
                w.add(options[place])
            w.add("ABCD"[place], answer="ABCD"[place])
            w.add("," if i + 1 < len(asked) else ".")
    return w


def either(seed: int, index: int) -> Writer:
    """Questions of quizzes, answered by the option or by its letter as it happens.

    So the fact and the letter are looked for at one and the same word, and the way to the one serves the other.
    """
    w = Writer(random.Random(f"either/{seed}/{index}"))
    w.labels["answers"] = "letter"
    everything = world().all_entities
    for _ in range(5):
        entity = everything[int(w.rng.random() * len(everything))]
        relation = tuple(entity.attributes)[int(w.rng.random() * len(entity.attributes))]
        options, place = draw_options(w, entity, relation)
        ask(w, entity, relation, options)
        answer = options[place] if w.rng.random() < 0.5 else "ABCD"[place]
        w.add("answer", ":")
        w.add(answer, answer="ABCD"[place], sought=options[place])
        w.add(".")
    return w


DRILLS: dict[str, Callable[[int, int], Writer]] = {"matching": matching, "either": either}
"""Drills by the name that a recipe gives them a share under."""
