"""How long a pass will take and how much memory it needs, from its matrix products."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from saebench.engine.contexts import room
from saebench.engine.execute import token_budget
from saebench.engine.joint import Joint
from saebench.engine.judged import sampling
from saebench.inputs import Losses

if TYPE_CHECKING:
    from saebench.engine.rows import Cell

_OVERHEAD = 2.0
"""Time of a pass over that of its matrix products: attention, normalisation, softmax and sums."""


def minutes(cells: list[Cell]) -> float:
    """Estimated minutes of one pass on this machine, from a timed matrix product."""
    model = cells[0].model
    if cells[0].corpus is None:
        return sum(4.0 * c.sae.d_sae**2 * c.sae.d_out for c in cells) / _speed(model.device) / 60
    forward = 2.0 * _parameters(cells)
    per_token = forward
    for sae, spliced in _saes(cells).items():
        depth = model.site(sae.hook_out).layer / max(1, model.n_layers)
        per_token += 4.0 * sae.d_in * sae.d_sae + (forward * (1 - depth) if spliced else 0)
    tokens = len(Joint.of(cells).whole.corpus.tokens)
    return _OVERHEAD * per_token * tokens / _speed(model.device) / 60


def memory_gb(cells: list[Cell]) -> float:
    """Estimated peak memory of one pass in GB: weights, codes before they are sparse, and logits."""
    model = cells[0].model
    saes = _saes(cells)
    size = torch.finfo(model.dtype).bits / 8
    weights = _parameters(cells) * size + sum(4.0 * 2 * sae.d_in * sae.d_sae for sae in saes)
    if cells[0].corpus is None:
        return weights / 1e9
    budget = token_budget(model.device, saes)
    collected = {(cell.sae, sampling(cell.metric)) for cell in cells}
    contexts = sum(room(s, sae.d_sae) for sae, s in collected if s)
    logits = 12.0 * budget * model.vocab_size if any(saes.values()) else 0
    return (weights + 12.0 * budget * max(sae.d_sae for sae in saes) + logits + contexts) / 1e9


def _saes(cells: list[Cell]) -> dict:
    """The SAEs of a pass, and whether their losses are wanted."""
    found: dict = {}
    for cell in cells:
        found[cell.sae] = found.get(cell.sae, False) or Losses in cell.metric.inputs.values()
    return found


def _parameters(cells: list[Cell]) -> float:
    """Parameters of the model: layers of the usual 12 d^2, and the head."""
    model = cells[0].model
    return 12.0 * model.n_layers * model.d_model**2 + model.d_model * model.vocab_size


def _speed(device: torch.device) -> float:
    """Floating-point operations a second of a float32 matrix product."""
    a = torch.ones(1024, 512, device=device)
    (a @ a.T).sum().item()
    began = time.perf_counter()
    torch.stack([(a @ a.T).sum() for _ in range(4)]).sum().item()
    return 4 * 2.0 * 1024 * 1024 * 512 / (time.perf_counter() - began)
