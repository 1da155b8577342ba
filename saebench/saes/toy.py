"""Small SAEs trained on a known dictionary, all seeds side by side: subjects for metrics, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from saebench.data.draws import generator
from saebench.errors import unknown
from saebench.saes.architectures import ReLU, TopK
from saebench.saes.coder import Coder

if TYPE_CHECKING:
    from saebench.data.synthetic import Synthetic

POOL = 50_000
"""Draws that are trained on, as in the published model organism."""


@dataclass(frozen=True)
class Training:
    """How toy SAEs are trained.

    Attributes:
        architecture: `topk`, or `relu` with a penalty on |f| |d|.
        latents: Of the SAE; as many as true features if 0.
        k: Latents kept on each draw.
        l1: Weight of the penalty.
        steps: Adam steps; the rate falls to zero over the last fifth.
        batch: Draws in a step.
        rate: Learning rate.
    """

    architecture: Literal["topk", "relu"] = "topk"
    latents: int = 0
    k: int = 3
    l1: float = 0.1
    steps: int = 600
    batch: int = 256
    rate: float = 1e-2


@dataclass
class _Weights:
    """Of all seeds: encoders `[seeds, d, F]`, decoders `[seeds, F, d]`, biases `[seeds, 1, F]` and `[seeds, 1, d]`."""

    enc: Tensor
    dec: Tensor
    b_enc: Tensor
    b_dec: Tensor

    @property
    def all(self) -> list[Tensor]:
        return [self.enc, self.dec, self.b_enc, self.b_dec]


def train(
    truth: Synthetic, training: Training | None = None, *, seeds: Sequence[int] = (0, 1, 2), at: Sequence[int] = ()
) -> dict[int, list[Coder]]:
    """Train one SAE for each seed; a seed has its own start and its own order of the draws.

    Args:
        truth: A known dictionary.
        training: Architecture and sizes.
        seeds: Of the SAEs.
        at: Steps after which the SAEs are wanted; after the last one if empty.

    Returns:
        The SAEs of all seeds, by step.

    Raises:
        UserError: An architecture that cannot be trained here.
    """
    t = training or Training()
    if t.architecture not in ("topk", "relu"):
        raise unknown("architecture of a toy SAE", t.architecture, ("topk", "relu"))
    wanted = sorted(set(at) or {t.steps})
    pool = torch.from_numpy(truth.draw(np.arange(min(POOL, truth.recipe.samples))).activations)
    orders = [generator("toy", seed, "order").integers(len(pool), size=(t.steps, t.batch)) for seed in seeds]
    weights = _start(truth, t, seeds)
    optimiser = torch.optim.Adam(weights.all, lr=t.rate)
    made = {0: _coders(weights, t, seeds)} if 0 in wanted else {}
    for step in range(max(wanted)):
        for group in optimiser.param_groups:
            group["lr"] = t.rate * min(1.0, 5 * (1 - step / t.steps))
        _step(weights, optimiser, torch.stack([pool[order[step]] for order in orders]), t)
        if step + 1 in wanted:
            made[step + 1] = _coders(weights, t, seeds)
    return made


def _start(truth: Synthetic, t: Training, seeds: Sequence[int]) -> _Weights:
    """Random unit decoder rows, the encoder their transpose."""
    shape = (t.latents or truth.recipe.n, truth.recipe.d)
    rows = np.stack([generator("toy", seed, "start").standard_normal(shape) for seed in seeds])
    dec = torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=-1)
    zeros = torch.zeros(len(seeds), 1, shape[0]), torch.zeros(len(seeds), 1, shape[1])
    weights = _Weights(dec.mT.clone(), dec, *zeros)
    for tensor in weights.all:
        tensor.requires_grad_(True)
    return weights


def _step(w: _Weights, optimiser: torch.optim.Optimizer, x: Tensor, t: Training) -> None:
    """One step on `x [seeds, batch, d]`; decoder rows keep unit norm."""
    codes = torch.relu((x - w.b_dec) @ w.enc + w.b_enc)
    if t.architecture == "topk":
        codes = codes * (codes >= codes.topk(t.k, dim=-1).values[..., -1:])
    loss = (codes @ w.dec + w.b_dec - x).square().sum(-1).mean(1).sum()
    if t.architecture == "relu":
        loss = loss + t.l1 * codes.sum(-1).mean(1).sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    with torch.no_grad():
        w.dec.div_(w.dec.norm(dim=-1, keepdim=True).clamp_min(1e-8))


def _coders(w: _Weights, t: Training, seeds: Sequence[int]) -> list[Coder]:
    kinds = {"topk": TopK, "relu": ReLU}
    more = {"k": t.k} if t.architecture == "topk" else {}
    enc, dec, b_enc, b_dec = (tensor.detach().clone() for tensor in w.all)
    return [
        kinds[t.architecture](
            W_enc=enc[i], W_dec=dec[i], b_enc=b_enc[i, 0], b_dec=b_dec[i, 0], centred=True,
            architecture=t.architecture, name=f"{t.architecture}-seed{seed}", ref=f"toy:{t.architecture}-{seed}",
            hook_in="activations", hook_out="activations", metadata={"seed": seed}, **more,
        )
        for i, seed in enumerate(seeds)
    ]  # fmt: skip
