"""Measures the shipped model and SAEs on held-out text, and writes the figures beside the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, GPTNeoXForCausalLM

from saebench.data import world
from saebench.data.world_build.corpus import IDS, Rows, pack
from saebench.data.world_build.lm import monitor, read_off, scored, token_losses


def _next_logits(model: GPTNeoXForCausalLM, prompts: list[str], batch: int = 128) -> torch.Tensor:
    """Logits of the token after each prompt: [prompts, vocabulary]."""
    tokenizer = AutoTokenizer.from_pretrained(str(world.MODEL_DIR))
    parts = []
    for i in range(0, len(prompts), batch):
        ids = tokenizer(prompts[i : i + batch], padding=True, return_tensors="pt")
        last = ids["attention_mask"].sum(1) - 1
        with torch.no_grad():
            hidden = model.gpt_neox(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state
            parts.append(read_off(model, hidden[torch.arange(len(last)), last]))
    return torch.cat(parts)


def _share(right: list[bool]) -> dict[str, float]:
    p = float(np.mean(right))
    return {"value": p, "stderr": (p * (1 - p) / len(right)) ** 0.5, "n": len(right)}


def quiz_accuracy(model: GPTNeoXForCausalLM, questions: list[world.Quiz]) -> dict[str, Any]:
    """Accuracy on single questions: by the likeliest of four letters, and by the option's word after a cue."""
    letters = [IDS[x] for x in "ABCD"]
    by_letter = _next_logits(model, [q.prompt for q in questions])[:, letters].argmax(1)
    right = ["ABCD"[int(i)] == q.letter for i, q in zip(by_letter, questions, strict=True)]
    cues = [q.prompt.removesuffix("answer :") + "in full :" for q in questions]
    logits = _next_logits(model, cues)
    by_word = [
        q.options[int(row[[IDS[o] for o in q.options]].argmax())] == q.answer
        for q, row in zip(questions, logits, strict=True)
    ]
    domains = sorted({q.domain for q in questions})
    return {
        "by_letter": _share(right),
        "by_letter_per_domain": {
            d: _share([r for r, q in zip(right, questions, strict=True) if q.domain == d]) for d in domains
        },
        "by_option_text": _share(by_word),
        "chance": 0.25,
    }


def attribute_accuracy(model: GPTNeoXForCausalLM) -> dict[str, Any]:
    """Accuracy on every attribute of every entity, first choice of the whole vocabulary."""
    facts = [(e, r) for e in world.entities() for r in e.attributes]
    guesses = _next_logits(model, [world.attribute_prompt(e, r) for e, r in facts]).argmax(1)
    right = [int(g) == IDS[e.attributes[r]] for g, (e, r) in zip(guesses, facts, strict=True)]
    kinds = sorted({e.type for e, _ in facts})
    per_type = {t: _share([x for x, (e, _) in zip(right, facts, strict=True) if e.type == t]) for t in kinds}
    return {**_share(right), "per_type": per_type}


def spelling_accuracy(model: GPTNeoXForCausalLM, words: list[str]) -> dict[str, float]:
    """Accuracy on first letters, one word a prompt, first choice of the whole vocabulary."""
    guesses = _next_logits(model, [f"{w} has the first letter :" for w in words]).argmax(1)
    return _share([int(g) == IDS[w[0].upper()] for g, w in zip(guesses, words, strict=True)])


def accept_model(model: GPTNeoXForCausalLM, documents: int = 3000) -> dict[str, Any]:
    """All figures of the model on held-out documents and on every fact and word."""
    rows = pack(world.HELD_OUT_SEED, 0, documents)
    return {
        "parameters": model.num_parameters(),
        "vocabulary": len(world.vocabulary()),
        "documents": documents,
        "teacher_forced": monitor(model, rows),
        "loss_gap_stderr": gap_stderr(model, rows),
        "quizzes": quiz_accuracy(model, world.quizzes()),
        "attributes": attribute_accuracy(model),
        "first_letters": spelling_accuracy(model, list(world.spelling_words())),
        "thresholds": {"gap": 0.1, "quizzes": 0.9, "attributes": 0.95, "first_letters": 0.95},
    }


@torch.no_grad()
def gap_stderr(model: GPTNeoXForCausalLM, rows: Rows, batch: int = 32) -> float:
    """Standard error of the gap to the generator's surprisal, rows being the units."""
    sums, counts = [], []
    for i in range(0, len(rows.ids), batch):
        part = rows.take(slice(i, i + batch))
        valid = scored(part).numpy()
        gap = (token_losses(model, part)[0].numpy() - part.nll[:, 1:]) * valid
        sums.append(gap.sum(1))
        counts.append(valid.sum(1))
    s, c = np.concatenate(sums), np.concatenate(counts)
    ratio = s.sum() / c.sum()
    return float(np.sqrt(((s - ratio * c) ** 2).sum()) / c.sum())
