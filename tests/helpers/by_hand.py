"""The core numbers from their definitions, in loops over tokens: slow, and sharing no code with saebench."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn


def _spliced(model: nn.Module, layer: int, row: Tensor, replace: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Log-probabilities of one row with a layer's output replaced by a function of it."""
    handle = None
    if replace is not None:

        def hook(_module: nn.Module, _inputs: tuple, output: Tensor | tuple) -> Tensor | tuple:
            hidden = output if isinstance(output, Tensor) else output[0]
            return replace(hidden) if isinstance(output, Tensor) else (replace(hidden), *output[1:])

        handle = model.model.layers[layer].register_forward_hook(hook)
    try:
        with torch.no_grad():
            return model(row[None]).logits[0].double().log_softmax(-1)
    finally:
        if handle is not None:
            handle.remove()


def core_numbers(
    model: nn.Module,
    layer: int,
    rows: Iterable[Tensor],
    special: set[int],
    encode: Callable,
    decode: Callable,
    norms: Tensor,
) -> dict[str, float]:
    """Every scalar of the core suite for one SAE at the output of a layer."""
    rows = list(rows)
    xs = []
    for row in rows:
        with torch.no_grad():
            hidden = model(row[None], output_hidden_states=True).hidden_states[layer + 1][0]
        xs += [hidden[t].double() for t in range(len(row)) if int(row[t]) not in special]
    mean = torch.stack(xs).mean(0)
    sums: dict[str, float] = {}

    def count(**values: float) -> None:
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(value)

    fired = np.zeros(len(norms))
    for x in xs:
        with torch.no_grad():
            f = encode(x.float()[None])[0].double()
            y = decode(f.float()[None])[0].double()
        active = [i for i in range(len(f)) if f[i] != 0]
        fired[active] += 1
        weights = [abs(float(f[i])) * float(norms[i]) for i in active]
        entropy = -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
        count(
            tokens=1,
            l0=len(active),
            l1=f.abs().sum(),
            effective=math.exp(entropy) if active else 0,
            error=((x - y) ** 2).sum(),
            variance=((x - mean) ** 2).sum(),
            power=(x**2).sum(),
            power_hat=(y**2).sum(),
            product=(x * y).sum(),
            cosine=(x * y).sum() / (x.norm() * y.norm()),
            ratio=y.norm() / x.norm(),
        )
    for row in rows:
        content = torch.tensor([int(t) not in special for t in row])

        def put(hidden: Tensor, value: Callable[[Tensor], Tensor], content: Tensor = content) -> Tensor:
            new = hidden.clone()
            new[0, content] = value(hidden[0, content]).to(new.dtype)
            return new

        clean = _spliced(model, layer, row, None)
        sae = _spliced(model, layer, row, lambda h: put(h, lambda x: decode(encode(x))))
        zero = _spliced(model, layer, row, lambda h: put(h, torch.zeros_like))
        flat = _spliced(model, layer, row, lambda h: put(h, lambda x: mean.expand_as(x)))
        for t in range(len(row) - 1):
            if content[t] and content[t + 1]:
                target = int(row[t + 1])
                count(
                    predictions=1,
                    ce_clean=-clean[t, target],
                    ce_sae=-sae[t, target],
                    ce_zero=-zero[t, target],
                    ce_mean=-flat[t, target],
                    kl=(clean[t].exp() * (clean[t] - sae[t])).sum(),
                    kl_zero=(clean[t].exp() * (clean[t] - zero[t])).sum(),
                    agrees=float(clean[t].argmax() == sae[t].argmax()),
                )
    s, n, p = sums, sums["tokens"], sums["predictions"]
    return {
        "l0": s["l0"] / n,
        "l1": s["l1"] / n,
        "effective_l0": s["effective"] / n,
        "uniformity": s["effective"] / s["l0"],
        "explained_variance": 1 - s["error"] / s["variance"],
        "mse": s["error"] / n,
        "nmse": s["error"] / s["power"],
        "cosine_similarity": s["cosine"] / n,
        "l2_ratio": s["ratio"] / n,
        "relative_reconstruction_bias": s["power_hat"] / s["product"],
        "zero_reconstruction_fraction": 0.0,
        "ce_clean": s["ce_clean"] / p,
        "ce_sae": s["ce_sae"] / p,
        "ce_zero": s["ce_zero"] / p,
        "ce_mean": s["ce_mean"] / p,
        "ce_delta": (s["ce_sae"] - s["ce_clean"]) / p,
        "loss_recovered": (s["ce_zero"] - s["ce_sae"]) / (s["ce_zero"] - s["ce_clean"]),
        "loss_recovered_mean": (s["ce_mean"] - s["ce_sae"]) / (s["ce_mean"] - s["ce_clean"]),
        "kl": s["kl"] / p,
        "kl_score": (s["kl_zero"] - s["kl"]) / s["kl_zero"],
        "top1_agreement": s["agrees"] / p,
        "dead_fraction": float((fired == 0).mean()),
    }
