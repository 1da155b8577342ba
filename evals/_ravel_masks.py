"""Interchange interventions at the entity's token: what is exchanged, and how it is learned with the model frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.inputs import EntityCodes, EntityModel

    from ._ravel_pairs import Pairs

    Edit = Callable[[Tensor, Tensor, Tensor], Tensor]
    """Activations `[n, d_out]` of base prompts, source prompts and the parameters that are learned."""

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


def learn_mask(edit: Edit, size: int, model: EntityModel, pairs: Pairs, *, batch: int, rate: float) -> Tensor:
    """Which latents are to be exchanged, `[size]` bool: those whose logit ends above zero.

    Minimises the cross entropy of the label's first token under strengths sigmoid(logit / T), with Adam and T
    falling from 1 to 0.01; batch after batch of the pairs, once. Gradients go to the logits alone.
    """
    import torch

    logits = torch.zeros(size, device=model.y.device, requires_grad=True)
    steps = -(-len(pairs) // batch)
    cooling = COLDEST ** (1 / max(1, steps - 1))
    _descend(logits, lambda step: torch.sigmoid(logits / cooling**step), edit, model, pairs, batch=batch, rate=rate)
    return logits.detach() > 0


class Subspace:
    """Exchanges what an activation has in a subspace: y_base + (y_source - y_base) Q Q'."""

    def __init__(self, model: EntityModel) -> None:
        self._y = model.y

    def __call__(self, base: Tensor, source: Tensor, strength: Tensor) -> Tensor:
        return self._y[base] + (self._y[source] - self._y[base]) @ strength @ strength.T


def learn_subspace(start: Tensor, model: EntityModel, pairs: Pairs, *, batch: int, rate: float) -> Tensor:
    """An orthonormal basis `[d_out, k]` of the subspace to exchange, learned as the mask is.

    Args:
        start: Where the search begins, `[d_out, k]`; the basis is the Q of its QR decomposition.
    """
    import torch

    free = start.to(model.y.device).requires_grad_()
    _descend(free, lambda _: torch.linalg.qr(free).Q, Subspace(model), model, pairs, batch=batch, rate=rate)
    return torch.linalg.qr(free.detach()).Q


def _descend(
    free: Tensor, parameters: Callable[[int], Tensor], edit: Edit, model: EntityModel, pairs: Pairs,
    *, batch: int, rate: float,
) -> None:  # fmt: skip
    """Adam on `free` over the pairs in their order; the model and the SAE get no gradients."""
    import torch

    optimiser = torch.optim.Adam([free], lr=rate)
    target = torch.tensor([model.prompts.labels[label][0] for label in pairs.label], device=free.device)
    for step, start in enumerate(range(0, len(pairs), batch)):
        part = slice(start, start + batch)
        with torch.enable_grad():
            value = edit(pairs.base[part], pairs.source[part], parameters(step))
            loss = torch.nn.functional.cross_entropy(model.first(pairs.base[part], value), target[part])
            (free.grad,) = torch.autograd.grad(loss, [free])
        optimiser.step()


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
