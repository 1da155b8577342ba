"""The world's quizzes, with its domain to forget."""

from __future__ import annotations

from saebench.data import world
from saebench.data.questions_raw import Asked, Phrases, Question

PHRASES = Phrases(header="", option=" {letter} {option}", letter=" answer :", text=" in full :")


def from_world() -> Asked:
    """One question on every fact of the world, with options that are the same whatever the seed."""
    made = []
    for quiz in world.quizzes():
        asked = quiz.prompt.partition(" A ")[0]
        made.append(Question(quiz.domain, asked, quiz.options, quiz.options.index(quiz.answer)))
    return Asked(tuple(made), PHRASES, (world.FORGET_DOMAIN,))
