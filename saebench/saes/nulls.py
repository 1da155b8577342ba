"""Controls that know nothing: what a score is worth is its distance from theirs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.architectures import TopK
from saebench.saes.baselines import moments
from saebench.saes.coder import Coder
from saebench.saes.protocol import SparseCoder

C = TypeVar("C", bound=Coder)

WIDENING = 8
"""Latents of a random dictionary for each channel, unless told."""


def random_dictionary(
    activations: Tensor | Iterable[Tensor],
    k: int = 32,
    *,
    width: int | None = None,
    seed: int = 0,
    hook: str = "",
) -> TopK:
    """Random unit rows as dictionary, their transpose as encoder, the k largest projections as codes.

    The input is centred on the mean of the activations. The encoder is scaled by the one number
    that fits the reconstruction best in the mean, since projections on an overcomplete dictionary
    overshoot: the control is the best that chance can do.

    Args:
        activations: `[n, d]`, or batches of them; the scale is fitted on the first batch.
        k: Latents kept on each token.
        width: Number of latents, eight for each channel if None.
        seed: Seed of the directions.
        hook: Hook that is encoded and reconstructed.

    Raises:
        UserError: Fewer latents than k.
    """
    batches = iter([activations] if isinstance(activations, Tensor) else activations)
    first = next(batches, None)
    if first is None:
        raise UserError("null:random is fitted to activations, and there are none.")
    mean = moments(itertools.chain([first], batches)).mean.float()
    latents = width or WIDENING * len(mean)
    if not 1 <= k <= latents:
        raise UserError(f"null:random-{k}: there are {latents} latents, so K is 1 to {latents}.")
    rows = _unit(torch.randn(latents, len(mean), generator=_generator(seed, "random")))
    coder = TopK(
        W_enc=rows.T.contiguous(), W_dec=rows, b_enc=None, b_dec=mean, k=k, centred=True,
        architecture="random", hook_in=hook, hook_out=hook, name=f"random-{k}",
        ref=f"null:random-{k}", role="null", metadata={"seed": seed, "k": k},
    )  # fmt: skip
    x = first.detach().float().cpu() - mean
    y = coder.reconstruct(x + mean) - mean
    gain = (x * y).sum().double() / y.square().sum().double().clamp_min(1e-30)
    return coder.replace(W_enc=coder.W_enc * gain.float())


def untrained(coder: C, *, seed: int = 0) -> C:
    """The same architecture with every direction redrawn, encoder tied to decoder as at the start.

    Norms of rows and columns, biases and thresholds are kept, so that scale and sparsity stay
    comparable and only what was learnt about directions is lost. A skip connection starts at zero.
    """
    fresh = torch.randn(coder.d_sae, coder.d_out, generator=_generator(seed, "decoder"))
    rows = _unit(fresh).to(coder.W_dec) * coder.W_dec.norm(dim=1, keepdim=True)
    changes: dict[str, Tensor] = {"W_dec": rows}
    if coder.d_in != coder.d_out:
        fresh = torch.randn(coder.d_sae, coder.d_in, generator=_generator(seed, "encoder"))
    norms = coder.W_enc.norm(dim=0, keepdim=True)
    changes["W_enc"] = (_unit(fresh).T.to(coder.W_enc) * norms).contiguous()
    if coder.W_skip is not None:
        changes["W_skip"] = torch.zeros_like(coder.W_skip)
    return _null(coder, "untrained", seed, changes)


def shuffled(coder: C, *, seed: int = 0) -> C:
    """The same encoder with the decoder's rows permuted: codes are right, directions are not."""
    order = torch.randperm(coder.d_sae, generator=_generator(seed, "shuffled"))
    return _null(coder, "shuffled", seed, {"W_dec": coder.W_dec[order.to(coder.device)].contiguous()})


def native(coder: SparseCoder, kind: str) -> Coder:
    """The coder, if its weights can be redrawn.

    Raises:
        UserError: No encoder matrix to redraw, an ensemble, or an object, whose weights are its own.
    """
    if isinstance(coder, Coder) and kind == "untrained" and "W_enc" not in coder.tensors():
        raise UserError(f"null:{kind}@{coder.ref}: a coder without an encoder matrix cannot be drawn anew.")
    if not isinstance(coder, Coder):
        raise UserError(f"null:{kind}@{coder.ref} needs a checkpoint of one dictionary, no ensemble and no object.")
    return coder


def _null(coder: C, kind: str, seed: int, changes: dict[str, Tensor]) -> C:
    return coder.replace(
        **changes, name=f"{kind}@{coder.name}", ref=f"null:{kind}@{coder.ref}", role="null", warnings=[],
        metadata={**coder.metadata, "null": kind, "seed": seed},
    )  # fmt: skip


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def _generator(seed: int, purpose: str) -> torch.Generator:
    """A generator of its own for each (seed, purpose)."""
    key = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
