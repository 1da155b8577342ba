"""Multiple-choice questions as items of unlearning: prompts in several orders, and the tokens of the answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.data.held_out import held_out, listing, lowest
from saebench.data.questions import Questions
from saebench.data.questions_file import from_disk, from_hub
from saebench.data.questions_prompts import Prompt, question_prompts
from saebench.data.questions_raw import Asked, Question
from saebench.data.tokens import Encoder
from saebench.errors import UserError, unknown

if TYPE_CHECKING:
    from saebench.data.prompt_specs import QuestionSpec
    from saebench.models import Subject

PRESETS = ("saebench", "wmdp-bio")


def read_questions(source: Any, spec: QuestionSpec, model: Subject, *, seed: int, offline: bool = False) -> Questions:
    """Multiple-choice questions to forget and to retain, each in several orders of its options.

    A prompt ends where the answer belongs. By letter, an option stands for the tokens of its letter, with and
    without a space; by text, for the first token of its words, which must differ between the options.

    Args:
        source: `world`, `wmdp-bio` or `saebench`, or a file or folder.
        spec: Domains, limits, orders, style and format.
        model: Its tokenizer, BOS and longest context.
        seed: Of the draws, the orders and the halves.
        offline: Refuse what is not on this machine.

    Raises:
        UserError: Unknown source or domain, an unusable file, letters that the tokenizer splits, nothing to
            forget or nothing to retain.
    """
    encoder = Encoder(model, prepend_bos=spec.prepend_bos)
    asked = _asked(str(source), spec, offline)
    forget = _to_forget(asked, spec, str(source))
    left_out: list[str] = []
    questions = _usable(asked, spec, seed, left_out)
    style = "text" if spec.style == "text" else "letter"
    prompts = question_prompts(questions, asked, spec, encoder, seed, style, left_out)
    return _built(prompts, forget, spec, left_out, seed, style, str(source))


def _asked(source: str, spec: QuestionSpec, offline: bool) -> Asked:
    if source == "world":
        from saebench.data.questions_world import from_world

        return from_world()
    if source in PRESETS:
        return from_hub(spec.header, spec.split, offline)
    return from_disk(Path(source), spec.header, spec.split)


def _to_forget(asked: Asked, spec: QuestionSpec, source: str) -> set[str]:
    known = {question.domain for question in asked.questions}
    for name in (*(spec.domains or ()), *(spec.forget or ())):
        if name not in known:
            raise unknown(f"domain of {source!r}", name, known)
    forget = set(asked.forget if spec.forget is None else spec.forget)
    if not forget:
        raise UserError(f"Nothing in {source!r} is named as to be forgotten: set forget to some of {listing(known)}.")
    return forget


def _usable(asked: Asked, spec: QuestionSpec, seed: int, left_out: list[str]) -> list[Question]:
    """Each question once, in the order of the names, without those that cannot be asked."""
    chosen = {q.name: q for q in asked.questions if spec.domains is None or q.domain in spec.domains}
    repeated = [q for q in chosen.values() if len(set(q.options)) < len(q.options) or not all(q.options)]
    if repeated:
        left_out.append(f"{len(repeated)} questions with two equal options, or an empty one: {_names(repeated)}")
    questions = [q for q in chosen.values() if q not in repeated]
    sizes = Counter(len(q.options) for q in questions)
    size = max(sizes, key=lambda n: (sizes[n], n), default=0)
    odd = [q for q in questions if len(q.options) != size]
    if odd:
        left_out.append(f"{len(odd)} questions with another number of options than {size}: {_names(odd)}")
    domains: dict[str, list[str]] = {}
    for question in questions:
        if len(question.options) == size:
            domains.setdefault(question.domain, []).append(question.name)
    kept: set[str] = set()
    for domain, names in domains.items():
        most = len(names) if spec.questions is None else spec.questions
        kept |= lowest(names, most, seed, "question limit", domain)
    return [chosen[name] for name in sorted(kept)]


def _names(questions: list[Question]) -> str:
    return listing(question.name for question in questions)


def _built(
    prompts: list[Prompt], forget: set[str], spec: QuestionSpec, left_out: list[str], seed: int, style: str,
    source: str,
) -> Questions:  # fmt: skip
    questions = list({p.question.name: p.question for p in prompts}.values())
    domains = sorted({q.domain for q in questions})
    for what, kept in (("forget", forget & set(domains)), ("retain", set(domains) - forget)):
        if not kept:
            why = "; ".join(left_out) or f"the domains are {listing(domains)}"
            raise UserError(f"No question to {what} in {source!r}: {why}.")
    scored: set[str] = set()
    for domain in domains:
        names = [q.name for q in questions if q.domain == domain]
        scored |= held_out(names, spec.held_out_share, seed, "questions", domain)
    number = {q.name: i for i, q in enumerate(questions)}
    forms = max(len(form) for p in prompts for form in p.candidates)
    padded = [[(*form, *[-1] * (forms - len(form))) for form in p.candidates] for p in prompts]
    return Questions(
        names=tuple(number),
        domain=np.array([domains.index(q.domain) for q in questions], dtype=np.int64),
        domains=tuple(domains),
        forget=np.array([domain in forget for domain in domains]),
        rows=tuple(p.row for p in prompts),
        question=np.array([number[p.question.name] for p in prompts], dtype=np.int64),
        candidates=np.array(padded, dtype=np.int64),
        answer=np.array([p.order.index(p.question.answer) for p in prompts], dtype=np.int64),
        held_out=np.array([q.name in scored for q in questions]),
        style=style,
        seed=seed,
        left_out=tuple(left_out),
        source=source,
    )
