"""Which SAEs the world ships, and how each is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LEVELS = ("low", "mid", "high")
L0: dict[str, int] = {"low": 5, "mid": 20, "high": 80}
L1: dict[str, float] = {"low": 6.0, "mid": 2.5, "high": 0.8}
JUMP: dict[str, float] = {"low": 0.2, "mid": 0.05, "high": 0.01}
"""Where the coefficients start; training steers them towards the L0 of the level."""
L1_PENALISED = ("relu", "gated", "transcoder")
STEERED = (*L1_PENALISED, "jumprelu")
ARCHITECTURES = ("relu", "gated", "topk", "batchtopk", "jumprelu", "matryoshka")
DAMAGES = ("untrained", "frozen-decoder", "shuffled", "undertrained", "half-dead")


@dataclass(frozen=True)
class SaeRecipe:
    """One SAE: SAELens' training configuration by its fields, steps, seed, and the damage done to it if any."""

    name: str
    architecture: str
    level: str
    steps: int
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    damage: str = ""
    parent: str = ""

    @property
    def learning_rate(self) -> float:
        """Adam's; a threshold moves by no more than this in a step, so JumpReLU has a higher one."""
        return 4e-3 if self.architecture == "jumprelu" else 1e-3

    @property
    def target_l0(self) -> int:
        """The L0 that the penalty is steered to; 0 where the architecture sets it itself."""
        return L0[self.level] if self.architecture in STEERED else 0


def _options(architecture: str, level: str, steps: int) -> dict[str, Any]:
    if architecture in L1_PENALISED:
        return {"l1_coefficient": L1[level], "l1_warm_up_steps": steps // 10}
    if architecture == "jumprelu":
        return {
            "l0_coefficient": JUMP[level],
            "l0_warm_up_steps": steps // 10,
            "jumprelu_bandwidth": 0.5,
            "jumprelu_init_threshold": 0.7,
            "decoder_init_norm": 0.5,
        }
    options: dict[str, Any] = {"k": L0[level]}
    if architecture == "matryoshka":
        options["matryoshka_widths"] = [64, 256, 1024]
    return options


def recipes(steps: int = 1000) -> Iterator[SaeRecipe]:
    """Every shipped SAE; the damaged ones come after their parent."""
    for architecture in ARCHITECTURES:
        for level in LEVELS:
            options = _options(architecture, level, steps)
            yield SaeRecipe(f"{architecture}-{level}", architecture, level, steps, options=options)
    for architecture in ("topk", "relu"):
        for seed in (1, 2):
            options = _options(architecture, "mid", steps)
            yield SaeRecipe(f"{architecture}-mid-seed{seed}", architecture, "mid", steps, seed, options)
    yield SaeRecipe("transcoder-mid", "transcoder", "mid", steps, options=_options("transcoder", "mid", steps))
    for damage in DAMAGES:
        share = {"untrained": 0, "undertrained": steps // 25}.get(damage, steps)
        options = _options("topk", "mid", steps)
        yield SaeRecipe(f"topk-mid-{damage}", "topk", "mid", share, options=options, damage=damage, parent="topk-mid")


def known_order(index: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Ranks that hold by construction, 0 the best: a good metric must not reverse them.

    `damage`: the parent is better than its damaged twins, and the untrained and the shuffled one are the worst.
    `fidelity`: within an architecture, more active latents rebuild the activations better.
    """
    damage = {"": 0, "half-dead": 1, "undertrained": 1, "frozen-decoder": 1, "shuffled": 2, "untrained": 2}
    orders: dict[str, dict[str, int]] = {}
    for name, entry in index.items():
        order: dict[str, int] = {}
        if entry["damage"] or name == "topk-mid":
            order["damage"] = damage[entry["damage"]]
        if not entry["damage"] and entry["architecture"] in ARCHITECTURES and entry["seed"] == 0:
            order["fidelity"] = len(LEVELS) - 1 - LEVELS.index(entry["level"])
        orders[name] = order
    return orders
