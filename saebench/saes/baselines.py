"""Simple baselines as coders: the activations themselves, and their principal components."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.architectures import Identity, Linear


def identity(width: int, *, hook: str = "") -> Identity:
    """Every channel of the hook as a latent, reconstructed exactly."""
    eye = torch.eye(width)
    return Identity(
        W_dec=eye, W_enc=eye, b_dec=torch.zeros(width), architecture="identity",
        hook_in=hook, hook_out=hook, name="identity", ref="baseline:identity", role="baseline",
    )  # fmt: skip


class Moments:
    """Mean and covariance of activations, accumulated in double precision batch by batch."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)
        self.origin: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Add activations `[n, d]`; sums are kept about the first batch's mean, which saves digits."""
        x = x.detach().double()
        if self.origin is None:
            self.origin = x.mean(0).cpu()
        x = x - self.origin.to(x.device)
        self.n += len(x)
        self.total += x.sum(0).cpu()
        self.products += (x.T @ x).cpu()

    @property
    def mean(self) -> Tensor:
        """Mean `[d]`."""
        assert self.origin is not None
        return self.origin + self.total / self.n

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance `[d, d]`."""
        centre = self.total / self.n
        return (self.products - self.n * torch.outer(centre, centre)) / (self.n - 1)


def moments(activations: Tensor | Iterable[Tensor]) -> Moments:
    """Mean and covariance of activations `[n, d]`, given whole or in batches.

    Raises:
        UserError: Fewer than two tokens.
    """
    found: Moments | None = None
    for x in [activations] if isinstance(activations, Tensor) else activations:
        found = found or Moments(x.shape[-1])
        found.add(x)
    if found is None or found.n < 2:
        raise UserError("A baseline is fitted to activations, and there are fewer than two tokens of them.")
    return found


def pca(activations: Tensor | Iterable[Tensor], k: int | None = None, *, hook: str = "") -> Linear:
    """Principal components as latents: f = (x - mean) V, x^ = f V^T + mean.

    The components are the eigenvectors of the covariance, largest variance first, each with its
    largest entry positive, so that the result does not depend on the solver's choice of sign.

    Args:
        activations: `[n, d]`, or an iterable of such batches.
        k: Number of components, all of them if None.
        hook: Hook they come from.

    Raises:
        UserError: More components than channels, or fewer than two tokens.
    """
    found = moments(activations)
    width = len(found.mean)
    if k is not None and not 1 <= k <= width:
        raise UserError(f"baseline:pca-{k}: the activations have {width} channels, so K is 1 to {width}.")
    variances, vectors = torch.linalg.eigh(found.covariance)
    components = vectors.flip(1)[:, :k].T
    peaks = components.gather(1, components.abs().argmax(1, keepdim=True))
    components = components * peaks.sign()
    return Linear(
        W_enc=components.T.float().contiguous(), W_dec=components.float().contiguous(),
        b_dec=found.mean.float(), centred=True, architecture="pca",
        hook_in=hook, hook_out=hook, name="pca" if k is None else f"pca-{k}",
        ref="baseline:pca" + ("" if k is None else f"-{k}"), role="baseline",
        metadata={"variances": variances.flip(0)[:k].clamp_min(0).tolist(), "tokens": found.n},
    )  # fmt: skip
