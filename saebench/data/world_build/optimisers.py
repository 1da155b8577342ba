"""How the world's model is moved: Muon for most matrices of the blocks, Adam for all else."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

    from saebench.data.world_build.lm import Recipe


def _orthogonalised(g: Tensor) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrix, batched (Muon, Jordan et al. 2024)."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = g.shape[-2] <= g.shape[-1]
    x = x if wide else x.mT
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


class Muon:
    """Momentum with orthogonalised updates, for the matrices inside the blocks; grouped by shape."""

    def __init__(self, parameters: Iterable[Tensor], momentum: float = 0.95) -> None:
        self.groups: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            self.groups.setdefault(p.shape, []).append(p)
        self.buffers = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}
        self.momentum = momentum

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the parameters along their gradients at a learning rate."""
        for shape, ps in self.groups.items():
            g = torch.stack([p.grad for p in ps if p.grad is not None])
            buffer = self.buffers[shape].lerp_(g, 1 - self.momentum)
            update = _orthogonalised(g.lerp(buffer, self.momentum))
            scale = lr * math.sqrt(max(1.0, shape[0] / shape[1]))
            for p, u in zip(ps, update, strict=True):
                p.mul_(1 - 0.01 * lr).sub_(u, alpha=scale)


def _by_muon(name: str) -> bool:
    """Queries and keys are left to Adam: Muon would soon turn away what they start from."""
    return name.endswith(".weight") and ("dense_" in name or "attention.dense" in name)


class Optimisers:
    """Muon for the matrices that write into the residual stream or read for the MLP, Adam for all else."""

    def __init__(self, model: GPTNeoXForCausalLM, recipe: Recipe) -> None:
        named = list(model.named_parameters())
        self.recipe = recipe
        self.others = [p for n, p in named if not _by_muon(n)]
        self.muon = Muon(p for n, p in named if _by_muon(n))
        words = [p for n, p in named if "embed" in n]
        rest = [p for n, p in named if not _by_muon(n) and "embed" not in n]
        # A long memory of the second moment, or rows of rare words walk at random between their appearances.
        groups = [{"params": words, "betas": (0.9, 0.999)}, {"params": rest, "betas": (0.9, 0.98)}]
        self.adam = torch.optim.AdamW(groups, weight_decay=0.0)

    def step(self, step: int) -> None:
        """Apply the gradients of a step, and clear them."""
        rate = self.recipe.rate(step)
        self.muon.step(rate * self.recipe.muon_lr)
        for group, lr in zip(self.adam.param_groups, (self.recipe.word_lr, self.recipe.adam_lr), strict=True):
            group["lr"] = rate * lr
        self.adam.step()
        for p in (*self.others, *(p for ps in self.muon.groups.values() for p in ps)):
            p.grad = None

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"adam": self.adam.state_dict(), "muon": list(self.muon.buffers.values())}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.adam.load_state_dict(state["adam"])
        for buffer, saved in zip(self.muon.buffers.values(), state["muon"], strict=True):
            buffer.copy_(saved)
