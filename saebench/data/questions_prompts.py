"""Questions as tokens: the prompt up to the answer, and what stands for each option there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from saebench.data.held_out import listing
from saebench.data.questions_raw import LETTERS, Asked, Question, orders
from saebench.data.tokens import Encoder
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.prompt_specs import QuestionSpec


class Prompt(NamedTuple):
    """A question in one order of its options, with the token ids that stand for each."""

    question: Question
    order: tuple[int, ...]
    text: str
    row: np.ndarray
    candidates: tuple[tuple[int, ...], ...]


def question_prompts(
    questions: list[Question], asked: Asked, spec: QuestionSpec, encoder: Encoder, seed: int, style: str,
    left_out: list[str],
) -> list[Prompt]:  # fmt: skip
    """Every question in its orders; what was left out is said in `left_out`."""
    pairs = [(question, order) for question in questions for order in orders(question, spec.orders, seed)]
    ending = asked.phrases.letter if style == "letter" else asked.phrases.text
    texts = [_text(asked.phrases.asked(question, order), ending, spec, encoder) for question, order in pairs]
    rows = encoder.rows(texts)
    candidates = _by_letter(pairs, encoder) if style == "letter" else _by_text(pairs, texts, encoder)
    long = {q.name for (q, _), row in zip(pairs, rows, strict=True) if len(row) > encoder.room}
    same = {q.name for (q, _), found in zip(pairs, candidates, strict=True) if found is None} - long
    if long:
        left_out.append(
            f"{len(long)} questions longer than the {encoder.room} tokens of the model's context: {listing(long)}"
        )
    if same:
        left_out.append(f"{len(same)} questions whose options do not begin with different tokens: {listing(same)}")
    return [
        Prompt(question, order, text, row, found)
        for (question, order), text, row, found in zip(pairs, texts, rows, candidates, strict=True)
        if found is not None and question.name not in long | same
    ]


def _text(asked: str, ending: str, spec: QuestionSpec, encoder: Encoder) -> str:
    """The prompt up to the answer; in chat format the model has begun to answer."""
    if spec.format == "plain":
        return asked + ending
    if not getattr(encoder.tokenizer, "chat_template", None):
        raise UserError(
            f"format: chat, but the tokenizer of {encoder.model.name!r} has no chat template: use format: plain, "
            "or the instruction-tuned model's tokenizer."
        )
    messages = [{"role": "user", "content": asked}]
    opened = encoder.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return opened + ("Answer: (" if spec.style != "text" else "Answer:")


def _by_letter(
    pairs: list[tuple[Question, tuple[int, ...]]], encoder: Encoder
) -> list[tuple[tuple[int, ...], ...] | None]:
    size = len(pairs[0][1]) if pairs else 0
    forms = tuple(letter_forms(letter, encoder) for letter in LETTERS[:size])
    return [forms] * len(pairs)


def letter_forms(letter: str, encoder: Encoder) -> tuple[int, ...]:
    """Ids of a letter, with and without a space in front."""
    named = [encoder.vocabulary.get(mark + letter) for mark in ("", "Ġ", "▁", " ")]
    coded = [ids[0] for ids in encoder.ids([letter, f" {letter}"]) if len(ids) == 1]
    found = {i for i in (*named, *coded) if i is not None and i != encoder.unknown}
    if not found:
        raise UserError(
            f"The tokenizer of {encoder.model.name!r} has no token for the letter {letter!r}, which stands for an "
            "option: use style: text."
        )
    return tuple(sorted(found))


def _by_text(
    pairs: list[tuple[Question, tuple[int, ...]]], texts: list[str], encoder: Encoder
) -> list[tuple[tuple[int, ...], ...] | None]:
    flat = [(text, q.options[i]) for (q, order), text in zip(pairs, texts, strict=True) for i in order]
    ids = iter(encoder.continuations([text for text, _ in flat], [option for _, option in flat]))
    found: list[tuple[tuple[int, ...], ...] | None] = []
    for _, order in pairs:
        first = [(one[0],) for one in (next(ids) for _ in order) if one is not None]
        found.append(tuple(first) if len(set(first)) == len(order) else None)
    return found
