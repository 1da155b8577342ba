"""Any weights, described by a small `saebench.yaml` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.building import of_each, said, scalar
from saebench.saes.checkpoint import weight_files
from saebench.saes.coder import Coder, Normalisation
from saebench.saes.crosscoder import crosscoder
from saebench.saes.ensembles import KINDS, Ensemble, ensemble
from saebench.saes.files import read_tensors
from saebench.saes.formats import Format
from saebench.saes.gate import admit
from saebench.saes.layered import Layered, many, parted
from saebench.saes.orient import by_alias, oriented
from saebench.saes.overcomplete import fused, is_overcomplete
from saebench.saes.protocol import SparseCoder
from saebench.saes.styles import Style, style
from saebench.yamlfile import invalid, read_keys

NAME = "saebench.yaml"


class Description(BaseModel):
    """What a `saebench.yaml` may say; everything but the architecture may be left out where it is not needed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    architecture: str
    weights: str | None = None
    members: list[str] = []
    hook: str | list[str] | None = None
    model: str | None = None
    subtract_b_dec: bool | None = None
    normalise: Normalisation | None = None
    input_scale: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] = 1.0
    decoder_rows: Literal["as stored", "unit norm"] = "as stored"
    tensors: dict[str, str] = {}
    transposed: list[str] | None = None
    ignore: list[str] = []
    k: int | None = None
    threshold: float | None = None
    delta: float = Field(1.0, gt=0)
    l0: float | None = None
    options: dict[str, float | int | str | bool] = {}
    metadata: dict[str, Any] = {}


def detect(path: Path) -> bool:
    """Whether there is a description: the folder's, the one beside a file, or the file itself."""
    return _file(path) is not None


def load(path: Path) -> SparseCoder | Layered:
    """Coder of weights and their description, or what makes one at each of several hooks.

    Raises:
        UserError: An unknown key, architecture or tensor; what the tensors leave open and the description does not say.
    """
    file = _file(path)
    assert file is not None
    told = describe(file)
    if told.members or told.architecture in KINDS:
        return cast("SparseCoder", _together(told, file))
    kind = style(told.architecture, str(file))
    weights = _weights(file, path, told)
    if kind.layers:
        return _crosscoder(told, kind, read_tensors(weights), where=str(weights))
    coder = build(told, kind, read_tensors(weights), where=str(weights))
    return many(coder, told.hook) if isinstance(told.hook, list) else coder


def describe(file: Path) -> Description:
    """The description in a file, checked.

    Raises:
        UserError: Not YAML, an unknown key, or a value of another type.
    """
    raw = read_keys(file, "SAE description", "architecture")
    try:
        return Description.model_validate(raw)
    except ValidationError as error:
        raise invalid(error, str(file), lambda _: Description.model_fields) from error


def build(told: Description, kind: Style, tensors: Mapping[str, Tensor], *, where: str) -> Coder:
    """Coder of tensors under any usual name and either orientation."""
    if is_overcomplete(tensors):
        tensors = fused(tensors, told.delta)
    named = _named(told, kind, tensors, where)
    k = told.k or scalar(named.pop("k", None))
    weights = kind.complete(oriented(named, told.transposed, where), where)
    if told.decoder_rows == "unit norm" or kind.unit_rows:
        weights["W_dec"] = weights["W_dec"] / weights["W_dec"].norm(dim=1, keepdim=True).clamp_min(1e-12)
    if isinstance(told.input_scale, list):
        raise UserError(f"{where}: input_scale is one number, but for a crosscoder, which may have one for each hook.")
    if told.input_scale != 1:
        weights = _scaled(weights, told.input_scale)
    hook_in, hook_out = parted(told.hook) if isinstance(told.hook, str) else ("", "")
    coder = kind.cls(
        **weights, **kind.settings(k, told.options, where), centred=_centred(told, kind, weights, where),
        normalise=told.normalise or kind.normalise, architecture=told.architecture, hook_in=hook_in,
        hook_out=hook_out, metadata=_facts(told, k), warnings=list(kind.warnings),
    )  # fmt: skip
    return admit(coder, where)


def _named(told: Description, kind: Style, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors by our names, with the threshold that the description gives."""
    named = by_alias(tensors, told.tensors, [*told.ignore, *kind.unused], where)
    return named if told.threshold is None else {**named, "threshold": torch.tensor([told.threshold])}


def _crosscoder(told: Description, kind: Style, tensors: Mapping[str, Tensor], *, where: str) -> Layered:
    if not isinstance(told.hook, list):
        raise UserError(
            f"{where}: a crosscoder has several hooks: list them under `hook:`, in the order of its tensors."
        )
    if told.subtract_b_dec or told.normalise or told.decoder_rows == "unit norm":
        raise UserError(
            f"{where}: a crosscoder with subtract_b_dec, normalise or unit rows is not known: fold them in."
        )
    named = _named(told, kind, tensors, where)
    k = told.k or scalar(named.pop("k", None))
    if "log_threshold" in named:
        named["threshold"] = named.pop("log_threshold").exp()
    weights = kind.complete(named, where)
    if "threshold" in weights:
        weights["threshold"] = of_each(weights["threshold"], len(weights["b_enc"]))
    make = partial(kind.cls, **kind.settings(k, told.options, where), architecture=told.architecture)
    made = crosscoder(weights, told.hook, make, scales=told.input_scale, transposed=told.transposed or (), where=where)
    return made.replace(metadata=_facts(told, k))


def _together(told: Description, file: Path) -> Ensemble:
    """The ensemble of the SAEs that a description names, by paths from its folder, or of the world."""
    from saebench.saes.loading import load_sae

    if told.architecture not in KINDS:
        raise UserError(
            f"{file}: members are joined by `architecture: bagged` or `boosted`, not {told.architecture!r}."
        )
    if isinstance(told.hook, list):
        raise UserError(f"{file}: an ensemble belongs to one hook, found {len(told.hook)}.")
    refs = [member if member.startswith("world:") else _member(member, file) for member in told.members]
    loaded = [load_sae(ref, hook=told.hook, device="cpu") for ref in refs]
    reads = str(told.options.get("reads", "error"))
    made = ensemble(loaded, cast("Any", told.architecture), reads=reads, where=str(file))
    return made.replace(metadata={**made.metadata, **_facts(told, None)})


def _member(member: str, file: Path) -> str:
    path = file.parent / member
    if not path.exists() or file.resolve().is_relative_to(path.resolve()):
        raise UserError(f"{file}: the member {member!r} is no other file or folder that lies at {path}.")
    return str(path)


def _file(path: Path) -> Path | None:
    if path.is_dir():
        return path / NAME if (path / NAME).is_file() else None
    if path.name == NAME:
        return path if path.is_file() else None
    beside = path.parent / NAME
    return beside if path.is_file() and beside.is_file() else None


def _weights(file: Path, path: Path, told: Description) -> Path:
    if told.weights:
        if path.is_file() and path.name not in (NAME, told.weights):
            raise UserError(f"{file} describes {told.weights}, not {path.name}: give each SAE a folder of its own.")
        if not (file.parent / told.weights).is_file():
            raise UserError(f"{file}: weights is {told.weights!r}, but there is no such file beside it.")
        return file.parent / told.weights
    if path.is_file() and path != file:
        return path
    found = weight_files(file.parent)
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise UserError(f"{file}: say which file holds the weights (`weights: NAME`); beside it are: {names}.")
    return found[0]


def _scaled(weights: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights for activations that the SAE saw multiplied by a number, folded in on both sides."""
    if "W_enc" not in weights:
        raise UserError("input_scale can only be folded into an encoder matrix, and this architecture has none.")
    folded = {"W_enc": weights["W_enc"] * scale, "W_dec": weights["W_dec"] / scale, "b_dec": weights["b_dec"] / scale}
    return {**weights, **folded}


def _centred(told: Description, kind: Style, weights: Mapping[str, Tensor], where: str) -> bool:
    if told.subtract_b_dec is not None:
        return told.subtract_b_dec
    if kind.centred is not None:
        return kind.centred
    if bool((weights["b_dec"] != 0).any()):
        raise UserError(
            f"{where}: b_dec is not zero, so saebench.yaml must say whether it is subtracted from the input before "
            "encoding: `subtract_b_dec: true` (most SAEs) or `subtract_b_dec: false` (Gemma Scope, transcoders)."
        )
    return False


def _facts(told: Description, k: int | None) -> dict[str, Any]:
    return said(**{"model_name": told.model, "k": None if k is None else int(k), "l0": told.l0, **told.metadata})


FORMAT = Format("plain", f"{NAME} beside weights of any names", detect, load)
