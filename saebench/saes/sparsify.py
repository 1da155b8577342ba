"""Checkpoints of EleutherAI's sparsify: `sae.safetensors` beside `cfg.json`, one folder a hookpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saebench.errors import UserError, unknown
from saebench.saes.architectures import AbsTopK, GroupMax, TopK
from saebench.saes.building import check_sizes, number, renamed
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.hook_names import hook_of_module
from saebench.saes.saelens_config import whole

_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}

_ELSEWHERE = ("embed_skip", "gram_lookup", "n_targets", "n_sources")
"""Keys of coders that read more than one place of the model."""

_KNOWN = {
    "activation", "d_in", "expansion_factor", "k", "multi_topk", "normalize_decoder", "num_latents", "signed",
    "skip_connection", "transcode", "lookup_max_order", "gram_table_hash", *_ELSEWHERE,
}  # fmt: skip


def marks(checkpoint: Checkpoint) -> bool:
    """Whether the encoder is a linear layer and the decoder a matrix of latents by width."""
    return checkpoint.has("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def build(checkpoint: Checkpoint) -> Coder:
    """Coder of one hookpoint: f = act(W (x - b_dec) + b), y = f W_dec + b_dec (+ W_skip x); a transcoder has W x + b.

    Raises:
        UserError: No configuration, an activation or a part that is not known, sizes that disagree.
    """
    where = checkpoint.where
    if "cfg.json" not in checkpoint.configs:
        raise UserError(f"{where}: there is no cfg.json beside it, which says k. Copy it from where the SAE was saved.")
    config = checkpoint.configs["cfg.json"]
    for key in _ELSEWHERE:
        if config.get(key):
            raise UserError(f"{where}: {key} is set, so it reads more than its hook's activation; not supported.")
    names = {**_NAMES, **({"W_skip": "W_skip"} if "W_skip" in checkpoint.shapes else {})}
    if config.get("skip_connection") and "W_skip" not in names:
        raise UserError(f"{where}: skip_connection is set, but there is no tensor 'W_skip'.")
    weights = renamed(checkpoint.tensors(), names, where, transposed=("W_enc",))
    d_in, latents = weights["W_enc"].shape
    check_sizes({"d_in": config.get("d_in"), "the number of latents": _latents(config, d_in, where)},
                {"d_in": d_in, "the number of latents": latents}, where)  # fmt: skip
    hookpoint = checkpoint.weights.absolute().parent.name
    hook_in, hook_out = _hooks(hookpoint, config)
    coder = _kind(config, latents, where)(
        **weights, k=whole(config.get("k"), where), centred=not config.get("transcode"), architecture=_title(config),
        hook_in=hook_in, hook_out=hook_out, metadata={"k": config.get("k"), "hookpoint": hookpoint},
        warnings=[f"cfg.json has a key {key!r} whose meaning is not known" for key in config if key not in _KNOWN],
    )  # fmt: skip
    return admit(coder, where)


def _latents(config: Mapping[str, Any], d_in: int, where: str) -> int | None:
    """Declared number of latents; zero stands for the width times the expansion factor."""
    if told := number(config, "num_latents", where):
        return int(told)
    factor = number(config, "expansion_factor", where)
    return None if factor is None else int(d_in * factor)


def _kind(config: Mapping[str, Any], latents: int, where: str) -> Any:
    activation = config.get("activation", "topk")
    if activation not in ("topk", "groupmax"):
        raise unknown(f"activation in {where}:", str(activation), ["topk", "groupmax"])
    if activation == "topk":
        return AbsTopK if config.get("signed") else TopK
    if latents % whole(config.get("k"), where):
        raise UserError(f"{where}: groupmax needs equal groups, but {latents} latents are not k {config['k']} groups.")
    return GroupMax


def _title(config: Mapping[str, Any]) -> str:
    activation = "abstopk" if config.get("signed") else config.get("activation", "topk")
    skip = "skip_" if config.get("skip_connection") else ""
    return f"{activation}_{skip}transcoder" if config.get("transcode") else activation


def _hooks(hookpoint: str, config: Mapping[str, Any]) -> tuple[str, str]:
    """A coder reads the output of its module; a transcoder reads the input and reconstructs the output."""
    hook_out = hook_of_module(hookpoint)
    return (hook_of_module(hookpoint, "input") if config.get("transcode") else hook_out), hook_out


FORMAT = by_contents("sparsify", "cfg.json with sae.safetensors of encoder.weight and W_dec", marks, build)
