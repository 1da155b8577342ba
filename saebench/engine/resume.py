"""The model run on from an edited activation at one token of each prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from saebench.engine.batches import rectangle
from saebench.engine.prompts import Keep, Kept
from saebench.models import Run

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.datasets import Dataset
    from saebench.data.facts import EntityPrompts
    from saebench.models import Subject


class _Start(NamedTuple):
    """Prompts ready to be run on: a run, and the place of each prompt's entity in it."""

    run: Run
    place: Tensor


class EntityResume:
    """What an `EntityModel` runs on with: prompts once through the model, then from the hook and the entity on.

    An edit at the entity moves nothing before it, so where the model remembers (`Subject.remembers`) only the
    entity's last token and what follows are run again. They are kept for all prompts as far as memory allows.

    Args:
        hook: Where edits are put in.
        budget: Tokens in a batch.
    """

    def __init__(self, model: Subject, data: Dataset, hook: str, budget: int) -> None:
        self._model, self._hook, self._budget = model, hook, budget
        self._prompts: EntityPrompts = data.items
        self._late = len(self._prompts.rows) > 0 and model.remembers(hook)
        self._kept: Kept | None = None

    @property
    def _ends(self) -> bool:
        """Whether what follows a label matters: some tokens go on with a word."""
        return not bool(self._prompts.boundary.all())

    @property
    def at_once(self) -> int:
        """Prompts that fit a batch."""
        p = self._prompts
        lengths = np.array([len(row) for row in p.rows] or [1])
        longest = int((lengths - p.position).max() if self._late and len(p.rows) else lengths.max()) + 1
        return max(1, self._budget // longest)

    def first(self, prompt: Tensor, value: Tensor) -> Tensor:
        """Logits of the token after each prompt, `[n, vocabulary]`; differentiable in `value [n, d_out]`."""
        start = self._start(prompt)
        hidden = self._resumed(start, value)
        rows = torch.arange(len(prompt), device=hidden.device)
        return self._model.logits(hidden[rows, start.place + self._tail(prompt, hidden)]).float()

    def completes(self, prompt: Tensor, value: Tensor, label: list[str]) -> Tensor:
        """Whether the greedy continuation is the label, and ends there, `[n]` bool."""
        step = self.at_once
        parts = [slice(i, i + step) for i in range(0, len(prompt), step)]
        with torch.no_grad():
            found = [self._completed(prompt[part], value[part], label[part]) for part in parts]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)

    def right(self) -> Tensor:
        """Which prompts the unedited model completes with the entity's own value, `[prompts]` bool.

        The same forwards bring what the model is run on from later, which is kept where it fits.
        """
        p = self._prompts
        labels = [
            list(p.types[t].attributes.values())[a][e]
            for t, a, e in zip(p.type.tolist(), p.attribute.tolist(), p.entity.tolist(), strict=True)
        ]
        keep = Keep(p) if self._late else None
        found = []
        with torch.no_grad():
            for part in self._parts():
                numbers = part.tolist()
                rows = self._with_labels(numbers, [labels[i] for i in numbers])
                run = self._run(rows)
                assert run.final is not None
                found.append(self._says(run.final, [len(p.rows[i]) for i in numbers], [labels[i] for i in numbers]))
                keep = keep if keep is not None and keep.add(run, numbers) else None
        self._kept = keep.joined() if keep is not None else None
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)

    def _parts(self) -> Iterator[Tensor]:
        longest = max((len(row) for row in self._prompts.rows), default=1) + 8
        return iter(torch.arange(len(self._prompts.rows)).split(max(1, self._budget // longest)))

    def _completed(self, prompt: Tensor, value: Tensor, label: list[str]) -> Tensor:
        """Teacher-forced: every token of the label is the likeliest, and what follows does not go on with the word."""
        longer = self._ends or any(len(self._prompts.labels[name]) > 1 for name in label)
        start = self._fresh(prompt, label) if longer else self._start(prompt)
        hidden = self._resumed(start, value)
        ends = start.place + self._tail(prompt, hidden) + 1
        return self._says(hidden, ends.tolist(), label)

    def _says(self, hidden: Tensor, ends: Sequence[int], label: Sequence[str]) -> Tensor:
        """Whether final states `[n, length, d_model]` state the label behind a prompt of some length, `[n]` bool."""
        p, more = self._prompts, int(self._ends)
        answers = [np.asarray(p.labels[name], dtype=np.int64) for name in label]
        owner = np.repeat(np.arange(len(answers)), [len(a) + more for a in answers])
        place = np.concatenate([np.arange(n - 1, n - 1 + len(a) + more) for n, a in zip(ends, answers, strict=True)])
        hidden = hidden[torch.from_numpy(owner).to(hidden.device), torch.from_numpy(place).to(hidden.device)]
        guess = self._model.logits(hidden).argmax(-1).cpu().numpy()
        wanted = np.concatenate([np.append(a, -1)[: len(a) + more] for a in answers])
        fine = np.where(wanted >= 0, guess == wanted, p.boundary[guess])
        return torch.from_numpy(np.bincount(owner, weights=~fine, minlength=len(answers)) == 0)

    def _with_labels(self, numbers: Sequence[int], label: Sequence[str]) -> list[np.ndarray]:
        """The prompts with what must be read of their labels: all of it only where its end matters."""
        p = self._prompts
        answers = [np.asarray(p.labels[name], dtype=np.int64) for name in label]
        cut = [a if self._ends else a[:-1] for a in answers]
        return [np.concatenate([p.rows[i], a]) for i, a in zip(numbers, cut, strict=True)]

    def _run(self, rows: list[np.ndarray]) -> Run:
        tokens = rectangle(rows).long().to(self._model.device)
        return self._model.remember(tokens, self._hook) if self._late else self._model.forward(tokens, [self._hook])

    def _start(self, prompt: Tensor) -> _Start:
        """The prompts as they were kept, or run anew."""
        if self._kept is None:
            return self._fresh(prompt)
        kept, rows = self._kept, prompt.to(self._kept.beginning.device)
        run = kept.run
        acts, entering = ({k: v[rows] for k, v in part.items()} for part in (run.acts, run.entering))
        started = Run(run.tokens[rows], acts, None, entering, kept.past.rows(kept.beginning[rows]))
        return _Start(started, torch.zeros_like(rows))

    def _fresh(self, prompt: Tensor, label: list[str] | None = None) -> _Start:
        """The prompts, with a label behind each or without, run through the layers below the hook."""
        p, numbers = self._prompts, prompt.tolist()
        rows = [p.rows[i] for i in numbers] if label is None else self._with_labels(numbers, label)
        at = torch.from_numpy(p.position)[prompt.cpu()].to(self._model.device)
        with torch.no_grad():
            if self._late:
                return _Start(self._run(rows).after(at), torch.zeros_like(at))
            tokens = rectangle(rows).long().to(self._model.device)
            return _Start(self._model.forward(tokens, [self._hook], final=False), at)

    def _resumed(self, start: _Start, value: Tensor) -> Tensor:
        """Final states with the activations of the entities replaced."""
        clean = start.run.acts[self._hook]
        rows = torch.arange(len(clean), device=clean.device)
        edited = clean.index_put((rows, start.place), value.to(clean.device, clean.dtype))
        return self._model.resume(start.run, self._hook, edited)

    def _tail(self, prompt: Tensor, like: Tensor) -> Tensor:
        """Tokens between the entity's last and the prompt's last, `[n]`."""
        p = self._prompts
        tail = [len(p.rows[i]) - 1 - int(p.position[i]) for i in prompt.tolist()]
        return torch.tensor(tail, dtype=torch.long, device=like.device)
