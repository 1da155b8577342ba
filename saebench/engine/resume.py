"""The model run on from an edited activation at one token of each prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from saebench.engine.batches import rectangle
from saebench.models import Run

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.datasets import Dataset
    from saebench.data.facts import EntityPrompts
    from saebench.models import Subject

CACHE_BYTES = 2**30
"""Most memory for activations at the hook that are kept between calls."""


class EntityResume:
    """What an `EntityModel` runs on with: prompts once through the layers below the hook, then from it.

    Activations at the hook are kept for prompts that are edited again and again (fitting a mask), as far as
    they fit into memory.

    Args:
        hook: Where edits are put in.
        budget: Tokens in a batch.
    """

    def __init__(self, model: Subject, data: Dataset, hook: str, budget: int) -> None:
        self._model, self._hook, self._budget = model, hook, budget
        self._prompts: EntityPrompts = data.items
        self._kept: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._room = CACHE_BYTES

    def first(self, prompt: Tensor, value: Tensor) -> Tensor:
        """Logits of the token after each prompt, `[n, vocabulary]`; differentiable in `value [n, d_out]`."""
        rows = [self._prompts.rows[i] for i in prompt.tolist()]
        run = self._run(prompt, rows)
        hidden = self._model.resume(run, self._hook, self._edited(run, prompt, value))
        last = torch.tensor([len(row) - 1 for row in rows], device=hidden.device)
        return self._model.logits(hidden[torch.arange(len(rows), device=hidden.device), last]).float()

    def completes(self, prompt: Tensor, value: Tensor, label: list[str]) -> Tensor:
        """Whether the greedy continuation is the label, and ends there, `[n]` bool."""
        with torch.no_grad():
            found = [self._continues(prompt[part], value[part], label[part]) for part in self._parts(prompt)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)

    def right(self) -> Tensor:
        """Which prompts the unedited model completes with the entity's own value, `[prompts]` bool."""
        p = self._prompts
        labels = [
            list(p.types[t].attributes.values())[a][e]
            for t, a, e in zip(p.type.tolist(), p.attribute.tolist(), p.entity.tolist(), strict=True)
        ]
        prompt = torch.arange(len(p.rows))
        with torch.no_grad():
            found = [self._continues(prompt[part], None, labels[part]) for part in self._parts(prompt)]
        return torch.cat(found)

    def _parts(self, prompt: Tensor) -> Iterator[slice]:
        longest = max((len(row) for row in self._prompts.rows), default=1) + 8
        step = max(1, self._budget // longest)
        return (slice(i, i + step) for i in range(0, len(prompt), step))

    def _continues(self, prompt: Tensor, value: Tensor | None, label: list[str]) -> Tensor:
        """Teacher-forced: every token of the label is the likeliest, and what follows does not go on with the word."""
        p = self._prompts
        answers = [np.asarray(p.labels[name], dtype=np.int64) for name in label]
        prompts = [p.rows[i] for i in prompt.tolist()]
        rows = [np.concatenate([row, answer]) for row, answer in zip(prompts, answers, strict=True)]
        tokens = rectangle(rows).long().to(self._model.device)
        run = self._model.forward(tokens, [self._hook], final=value is None)
        if value is None:
            assert run.final is not None
            hidden = run.final
        else:
            hidden = self._model.resume(run, self._hook, self._edited(run, prompt, value))
        owner = np.repeat(np.arange(len(rows)), [len(a) + 1 for a in answers])
        place = np.concatenate([np.arange(len(r) - 1, len(r) + len(a)) for r, a in zip(prompts, answers, strict=True)])
        hidden = hidden[torch.from_numpy(owner).to(hidden.device), torch.from_numpy(place).to(hidden.device)]
        guess = self._model.logits(hidden).argmax(-1).cpu().numpy()
        wanted = np.concatenate([np.append(a, -1) for a in answers])
        fine = np.where(wanted >= 0, guess == wanted, p.boundary[guess])
        return torch.from_numpy(np.bincount(owner, weights=~fine, minlength=len(rows)) == 0)

    def _edited(self, run: Run, prompt: Tensor, value: Tensor) -> Tensor:
        """The activations of a run with those of the entities replaced."""
        clean = run.acts[self._hook]
        rows = torch.arange(len(prompt), device=clean.device)
        position = torch.from_numpy(self._prompts.position)[prompt.cpu()].to(clean.device)
        return clean.index_put((rows, position), value.to(clean.device, clean.dtype))

    def _run(self, prompt: Tensor, rows: list[np.ndarray]) -> Run:
        """A run of prompts that was kept at the hook, made anew where it is not in memory."""
        numbers = prompt.tolist()
        missing = [i for i in dict.fromkeys(numbers) if i not in self._kept]
        tokens = rectangle(rows).long().to(self._model.device)
        if missing and not self._keep(missing):
            with torch.no_grad():
                return self._model.forward(tokens, [self._hook], final=False)
        acts, entering = zip(*(self._kept[i] for i in numbers), strict=True)
        started = {} if entering[0] is None else {self._hook: _stacked([e for e in entering if e is not None])}
        return Run(tokens, {self._hook: _stacked(acts)}, None, started)

    def _keep(self, missing: list[int]) -> bool:
        """Run prompts and keep their activations; False when there is no room for them."""
        width = self._model.site(self._hook).width
        rows = [self._prompts.rows[i] for i in missing]
        need = 8 * sum(map(len, rows)) * width
        if need > self._room:
            return False
        self._room -= need
        with torch.no_grad():
            run = self._model.forward(rectangle(rows).long(), [self._hook], final=False)
        entering = run.entering.get(self._hook)
        for place, (number, row) in enumerate(zip(missing, rows, strict=True)):
            n = len(row)
            start = None if entering is None else entering[place, :n].clone()
            self._kept[number] = (run.acts[self._hook][place, :n].clone(), start)
        return True


def _stacked(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
