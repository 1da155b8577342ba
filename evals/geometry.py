"""How the dictionary lies in space. From the weights alone: no data, and so no interval."""

from __future__ import annotations

from saebench.inputs import Weights
from saebench.metric import Array, NotApplicable, Sums, Totals, metric


@metric(version=2, unit="cosine", better="none", bounds=(-1.0, 1.0), units="none")
def encoder_decoder_cosine(w: Weights) -> Sums:
    """Mean cosine between a latent's encoder column and its decoder row.

    mean over latents of cos(e_i, d_i); zero vectors count as 0. A coder that reads one hook and writes another, such as
    a transcoder, has none: its encoder and its decoder lie in spaces that have nothing to do with each other.
    """
    import torch

    if w.hook_in != w.hook_out:
        raise NotApplicable("it reads one hook and writes another, so encoder and decoder lie in different spaces")
    return Sums(cosine=torch.nn.functional.cosine_similarity(w.encoder, w.decoder, dim=-1), latents=1)


@metric(version=1, unit="cosine", better="lower", bounds=(-1.0, 1.0), units="none")
def decoder_neighbour_cosine(w: Weights) -> Sums:
    """Mean cosine of a decoder row to the nearest other row: how close to duplicates latents are.

    mean over i of max over j != i of cos(d_i, d_j).
    """
    return Sums(cosine=w.decoder_cosines.nearest, latents=1)


@metric(version=1, unit="cosine", better="lower", bounds=(-1.0, 1.0), units="none")
def encoder_neighbour_cosine(w: Weights) -> Sums:
    """Mean cosine of an encoder column to the nearest other column.

    mean over i of max over j != i of cos(e_i, e_j).
    """
    return Sums(cosine=w.encoder_cosines.nearest, latents=1)


@metric(version=1, unit="cosine", better="lower", bounds=(0.0, 1.0), units="none")
def decoder_mixing(w: Weights) -> Sums:
    """Mean absolute cosine between two decoder rows (c_dec).

    mean over i != j of |cos(d_i, d_j)|; near its lowest where L0 is right (Chanin et al. 2025, Sparse but Wrong).
    """
    return Sums(cosine=w.decoder_cosines.mean_abs, latents=1)


@metric(version=1, unit="norm", better="none", bounds=(0.0, None), units="none")
def decoder_norm(w: Weights) -> Sums:
    """Mean norm of a decoder row.

    mean over latents of |d_i|.
    """
    return Sums(cosine=w.decoder.norm(dim=-1), latents=1)


@encoder_decoder_cosine.value
@decoder_neighbour_cosine.value
@encoder_neighbour_cosine.value
@decoder_mixing.value
@decoder_norm.value
def _(s: Totals) -> Array:
    return s.cosine / s.latents


@metric(version=1, unit="dimensions", better="none", bounds=(1.0, None), units="none")
def effective_rank(w: Weights) -> Sums:
    """Number of dimensions that the decoder's rows spread over.

    exp(H(p)), p_k = sigma_k / sum sigma, sigma the decoder's singular values (Roy & Vetterli 2007).
    """
    import torch

    gram = w.decoder.double().T @ w.decoder.double()
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    if not bool(sigma.sum() > 0):
        raise NotApplicable("the decoder is all zero")
    share = sigma / sigma.sum()
    return Sums(log_rank=torch.special.entr(share).sum()[None])


@effective_rank.value
def _(s: Totals) -> Array:
    import numpy as np

    return np.exp(s.log_rank)
