"""SAELens: its disk format, its configurations old and new, its objects and its directory."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench import hub
from saebench.errors import UserError, unknown
from saebench.saes import temporal
from saebench.saes.architectures import AbsTopK, JumpReLU, TopK
from saebench.saes.building import of_each, single
from saebench.saes.coder import Coder
from saebench.saes.files import read_json, read_tensors
from saebench.saes.formats import Format
from saebench.saes.gate import admit
from saebench.saes.hook_names import AMBIGUOUS, hook_of_module
from saebench.saes.layered import Layered
from saebench.saes.processing import NOTE, with_processing
from saebench.saes.protocol import SparseCoder
from saebench.saes.saelens_config import CLASSES, check_declared, facts, modern, not_supported, whole

CONFIG = "cfg.json"
WEIGHTS = ("sae_weights.safetensors", "sae_weights.pt")
SCALER = "activation_scaler.json"


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
    if architecture == "temporal":
        return temporal.build(config, tensors, where)
    if architecture not in CLASSES:
        raise not_supported(architecture, where)
    weights = {name: single(t) for name, t in tensors.items()}
    check_declared(config, weights, where)
    rescaled = bool(config.get("rescale_acts_by_decoder_norm"))
    weights = _prepare(weights, config, where, rescaled=rescaled)
    weights, normalise = _fold_norm(weights, config, where, scaling_factor)
    normalise = with_processing(config["metadata"], normalise, where)
    kind = CLASSES[architecture]
    fields: dict[str, Any] = {name: weights[name] for name in kind.__dataclass_fields__ if name in weights}
    if kind in (TopK, AbsTopK):
        fields["k"] = whole(config.get("k"), where)
    trained_as = config["metadata"].get("training_architecture")
    (hook_in, hook_out), doubts = _hooks(config["metadata"])
    coder = kind(
        **fields,
        centred=bool(config.get("apply_b_dec_to_input", "transcoder" not in architecture)),
        normalise=normalise,
        restore="transcoder" not in architecture,
        architecture=trained_as if trained_as in CLASSES else architecture,
        hook_in=hook_in,
        hook_out=hook_out,
        metadata=facts(config),
        warnings=[*([NOTE] if normalise == "zero_mean" else []), *doubts],
    )
    return admit(coder, where)


def _hooks(metadata: Mapping[str, Any]) -> tuple[tuple[str, str], list[str]]:
    """Input and output hook, by the transformers module where one is named that is known, and warnings.

    TransformerLens' names leave open whether `hook_mlp_in` is before the norm or after it; a module's name does not.
    """
    found, doubts = [], []
    for end in ("", "_out"):
        told, module = (str(metadata.get(f"{name}{end}") or "") for name in ("hook_name", "hf_hook_name"))
        meant = hook_of_module(module) if module else ""
        if meant and told and told != meant and told.rpartition(".")[2] not in AMBIGUOUS:
            doubts.append(f"hook_name{end} is {told}, but hf_hook_name{end} is {module}: it is scored at {meant}")
        found.append(meant or told)
    return (found[0], found[1] or found[0]), doubts


def _prepare(weights: dict[str, Tensor], config: Mapping[str, Any], where: str, *, rescaled: bool) -> dict[str, Tensor]:
    """Tensors of training checkpoints and old versions, turned into those of inference."""
    missing = [name for name in ("W_enc", "W_dec", "b_dec") if name not in weights]
    if missing:
        raise UserError(f"{where}: {missing[0]!r} is missing among its tensors ({', '.join(sorted(weights))}).")
    out = dict(weights)
    if rescaled:  # top-k compares activations in units of the decoder norm; folding keeps that
        norms = out["W_dec"].norm(dim=-1).clamp_min(1e-8)
        out["W_enc"] = out["W_enc"] * norms
        out["W_dec"] = out["W_dec"] / norms[:, None]
        if "b_enc" in out:
            out["b_enc"] = out["b_enc"] * norms
    if "log_threshold" in out:
        out["threshold"] = out.pop("log_threshold").exp()
    if "topk_threshold" in out:
        threshold = out.pop("topk_threshold").to(out["W_dec"].dtype)
        out["threshold"] = of_each(threshold, len(out["W_dec"]))
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


def from_object(obj: Any, where: str) -> Coder | None:
    """Coder of a `sae_lens` object with the equations above, or None if it is not one of them.

    The object is read, never run, so statistics that it keeps between calls cannot mix.
    """
    config: Any = getattr(obj, "cfg", None)
    if not hasattr(config, "to_dict") or not callable(getattr(obj, "state_dict", None)):
        return None
    declared = config.to_dict()
    if declared.get("architecture") not in (*CLASSES, "temporal") or "normalize_activations" not in declared:
        return None
    return build(declared, obj.state_dict(), where=where)


def in_training(obj: Any, where: str, *, scale: float | None = None) -> Coder | None:
    """The coder that a training SAE of `sae_lens` would be saved as, or None if the object is not one.

    Args:
        obj: Any object; it is copied, and left as it is.
        where: Its name in messages.
        scale: Factor that the trainer multiplies activations by before the SAE sees them; folded into the weights.
    """
    if not hasattr(obj, "process_state_dict_for_saving_inference") or not hasattr(obj, "cfg"):
        return None
    copied = copy.deepcopy(obj)
    if scale is not None:
        copied.fold_activation_norm_scaling_factor(scale)
    weights = copied.state_dict()
    copied.process_state_dict_for_saving_inference(weights)
    coder = build(copied.cfg.get_inference_sae_cfg_dict(), weights, where=where)
    return coder.replace(ref=f"object:{type(obj).__name__}", name=where)


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
    entry = directory[release]
    if sae_id not in entry.saes_map:
        raise unknown(f"SAE of SAELens release {release}:", sae_id, entry.saes_map)
    repo, path = entry.repo_id, str(entry.saes_map[sae_id])
    if "clt" in str(entry.conversion_func) or "clt" in path:
        whole_one = "/".join([repo, *path.split("/")[:-1]])
        raise UserError(
            f"saelens:{release}/{sae_id} is one layer of a cross-layer transcoder. SAELens adds up what it writes to "
            f"all later layers, so it reconstructs none of them. Name the whole, which is scored layer by layer: "
            f"hf:{whole_one}, or at:HOOK@hf:{whole_one} for one of them."
        )
    try:
        with hub.asking(offline=offline), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how to load the model, which is done here
            return SAE.from_pretrained(release, sae_id, device="cpu")
    except (*hub.failures(), RuntimeError, TypeError, KeyError, AttributeError) as error:
        held = _held(
            f"{repo}/{path}"
        )  # SAELens asks the hub for sizes of what is in the cache, and knows fewer tensors
        if held is not None:
            return held
        raise UserError(f"Cannot get saelens:{release}/{sae_id}: {hub.reason(error, offline=offline)}") from error


def _held(ref: str) -> SparseCoder | Layered | None:
    """The coder of a repository's folder or file that is in the cache, by this package's own readers, or None."""
    from saebench.saes.formats import load_path
    from saebench.saes.hub import fetch

    try:
        path, commit = fetch(ref, offline=True)
        coder = load_path(path)
    except UserError:
        return None
    coder.metadata["revision"] = commit
    return coder
