"""Unlearning in slow loops, and questions made by hand whose answers hang on known latents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from saebench.data.questions import Questions
from saebench.inputs import QuestionRuns

OPTIONS, ORDERS, LATENTS = 4, 3, 40
DOMAINS = ("toxins", "history", "geography")
Answer = Callable[[Tensor, Tensor], Tensor]
"""Logits `[prompts, options]` under latents and the values they are set to."""


def toy_questions(each: int = 30, seed: int = 0) -> Questions:
    """Questions of three domains, the first to be forgotten, each in three orders; prompts are shuffled."""
    rng = np.random.default_rng(seed)
    size = each * len(DOMAINS)
    question = rng.permutation(np.repeat(np.arange(size), ORDERS))
    return Questions(
        names=tuple(f"q{i}" for i in range(size)),
        domain=np.arange(size) % len(DOMAINS),
        domains=DOMAINS,
        forget=np.array([True, False, False]),
        rows=tuple(np.array([1, 2]) for _ in question),
        question=question,
        candidates=np.zeros((len(question), OPTIONS, 1), dtype=np.int64),
        answer=rng.integers(0, OPTIONS, len(question)),
        held_out=np.arange(size) // len(DOMAINS) % 2 == 1,
    )


def certain(questions: Questions, wrong: np.ndarray | None = None) -> Tensor:
    """Logits that answer every prompt right, but for those that are `wrong`."""
    answer = np.where(False if wrong is None else wrong, (questions.answer + 1) % OPTIONS, questions.answer)
    return torch.eye(OPTIONS)[torch.from_numpy(answer)]


def toy_runs(
    questions: Questions, answer: Answer, *, forget: Tensor | None = None, retain: Tensor | None = None,
    clean: Tensor | None = None, seed: int = 0,
) -> QuestionRuns:  # fmt: skip
    """Runs with random densities of LATENTS latents where none are given."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.rand(LATENTS, generator=generator, dtype=torch.float64) * 0.1
    few = torch.rand(LATENTS, generator=generator, dtype=torch.float64) * 0.02
    few[::7], some[3] = 0, 0
    return QuestionRuns(
        questions,
        some if forget is None else forget,
        few if retain is None else retain,
        1 + torch.rand(LATENTS, generator=generator),
        certain(questions) if clean is None else clean,
        lambda settings: torch.stack([answer(*setting) for setting in settings]),
    )


def noisy(questions: Questions, damage: float = 0.02) -> Answer:
    """Each setting flips some answers, drawn from its own latents and values, and more of those to forget."""

    def answer(latents: Tensor, values: Tensor) -> Tensor:
        seed = int(latents.sum() * 1000 + values.abs().sum() * 10) % 2**31
        rng = np.random.default_rng(seed)
        forget = questions.forget[questions.domain][questions.question]
        return certain(questions, rng.random(len(questions.question)) < np.where(forget, 0.5, damage * rng.random()))

    return answer


def by_hand(q: QuestionRuns, settings: list[tuple[float, int, float]], least: float, *, relative: bool) -> dict:
    """Every number of unlearning, question by question.

    Args:
        settings: Retain threshold, n and m.
        relative: m counts in units of each latent's maximum.
    """
    data = q.questions
    known = [i for i in range(len(data.names)) if _share(data, q.clean, i) == 1]
    curves = []
    for threshold, n, m in settings:
        able = [i for i in range(len(q.forget)) if q.retain[i] < threshold and q.forget[i] > 0]
        latents = sorted(able, key=lambda i: (-float(q.forget[i]), i))[:n]
        values = [-m * (float(q.maximum[i]) if relative else 1) for i in latents]
        logits = q.clamped([(torch.tensor(latents), torch.tensor(values))])[0] if latents else q.clean
        curves.append({i: _share(data, logits, i) for i in known})
    halves = [[i for i in known if data.held_out[i] == half] for half in (False, True)]
    best = _best(data, curves, halves[0], least)
    return {
        "forget": [_mean(data, curve, known, True) for curve in curves],
        "retain": [_mean(data, curve, known, False) for curve in curves],
        "score": 1 - _forgotten(data, curves, known, _best(data, curves, known, least)),
        "held_out": 1 - _forgotten(data, curves, halves[1], best),
        "held_out_retain": 1.0 if best is None else _mean(data, curves[best], halves[1], False),
        "side": {
            name: np.mean([1 - curve[i] for curve in curves for i in known if data.domain[i] == d])
            for d, name in enumerate(data.domains)
            if not data.forget[d]
        },
    }


def _share(data: Questions, logits: Tensor, question: int) -> float:
    prompts = [p for p in range(len(data.question)) if data.question[p] == question]
    return sum(int(logits[p].argmax()) == data.answer[p] for p in prompts) / len(prompts)


def _mean(data: Questions, curve: dict[int, float], questions: list[int], forget: bool) -> float:
    return float(np.mean([curve[i] for i in questions if data.forget[data.domain[i]] == forget]))


def _best(data: Questions, curves: list[dict[int, float]], questions: list[int], least: float) -> int | None:
    able = [j for j, curve in enumerate(curves) if _mean(data, curve, questions, False) >= least]
    return min(able, key=lambda j: _mean(data, curves[j], questions, True), default=None)


def _forgotten(data: Questions, curves: list[dict[int, float]], questions: list[int], setting: int | None) -> float:
    return 1.0 if setting is None else _mean(data, curves[setting], questions, True)
