"""Answers to multiple-choice questions, clean and with latents clamped, from one encode of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from saebench.engine.accumulate import out_of_memory
from saebench.engine.batches import Batch, Batcher
from saebench.engine.encoding import encoded
from saebench.engine.pooling import Density
from saebench.inputs import QuestionRuns

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.data.datasets import Dataset
    from saebench.data.questions import Questions
    from saebench.models import Run, Subject
    from saebench.saes import Codes, SparseCoder


def question_runs(
    sae: SparseCoder, model: Subject, data: Dataset, found: dict[str, Density | str], clean: Tensor, budget: int
) -> QuestionRuns:
    """The questions for one SAE, with its densities on what is to be forgotten and retained.

    Raises:
        ValueError: It failed on one of those texts.
    """
    failed = [part for part in found.values() if isinstance(part, str)]
    if failed:
        raise ValueError(failed[0])
    densities = {name: part for name, part in found.items() if isinstance(part, Density)}
    share = {name: torch.from_numpy(part.fires / max(1, part.tokens)) for name, part in densities.items()}
    top = [torch.from_numpy(part.maximum) for part in densities.values()]
    runner = ClampedAnswers(model, data, sae, budget)
    return QuestionRuns(data.items, share["forget"], share["retain"], torch.maximum(*top), clean, runner)


def density(model: Subject, corpus: Corpus, saes: Sequence[SparseCoder], budget: int) -> list[Density | str]:
    """How often each SAE's latents fire on a text, or why it failed there, from one pass of the model."""
    found: list[Density | str] = [Density(sae.d_sae) for sae in saes]
    hooks = sorted({sae.hook_in for sae in saes})
    with torch.no_grad():
        for batch in Batcher(corpus, model.device).all(budget):
            run = model.forward(batch.tokens, hooks, final=False)
            for number, sae in enumerate(saes):
                part = found[number]
                if isinstance(part, str):
                    continue
                try:
                    part.adder(encoded(sae, run.acts[sae.hook_in], batch.valid), batch)()
                except (RuntimeError, ValueError, TypeError) as error:
                    if out_of_memory(error):
                        raise
                    found[number] = f"the SAE failed on {corpus.name!r}: {type(error).__name__}: {error}"
    return found


def clean_answers(model: Subject, data: Dataset, budget: int) -> Tensor:
    """Logits of the options without an intervention, `[prompts, options]` float32; run once for a dataset."""
    if "clean answers" in data.memo:
        return data.memo["clean answers"]
    logits = torch.zeros(data.items.candidates.shape[:2])
    with torch.no_grad():
        for batch in Batcher(data.corpus, model.device).all(budget):
            run = model.forward(batch.tokens)
            assert run.final is not None
            logits[batch.rows] = _options(model, run.final, batch, data.items)
    data.memo["clean answers"] = logits
    return logits


class ClampedAnswers:
    """Runs the prompts once to the hook, encodes them once, and runs on from there for each setting."""

    def __init__(self, model: Subject, data: Dataset, sae: SparseCoder, budget: int) -> None:
        self._model, self._data, self._sae, self._budget = model, data, sae, budget

    def __call__(self, settings: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Logits of the options under each setting, `[settings, prompts, options]` float32."""
        sae, model, questions = self._sae, self._model, self._data.items
        logits = torch.zeros(len(settings), *questions.candidates.shape[:2])
        hooks = list(dict.fromkeys((sae.hook_in, sae.hook_out)))
        with torch.no_grad():
            for batch in Batcher(self._data.corpus, model.device).all(self._budget):
                run = model.forward(batch.tokens, hooks, final=False)
                codes = encoded(sae, run.acts[sae.hook_in], batch.valid)
                whole = None if sae.linear_decoder else sae.decode(codes)
                for place, (latents, values) in enumerate(settings):
                    edited = self._edited(run, batch, codes, whole, latents, values)
                    final = model.resume(run, sae.hook_out, edited)
                    logits[place, batch.rows] = _options(model, final, batch, questions)
        return logits

    def _edited(
        self, run: Run, batch: Batch, codes: Codes, whole: Tensor | None, latents: Tensor, values: Tensor
    ) -> Tensor:
        """The activation with some latents set to values on the tokens where they fire; the error is kept."""
        sae = self._sae
        target = torch.full((sae.d_sae,), torch.nan, dtype=codes.values.dtype, device=codes.values.device)
        target[latents.to(target.device)] = values.to(target)
        wanted = target[codes.latents]
        touched = ~wanted.isnan()
        clean = run.acts[sae.hook_out]
        if whole is None:
            moved = codes.with_values(torch.where(touched, wanted - codes.values, torch.zeros_like(wanted)))
            shift = moved @ _rows(sae)
            shift = shift * codes.ctx["scale"] if sae.normalised else shift
        else:
            shift = sae.decode(codes.with_values(torch.where(touched, wanted, codes.values))) - whole
        edited = clean.clone()
        edited[batch.valid] += shift.to(clean.dtype)
        return edited


def _rows(sae: SparseCoder) -> Tensor:
    assert sae.W_dec is not None
    return sae.W_dec


def _options(model: Subject, final: Tensor, batch: Batch, questions: Questions) -> Tensor:
    """The likeliest form of each option at the end of each row, `[rows, options]` float32 on the CPU."""
    ends = torch.tensor([len(questions.rows[row]) - 1 for row in batch.rows], device=final.device)
    rows = torch.arange(len(ends), device=final.device)
    logits = model.logits(final[rows, ends]).float().cpu()
    candidates = torch.from_numpy(questions.candidates[batch.rows])
    flat = logits.gather(1, candidates.clamp_min(0).flatten(1)).view(candidates.shape)
    return flat.masked_fill(candidates < 0, -torch.inf).amax(-1)


def above_chance(model: Subject, data: Dataset, budget: int) -> bool:
    """Whether the model answers more questions right than guessing would, by three standard errors."""
    questions = data.items
    logits = clean_answers(model, data, budget)
    right = logits.argmax(1) == torch.from_numpy(questions.answer)
    options = torch.isfinite(logits).sum(1)
    share = torch.zeros(len(questions.names), dtype=torch.float64)
    share.index_add_(0, torch.from_numpy(questions.question), right.double() - 1 / options.double())
    asked = torch.bincount(torch.from_numpy(questions.question), minlength=len(share)).clamp_min(1)
    gain = share / asked
    return bool(gain.mean() > 3 * gain.std() / len(gain) ** 0.5) if len(gain) > 1 else bool(gain.sum() > 0)
