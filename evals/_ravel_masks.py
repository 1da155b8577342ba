"""Interchange interventions at the entity's token: what is exchanged, and how it is learned with the model frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.inputs import EntityCodes, EntityModel

    from ._ravel_pairs import Pairs

    Edit = Callable[[Tensor, Tensor, Tensor], Tensor]
    """Activations `[n, d_out]` of base prompts, source prompts and the parameters that are learned."""


class Job(NamedTuple):
    """Something to learn: what is exchanged, on which pairs, and where the search begins."""

    edit: Edit
    pairs: Pairs
    free: Tensor


COLDEST = 0.01
"""Last temperature of the mask; the first is 1."""
SCORED_AT_ONCE = 512


class Latents:
    """Exchanges the activations of some latents: decode((1 - m) f_base + m f_source), m a strength a latent.

    What the SAE does not reconstruct of the base is added where `keep_error`. Other latents keep the base's
    activation, so that a linear decoder needs the rows of these latents only.
    """

    def __init__(self, e: EntityCodes, latents: Tensor, keep_error: bool) -> None:
        self._e, self._latents, self._keep_error = e, latents, keep_error
        self._rows = e.sae.W_dec[latents].detach().float() if e.sae.linear_decoder and e.sae.W_dec is not None else None

    def __call__(self, base: Tensor, source: Tensor, strength: Tensor) -> Tensor:
        e = self._e
        mine, theirs = e.codes[base], e.codes[source]
        moved = (theirs.columns(self._latents) - mine.columns(self._latents)).float() * strength
        if self._rows is not None:
            shift = moved @ self._rows
            shift = shift * mine.ctx["scale"].float() if e.sae.normalised else shift
            return (e.model.y if self._keep_error else e.y_hat)[base] + shift
        codes = mine.dense()
        changed = e.decode(codes.index_add(1, self._latents, moved.to(codes.dtype)), base).float()
        return changed + (e.model.y[base] - e.y_hat[base]) if self._keep_error else changed


def firing(e: EntityCodes, pairs: Pairs) -> Tensor:
    """Latents that fire at an entity of some pair; exchanging any other changes nothing there."""
    import torch

    return e.codes[torch.cat([pairs.base, pairs.source]).unique()].latents.unique()


def learn_masks(jobs: Sequence[Job], model: EntityModel, *, batch: int, rate: float) -> list[Tensor]:
    """Which latents are to be exchanged for each job, bool: those whose logit ends above zero.

    Minimises the cross entropy of the label's first token under strengths sigmoid(logit / T), with Adam and T
    falling from 1 to 0.01; batch after batch of the pairs, once. Gradients go to the logits alone. Jobs do not
    touch each other; they are learned side by side so that the model runs on their pairs in one batch.
    """
    import torch

    def strength(logits: Tensor, done: float) -> Tensor:
        return torch.sigmoid(logits / COLDEST**done)

    logits = _descend([job.free for job in jobs], strength, jobs, model, batch=batch, rate=rate)
    return [free > 0 for free in logits]


class Subspace:
    """Exchanges what an activation has in a subspace: y_base + (y_source - y_base) Q Q'."""

    def __init__(self, model: EntityModel) -> None:
        self._y = model.y

    def __call__(self, base: Tensor, source: Tensor, strength: Tensor) -> Tensor:
        return self._y[base] + (self._y[source] - self._y[base]) @ strength @ strength.T


def learn_subspaces(jobs: Sequence[Job], model: EntityModel, *, batch: int, rate: float) -> list[Tensor]:
    """For each job an orthonormal basis `[d_out, k]` of the subspace to exchange, learned as masks are.

    The basis is the Q of the QR decomposition of what is learned, which begins at the job's `[d_out, k]`.
    """
    import torch

    def basis(free: Tensor, _: float) -> Tensor:
        return torch.linalg.qr(free).Q

    return [
        basis(free, 1.0) for free in _descend([job.free for job in jobs], basis, jobs, model, batch=batch, rate=rate)
    ]


def _descend(
    free: Sequence[Tensor], parameters: Callable[[Tensor, float], Tensor], jobs: Sequence[Job], model: EntityModel,
    *, batch: int, rate: float,
) -> list[Tensor]:  # fmt: skip
    """Adam on each job's parameters over its pairs in their order; the model and the SAE get no gradients."""
    import torch

    free = [x.detach().clone().to(model.y.device).requires_grad_() for x in free]
    optimiser = torch.optim.Adam(free, lr=rate)
    first = [[model.prompts.labels[label][0] for label in job.pairs.label] for job in jobs]
    target = [torch.tensor(labels, device=model.y.device) for labels in first]
    steps = -(-max(len(job.pairs) for job in jobs) // batch)
    for step in range(steps):
        part = slice(step * batch, (step + 1) * batch)
        for group in _groups(len(jobs), max(1, model.at_once // batch)):
            mine = [(jobs[i].pairs, jobs[i].edit, target[i][part], free[i]) for i in group]
            base = torch.cat([pairs.base[part] for pairs, *_ in mine])
            with torch.enable_grad():
                values = [
                    edit(pairs.base[part], pairs.source[part], parameters(x, step / max(1, steps - 1)))
                    for pairs, edit, _, x in mine
                ]
                logits = model.first(base, torch.cat(values)).split([len(value) for value in values])
                losses = [torch.nn.functional.cross_entropy(*y) for y in zip(logits, [m[2] for m in mine], strict=True)]
                grads = torch.autograd.grad(torch.stack(losses).sum(), [m[3] for m in mine])
            for i, grad in zip(group, grads, strict=True):
                free[i].grad = grad
        optimiser.step()
    return [x.detach() for x in free]


def _groups(n: int, size: int) -> list[range]:
    return [range(start, min(start + size, n)) for start in range(0, n, size)]


def score(edit: Edit, parameters: Tensor, model: EntityModel, pairs: Pairs) -> Tensor:
    """Which pairs the edited model completes with their label, `[pairs]` bool."""
    import torch

    found = []
    with torch.no_grad():
        for start in range(0, len(pairs), SCORED_AT_ONCE):
            part = slice(start, start + SCORED_AT_ONCE)
            value = edit(pairs.base[part], pairs.source[part], parameters)
            found.append(model.completes(pairs.base[part], value, list(pairs.label[part])).cpu())
    return torch.cat(found)
