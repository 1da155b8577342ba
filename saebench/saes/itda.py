"""ITDA dictionaries as sparsify saves them: real activations as atoms, read by gradient pursuit."""

from __future__ import annotations

import torch

from saebench.errors import UserError
from saebench.saes.building import check_sizes, renamed
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.pursuit import GradientPursuit
from saebench.saes.saelens_config import whole

_NAMES = {"W_enc": "xs", "W_dec": "ys", "mean": "mean_x", "b_dec": "mean_y", "W_skip": "weight"}


def marks(checkpoint: Checkpoint) -> bool:
    """Whether there are atoms of the input and of the output."""
    return checkpoint.has("xs", "ys", "mean_x", "mean_y")


def build(checkpoint: Checkpoint) -> Coder:
    """Coder: f = gradient pursuit of x - mean_x on xs, y = f ys + mean_y (+ (x - mean_x) weight).

    The tensors are longer than the dictionary, whose size the configuration holds.

    Raises:
        UserError: No configuration, or a dictionary that is empty or longer than its tensors.
    """
    where = checkpoint.where
    if "cfg.json" not in checkpoint.configs:
        raise UserError(f"{where}: there is no cfg.json beside it, which says target_l0 and dictionary_size.")
    config = checkpoint.configs["cfg.json"]
    size = whole(config.get("dictionary_size"), where)
    weights = renamed(checkpoint.tensors(), _NAMES, where, transposed=("W_skip",))
    if size > len(weights["W_enc"]):
        raise UserError(f"{where}: dictionary_size is {size}, but its tensors have {len(weights['W_enc'])} atoms.")
    check_sizes({"d_model": config.get("d_model")}, {"d_model": weights["W_enc"].shape[1]}, where)
    weights |= {"W_enc": weights["W_enc"][:size].T.contiguous(), "W_dec": weights["W_dec"][:size].contiguous()}
    if not config.get("subtract_mean"):
        weights |= {name: torch.zeros_like(weights[name]) for name in ("mean", "b_dec")}
    skip = weights.pop("W_skip")
    if config.get("skip_connection"):
        weights |= {"W_skip": skip, "b_dec": weights["b_dec"] - skip @ weights["mean"]}
    k = min(whole(config.get("target_l0"), where), size)
    return admit(GradientPursuit(**weights, k=k, architecture="itda", metadata={"k": k}), where)


FORMAT = by_contents("itda", "cfg.json with sae.safetensors of xs and ys", marks, build)
