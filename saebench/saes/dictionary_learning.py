"""Checkpoints of dictionary_learning (saprmarks), which SAEBench trained with: `ae.pt` beside `config.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.adaptive import AdaptiveTopK
from saebench.saes.architectures import Gated, JumpReLU, ReLU, TopK
from saebench.saes.building import check_sizes, layer_names, of_each, renamed, said, scalar, section
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.files import read_tensors
from saebench.saes.gate import admit
from saebench.saes.hook_names import hooks_of_submodule
from saebench.saes.saelens_config import whole

_LINEAR = layer_names("encoder", "decoder")
_PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}


@dataclass(frozen=True)
class Layout:
    """How one class of the library keeps its weights, and what its forward does."""

    kind: type[Coder]
    architecture: str
    names: Mapping[str, str]
    centred: bool = True
    ignored: tuple[str, ...] = ()
    transposed: tuple[str, ...] = field(default=("W_enc", "W_dec"))


CLASSES = {
    "AutoEncoder": Layout(ReLU, "standard", {**_LINEAR, "b_dec": "bias"}),
    "AutoEncoderNew": Layout(ReLU, "standard", _LINEAR, centred=False),
    "GatedAutoEncoder": Layout(
        Gated, "gated",
        {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "decoder_bias",
         "b_gate": "gate_bias", "r_mag": "r_mag", "b_mag": "mag_bias"},
    ),
    "AutoEncoderTopK": Layout(TopK, "topk", {**_LINEAR, "b_dec": "b_dec"}, ignored=("k", "threshold")),
    "BatchTopKSAE": Layout(
        JumpReLU, "batchtopk", {**_LINEAR, "b_dec": "b_dec", "threshold": "threshold"}, ignored=("k",)
    ),
    "MatryoshkaBatchTopKSAE": Layout(
        JumpReLU, "matryoshka_batchtopk", {**_PLAIN, "threshold": "threshold"},
        ignored=("k", "group_sizes"), transposed=(),
    ),
    "AutoEncoderDynamicTopK": Layout(AdaptiveTopK, "adaptive_topk", {**_LINEAR, "b_dec": "b_dec"}),
    "JumpReluAutoEncoder": Layout(
        JumpReLU, "jumprelu", {**_PLAIN, "threshold": "threshold"}, centred=False, transposed=()
    ),
}  # fmt: skip
"""Classes of the library by the name that `dict_class` gives. JumpReluAutoEncoder and AutoEncoderNew do not
subtract the decoder's bias from their input; the two of them apart, all do."""

_UNNAMED = "the configuration names a layer but no submodule: taken as the residual stream after it, as SAEBench does"

_SIGNS = {
    "AutoEncoder": {"bias", "encoder.weight", "encoder.bias", "decoder.weight"},
    "GatedAutoEncoder": {"decoder_bias", "gate_bias", "mag_bias", "r_mag"},
    "MatryoshkaBatchTopKSAE": {"W_enc", "W_dec", "group_sizes", "threshold"},
}
"""Tensors by which a class is known without a configuration."""

_EITHER = {"b_dec", "k", "threshold", "encoder.weight", "encoder.bias", "decoder.weight"}
"""Tensors that AutoEncoderTopK and BatchTopKSAE have alike."""


def marks(checkpoint: Checkpoint) -> bool:
    """Whether a configuration names a `dict_class`, or the tensors are those of one class alone."""
    if _trainer(checkpoint):
        return checkpoint.has("encoder.weight") or checkpoint.has("W_enc", "W_dec")
    names = set(checkpoint.shapes)
    return names == _EITHER or any(signs <= names for signs in _SIGNS.values())


def build(checkpoint: Checkpoint) -> Coder:
    """Coder of a checkpoint, by the equations of its class.

    Raises:
        UserError: Unknown class, a threshold that training never set, sizes or k that disagree.
    """
    trainer, where = _trainer(checkpoint), checkpoint.where
    kind = _class(trainer, checkpoint)
    layout = CLASSES[kind]
    tensors = checkpoint.tensors()
    weights = renamed(tensors, layout.names, where, transposed=layout.transposed, ignored=layout.ignored)
    d_in, latents = weights["W_enc"].shape
    check_sizes(trainer, {"activation_dim": d_in, "dict_size": latents}, where)
    k = _k(trainer, tensors, where)
    fields: dict[str, Any] = {**weights}
    if layout.kind is TopK:
        fields["k"] = whole(k, where)
    if layout.kind is AdaptiveTopK:
        fields |= _probe(trainer, checkpoint)
    if "threshold" in weights:
        fields["threshold"] = _threshold(weights["threshold"], latents, kind, where)
    buffer = section(checkpoint.configs.get("config.json", {}), "buffer", checkpoint.where)
    name = str(trainer.get("submodule_name") or "")
    hook_in, hook_out = hooks_of_submodule(trainer.get("layer"), name, str(buffer.get("io") or "out"))
    warnings = [_UNNAMED] if hook_in and not name else []
    coder = layout.kind(
        **fields, centred=layout.centred, architecture=layout.architecture, hook_in=hook_in, hook_out=hook_out,
        metadata=_facts(trainer, checkpoint, tensors, k), warnings=warnings,
    )  # fmt: skip
    return admit(coder, where)


def _trainer(checkpoint: Checkpoint) -> Mapping[str, Any]:
    trainer = checkpoint.configs.get("config.json", {}).get("trainer")
    return trainer if isinstance(trainer, dict) and "dict_class" in trainer else {}


def _class(trainer: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    if trainer:
        found = re.findall(r"\w+", str(trainer["dict_class"]))
        name = found[-1].replace("Matroyshka", "Matryoshka") if found else ""
        if name not in CLASSES:
            raise unknown(f"dict_class in the configuration of {checkpoint.where}:", name, CLASSES)
        return name
    names = set(checkpoint.shapes)
    if names == _EITHER:
        raise UserError(
            f"{checkpoint.where}: its tensors may be those of AutoEncoderTopK or of BatchTopKSAE, which are run "
            "differently, and no config.json beside it says which (trainer: dict_class). Put that of the run there, or "
            "a saebench.yaml with `architecture: batchtopk` and `subtract_b_dec: true`, or for the other with "
            "`architecture: topk`, `subtract_b_dec: true` and `ignore: [threshold]`."
        )
    return next(name for name, signs in _SIGNS.items() if signs <= names)


def _k(trainer: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> Any:
    told, kept = trainer.get("k"), scalar(tensors.get("k"))
    if told is not None and kept is not None:
        check_sizes({"k": told}, {"k": int(kept)}, where)
    return told if kept is None else kept


def _probe(trainer: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """The linear probe of AdaptiveK, which lies in a file of its own, and the bounds of k.

    Raises:
        UserError: The probe is not there, so that k of a token cannot be known.
    """
    file = checkpoint.weights.parent / "probe.pt"
    if not file.is_file():
        raise UserError(
            f"{checkpoint.where}: there is no probe.pt beside it, which says how many latents a token may use. Copy it "
            "from the run; or score it at one k, by a saebench.yaml with `architecture: topk`, `k: ` and "
            "`subtract_b_dec: true`."
        )
    probe = renamed(read_tensors(file), {"probe": "weights", "probe_bias": "bias"}, str(file))
    return {"probe": probe["probe"].reshape(-1), "probe_bias": probe["probe_bias"],
            "k_min": int(trainer.get("min_k", 20)), "k_max": int(trainer.get("max_k", 320))}  # fmt: skip


def _threshold(threshold: Tensor, latents: int, name: str, where: str) -> Tensor:
    """Threshold of each latent, refused where training ended before it was set (it starts at -1)."""
    if threshold.numel() == 1 and float(threshold) < 0:
        raise UserError(
            f"{where}: the threshold of this {name} is {float(threshold):g}: training ended before it was set "
            "(threshold_start_step), and without it every positive activation would pass. Use a later checkpoint, "
            "or keep the k largest of each token, by a saebench.yaml beside it with `architecture: topk`, "
            "`subtract_b_dec: true` and `ignore: [threshold]`."
        )
    return of_each(threshold, latents)


def _facts(trainer: Mapping[str, Any], checkpoint: Checkpoint, tensors: Mapping[str, Tensor], k: Any) -> dict[str, Any]:
    buffer = section(checkpoint.configs.get("config.json", {}), "buffer", checkpoint.where)
    return said(
        model_name=trainer.get("lm_name"), k=k, seed=trainer.get("seed"), layer=trainer.get("layer"),
        trainer_class=trainer.get("trainer_class"), submodule_name=trainer.get("submodule_name"),
        steps=trainer.get("steps"), context_size=buffer.get("ctx_len"),
        group_sizes=tensors["group_sizes"].tolist() if "group_sizes" in tensors else None,
    )  # fmt: skip


FORMAT = by_contents("dictionary_learning", "config.json with trainer.dict_class, and ae.pt", marks, build)
