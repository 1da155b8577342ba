"""Checkpoints of OpenAI's sparse_autoencoder: one `.pt` with `pre_bias`, `latent_bias` and the activation's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saebench.errors import UserError, unknown
from saebench.saes.architectures import ReLU, TopK
from saebench.saes.building import renamed
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.files import PICKLED, read_pickle
from saebench.saes.gate import admit
from saebench.saes.saelens_config import whole

_NAMES = {"W_enc": "encoder.weight", "b_enc": "latent_bias", "W_dec": "decoder.weight", "b_dec": "pre_bias"}
_COUNTS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square", "activation_state_dict.k")


def marks(checkpoint: Checkpoint) -> bool:
    """Whether there are biases before and after the encoder, under this library's names."""
    return checkpoint.has("encoder.weight", "pre_bias", "latent_bias")


def build(checkpoint: Checkpoint) -> Coder:
    """Coder: f = act(W (x - pre_bias) + latent_bias), y = f D + pre_bias; each token is standardised where act is TopK.

    The file holds the activation's name beside the tensors. TopK implies a layer norm before encoding that is undone
    after decoding. A tied decoder is the encoder's transpose.

    Raises:
        UserError: The activation is not said, or is not known.
    """
    where = checkpoint.where
    said = read_pickle(checkpoint.weights) if checkpoint.weights.suffix in PICKLED else {}
    tensors = checkpoint.tensors()
    if "decoder.weight" not in tensors:
        tensors = {**tensors, "decoder.weight": tensors["encoder.weight"].T}
    tied = [name for name in tensors if name.startswith("decoder.linear.")]
    weights = renamed(tensors, _NAMES, where, transposed=("W_enc", "W_dec"), ignored=(*_COUNTS, *tied))
    kind, fields = _activation(said, where)
    name = "topk" if kind is TopK else "standard"
    facts = {"k": fields["k"]} if "k" in fields else {}
    return admit(kind(**weights, **fields, centred=True, architecture=name, metadata=facts), where)


def _activation(said: Mapping[str, Any], where: str) -> tuple[type[Coder], dict[str, Any]]:
    name = said.get("activation")
    if name is None:
        raise UserError(
            f"{where}: the file does not say its activation ('ReLU' or 'TopK'). Put a saebench.yaml beside it that "
            "does, with `subtract_b_dec: true` and `architecture: standard`, or with `topk`, `k: 32` and "
            "`normalise: layer_norm`."
        )
    if name == "ReLU":
        return ReLU, {}
    if name != "TopK":
        raise unknown(f"activation in {where}:", str(name), ["ReLU", "TopK"])
    state = said.get("activation_state_dict") or {}
    after = state.get("postact_fn", "ReLU")
    if after != "ReLU":
        raise UserError(f"{where}: TopK is followed by {after!r}; only ReLU is supported.")
    return TopK, {"k": whole(state.get("k"), where), "normalise": "layer_norm"}


FORMAT = by_contents("openai", "a .pt with encoder.weight, pre_bias and latent_bias", marks, build)
