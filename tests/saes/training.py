"""Training of small SAEs in a second: sums of three of 24 directions in 16 dimensions, and what objectives share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tests.saes.checkpoints import draw

D, F, K, STEPS, BATCH = 16, 32, 4, 180, 256
TRUE = functional.normalize(torch.randn(24, D, generator=torch.Generator().manual_seed(0)), dim=1)

Held = dict[str, Tensor]
Forward = Callable[[Held, Tensor], Tensor]


def draws(seed: int, n: int = BATCH) -> Tensor:
    """Activations `[n, D]`: three true directions each, with strengths |N(0, 1)| + 0.5, and a mean."""
    generator = torch.Generator().manual_seed(1000 + seed)
    chosen = torch.rand(n, len(TRUE), generator=generator).topk(3, dim=1).indices
    strength = torch.randn(n, 3, generator=generator).abs() + 0.5
    return torch.zeros(n, len(TRUE)).scatter(1, chosen, strength) @ TRUE + 0.3


def fit(held: Held, loss: Callable[[Held, Tensor, int], Tensor], steps: int = STEPS) -> Held:
    """The tensors after some Adam steps."""
    held = {name: one.clone().requires_grad_(True) for name, one in held.items()}
    optimiser = torch.optim.Adam(held.values(), lr=1e-2)
    for step in range(steps):
        optimiser.zero_grad()
        loss(held, draws(step), step).backward()
        optimiser.step()
    return {name: one.detach() for name, one in held.items()}


def start(seed: int = 0) -> Held:
    rows = functional.normalize(draw(F, D, seed=seed + 40), dim=1)
    return {"W_enc": rows.T.clone(), "b_enc": torch.zeros(F), "W_dec": rows, "b_dec": torch.zeros(D)}


def pre(p: Held, x: Tensor) -> Tensor:
    return (x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]


def largest(z: Tensor, k: int = K) -> Tensor:
    """The k largest of each row; all others zero."""
    return z * (z >= z.topk(k, dim=-1).values[..., -1:])


def topk(p: Held, x: Tensor) -> Tensor:
    return largest(pre(p, x).relu())


def relu(p: Held, x: Tensor) -> Tensor:
    return pre(p, x).relu()


def linear(p: Held, f: Tensor) -> Tensor:
    return f @ p["W_dec"] + p["b_dec"]


def squared(y: Tensor, x: Tensor) -> Tensor:
    return (y - x).square().sum(-1).mean()


def plain_loss(codes: Forward) -> Callable[[Held, Tensor, int], Tensor]:
    return lambda p, x, _: squared(linear(p, codes(p, x)), x)


def explained(y: Tensor, x: Tensor) -> float:
    return float(1 - (y - x).square().sum() / (x - x.mean(0)).square().sum())
