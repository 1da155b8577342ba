"""SAELens: its disk format, its configurations old and new, its objects and its directory."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.architectures import AbsTopK, Gated, JumpReLU, ReLU, TopK
from saebench.saes.coder import Coder, SparseCoder
from saebench.saes.files import read_json, read_tensors
from saebench.saes.formats import Format
from saebench.saes.gate import admit

CONFIG = "cfg.json"
WEIGHTS = ("sae_weights.safetensors", "sae_weights.pt")
SCALER = "activation_scaler.json"

CLASSES: dict[str, type[Coder]] = {
    "standard": ReLU,
    "gated": Gated,
    "topk": TopK,
    "abstopk": AbsTopK,
    "jumprelu": JumpReLU,
    "batchtopk": JumpReLU,
    "matryoshka_batchtopk": JumpReLU,
    "transcoder": ReLU,
    "skip_transcoder": ReLU,
    "jumprelu_transcoder": JumpReLU,
    "jumprelu_skip_transcoder": JumpReLU,
}
"""Architectures run by their own equations here; `matching_pursuit` is run by SAELens itself."""

RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index",
           "activation_fn_str": "activation_fn"}  # fmt: skip
"""Keys of configurations from before SAELens 6."""

TOP = ("b_enc", "W_enc", "W_dec", "b_dec", "threshold", "b_gate", "r_mag", "b_mag", "W_skip")


def detect(path: Path) -> bool:
    """Whether a directory, or a weights file in one, is a SAELens checkpoint."""
    folder = path if path.is_dir() else path.parent
    return (folder / CONFIG).is_file() and _weights(path) is not None


def load(path: Path) -> SparseCoder:
    """Coder of a SAELens directory (or of the weights file in it).

    Raises:
        UserError: Damaged files, an unknown architecture, normalisation that was never folded in.
    """
    weights = _weights(path)
    if weights is None:
        raise UserError(f"{path} has no {' or '.join(WEIGHTS)}.")
    folder = weights.parent
    config = read_json(folder / CONFIG)
    if config.get("architecture") == "matching_pursuit":
        return _through_saelens(folder)
    scaler = folder / SCALER
    scale = read_json(scaler).get("scaling_factor") if scaler.is_file() else None
    return build(config, read_tensors(weights), where=str(path), scaling_factor=scale)


FORMAT = Format("saelens", f"{CONFIG} with {WEIGHTS[0]}", detect, load)


def _weights(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name in WEIGHTS else None
    return next((path / name for name in WEIGHTS if (path / name).is_file()), None)


def build(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    where: str,
    scaling_factor: float | None = None,
) -> Coder:
    """Coder of a SAELens configuration and state dict, by this package's own equations.

    Args:
        config: `cfg.json`, of any version of SAELens.
        tensors: State dict of an inference or training checkpoint.
        where: What to call it in an error.
        scaling_factor: Factor of `expected_average_only_in` that is still to be folded in.

    Raises:
        UserError: Unknown architecture, missing tensor, unfolded normalisation, sizes that disagree.
    """
    config = modern(config, where)
    architecture = config["architecture"]
    if architecture not in CLASSES:
        raise not_supported(architecture, where)
    weights = {name: _single(t) for name, t in tensors.items()}
    _check_declared(config, weights, where)
    rescaled = bool(config.get("rescale_acts_by_decoder_norm"))
    weights = _prepare(weights, config, where, rescaled=rescaled)
    weights, normalise = _fold_norm(weights, config, where, scaling_factor)
    kind = CLASSES[architecture]
    fields = {name: weights[name] for name in TOP if name in weights}
    fields = {name: fields[name] for name in fields if name in kind.__dataclass_fields__}
    if kind in (TopK, AbsTopK):
        fields["k"] = _whole(config.get("k"), where)
    trained_as = config["metadata"].get("training_architecture")
    coder = kind(
        **fields,
        centred=bool(config.get("apply_b_dec_to_input", "transcoder" not in architecture)),
        normalise=normalise,
        restore="transcoder" not in architecture,
        architecture=trained_as if trained_as in CLASSES else architecture,
        hook_in=config["metadata"].get("hook_name") or "",
        hook_out=config["metadata"].get("hook_name_out") or config["metadata"].get("hook_name") or "",
        metadata=_metadata(config),
    )
    return admit(coder, where)


def modern(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A configuration with today's keys, whatever version of SAELens wrote it.

    Raises:
        UserError: An activation function other than ReLU and TopK.
    """
    new = {RENAMED.get(key, key): value for key, value in config.items()}
    new["architecture"] = new.get("architecture") or "standard"
    activation = new.get("activation_fn") or "relu"
    if activation == "topk":
        new["architecture"] = "topk"
        new["k"] = (new.get("activation_fn_kwargs") or {}).get("k", new.get("k"))
    elif activation != "relu":
        raise unknown(f"activation function in {where}:", str(activation), ["relu", "topk"])
    old = new.get("normalize_activations")
    new["normalize_activations"] = "expected_average_only_in" if old is True else old or "none"
    top = {key: value for key, value in new.items() if key not in ("metadata", "device")}
    metadata = {key: value for key, value in (new.get("metadata") or {}).items() if value is not None}
    new["metadata"] = {**{k: top[k] for k in DECLARED if top.get(k) is not None}, **metadata}
    return new


DECLARED = ("model_name", "hook_name", "hook_name_out", "hook_head_index", "hf_hook_name", "hf_hook_name_out",
            "context_size", "prepend_bos", "dataset_path", "neuronpedia_id", "seed", "k", "sae_lens_version",
            "model_from_pretrained_kwargs", "exclude_special_tokens")  # fmt: skip
"""What is copied from the top level of a configuration, where old versions kept it."""


def _metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    facts = dict(config["metadata"])
    details = facts.get("training_architecture_details") or {}
    if "k" not in facts and details.get("k") is not None:
        facts["k"] = details["k"]
    facts["inference_architecture"] = config["architecture"]
    return facts


def _single(tensor: Tensor) -> Tensor:
    """A detached tensor in single precision at least."""
    tensor = tensor.detach()
    return tensor.float() if tensor.element_size() < 4 else tensor


def _prepare(
    weights: dict[str, Tensor], config: Mapping[str, Any], where: str, *, rescaled: bool
) -> dict[str, Tensor]:
    """Tensors of training checkpoints and old versions, turned into those of inference."""
    missing = [name for name in ("W_enc", "W_dec", "b_dec") if name not in weights]
    if missing:
        raise UserError(
            f"{where}: {missing[0]!r} is missing among its tensors ({', '.join(sorted(weights))})."
        )
    out = dict(weights)
    norms = out["W_dec"].norm(dim=-1).clamp_min(1e-8)
    if rescaled:  # top-k compares activations in units of the decoder norm; folding keeps that
        out["W_enc"] = out["W_enc"] * norms
        out["W_dec"] = out["W_dec"] / norms[:, None]
        if "b_enc" in out:
            out["b_enc"] = out["b_enc"] * norms
    if "log_threshold" in out:
        out["threshold"] = out.pop("log_threshold").exp()
    if "topk_threshold" in out:
        threshold = out.pop("topk_threshold").to(out["W_dec"].dtype)
        out["threshold"] = threshold.expand(len(norms)).contiguous()
    factor = out.pop("scaling_factor", out.pop("finetuning_scaling_factor", None))
    if factor is not None and bool((factor != 1).any()):
        if not config.get("finetuning_scaling_factor"):
            raise UserError(
                f"{where}: a scaling_factor tensor is there, but finetuning_scaling_factor is off. "
                "Set it to true in cfg.json if the SAE was fine-tuned, else remove the tensor."
            )
        out["W_dec"] = out["W_dec"] * factor[:, None]
    needed = _needed(config["architecture"])
    absent = [name for name in needed if name not in out]
    if absent:
        raise UserError(
            f"{where}: a {config['architecture']} SAE needs the tensor {absent[0]!r}, "
            f"found only {', '.join(sorted(weights))}."
        )
    return out


def _needed(architecture: str) -> list[str]:
    if architecture == "gated":
        return ["b_gate", "r_mag", "b_mag"]
    needed = ["b_enc"]
    if CLASSES[architecture] is JumpReLU:
        needed.append("threshold")
    return [*needed, "W_skip"] if "skip" in architecture else needed


def _fold_norm(
    weights: dict[str, Tensor], config: Mapping[str, Any], where: str, factor: float | None
) -> tuple[dict[str, Tensor], Any]:
    """Fold the training run's input scale into the weights, or refuse what cannot be folded."""
    kind = config["normalize_activations"]
    if kind in ("none", "layer_norm", "constant_norm_rescale"):
        return weights, kind
    if kind == "expected_average_only_in" and factor and math.isfinite(factor):
        folded = {"W_enc": weights["W_enc"] * factor, "W_dec": weights["W_dec"] / factor,
                  "b_dec": weights["b_dec"] / factor}  # fmt: skip
        return {**weights, **folded}, "none"
    known = ["none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "covariance_whitening"]
    if kind not in known:
        raise unknown(f"normalize_activations in {where}:", str(kind), known)
    raise UserError(
        f"{where}: normalize_activations is {kind!r} and was never folded into the weights, so raw "
        "activations would give wrong codes. Fold it in SAELens "
        f"({'fold_activation_norm_scaling_factor' if kind[0] == 'e' else 'fold_activation_whitening'}), "
        "save the SAE again, and load that."
    )


def _check_declared(config: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse a configuration whose sizes are not those of the tensors."""
    found: dict[str, int] = {}
    for name, low, high in (("W_enc", "d_in", "d_sae"), ("W_dec", "d_sae", "d_out")):
        if name in weights and weights[name].ndim == 2:
            found[low], found[high] = weights[name].shape
    for key, size in found.items():
        declared = config.get(key)
        if declared is not None and int(declared) != size:
            raise UserError(f"{where}: the configuration says {key} is {declared}, but its tensors have {size}.")


def _whole(k: Any, where: str) -> int:
    if not isinstance(k, (int, float)) or k != int(k) or k < 1:
        raise UserError(f"{where}: a top-k SAE needs a whole number k of at least 1, found {k!r}.")
    return int(k)


def not_supported(architecture: str, where: str) -> UserError:
    if architecture == "temporal":
        return UserError(
            f"{where}: a temporal SAE encodes a token from the tokens before it, which is not supported yet. "
            f"Supported: {', '.join(CLASSES)}, matching_pursuit."
        )
    return unknown(f"architecture in {where}:", architecture, [*CLASSES, "matching_pursuit"])


def from_object(obj: Any, where: str) -> Coder | None:
    """Coder of a `sae_lens` object with the equations above, or None if it is not one of them.

    The object is read, never run, so statistics that it keeps between calls cannot mix.
    """
    config = getattr(obj, "cfg", None)
    if not hasattr(config, "to_dict") or not callable(getattr(obj, "state_dict", None)):
        return None
    facts = config.to_dict()
    if facts.get("architecture") == "temporal":
        raise not_supported("temporal", where)
    if facts.get("architecture") not in CLASSES or "normalize_activations" not in facts:
        return None
    return build(facts, obj.state_dict(), where=where)


def _through_saelens(folder: Path) -> SparseCoder:
    """A checkpoint whose encoding is a procedure rather than an equation, run by SAELens."""
    from saebench.saes.probing import wrap

    try:
        from sae_lens import SAE
    except ImportError as error:
        raise UserError(f"{folder} needs SAELens to run: pip install 'saebench[saelens]' ({error}).") from error
    return wrap(SAE.load_from_disk(folder, device="cpu", dtype="float32"), name=folder.name)


def from_release(release: str, sae_id: str, *, offline: bool = False) -> Any:
    """The `sae_lens` object of SAELens' directory of pretrained SAEs.

    Raises:
        UserError: SAELens is not installed, does not know the release or the id, or cannot get it.
    """
    if offline and os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"):
        raise UserError("SAELens asks the hub even for what is cached: set HF_HUB_OFFLINE=1 for saelens: offline.")
    try:
        from sae_lens import SAE
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError as error:
        raise UserError(
            f"saelens:{release}/{sae_id} needs SAELens: pip install 'saebench[saelens]' ({error})."
        ) from error
    directory = get_pretrained_saes_directory()
    if release not in directory:
        raise unknown("SAELens release", release, directory)
    if sae_id not in directory[release].saes_map:
        raise unknown(f"SAE of SAELens release {release}:", sae_id, directory[release].saes_map)
    try:
        return SAE.from_pretrained(release, sae_id, device="cpu")
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot get saelens:{release}/{sae_id}: {error}") from error
