"""Any weights, described by a small `saebench.yaml` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.building import scalar
from saebench.saes.checkpoint import weight_files
from saebench.saes.coder import Coder, Normalisation
from saebench.saes.files import read_tensors
from saebench.saes.formats import Format
from saebench.saes.gate import admit
from saebench.saes.orient import by_alias, oriented
from saebench.saes.overcomplete import fused, is_overcomplete
from saebench.saes.styles import Style, style
from saebench.yamlfile import invalid, read_keys

NAME = "saebench.yaml"


class Description(BaseModel):
    """What a `saebench.yaml` may say; everything but the architecture may be left out where it is not needed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    architecture: str
    weights: str | None = None
    hook: str | None = None
    model: str | None = None
    subtract_b_dec: bool | None = None
    normalise: Normalisation = "none"
    input_scale: float = Field(1.0, gt=0)
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


def load(path: Path) -> Coder:
    """Coder of weights and their description.

    Raises:
        UserError: An unknown key, architecture or tensor; what the tensors leave open and the description does not say.
    """
    file = _file(path)
    assert file is not None
    told = describe(file)
    weights = _weights(file, path, told)
    kind = style(told.architecture, str(file))
    return build(told, kind, read_tensors(weights), where=str(weights))


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
    named = by_alias(tensors, told.tensors, told.ignore, where)
    if "k" in named:
        told = told.model_copy(update={"k": told.k or int(scalar(named.pop("k")))})
    if told.threshold is not None:
        named["threshold"] = torch.tensor([told.threshold])
    weights = kind.complete(oriented(named, told.transposed, where), where)
    if told.decoder_rows == "unit norm":
        weights["W_dec"] = weights["W_dec"] / weights["W_dec"].norm(dim=1, keepdim=True).clamp_min(1e-12)
    if told.input_scale != 1:
        weights = _scaled(weights, told.input_scale)
    hook_in, arrow, hook_out = (part.strip() for part in (told.hook or "").partition("->"))
    coder = kind.cls(
        **weights, **kind.settings(told.k, told.options, where), centred=_centred(told, weights, where),
        normalise=told.normalise, architecture=told.architecture, hook_in=hook_in,
        hook_out=hook_out if arrow else hook_in, metadata=_facts(told), warnings=list(kind.warnings),
    )  # fmt: skip
    return admit(coder, where)


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


def _centred(told: Description, weights: Mapping[str, Tensor], where: str) -> bool:
    if told.subtract_b_dec is not None:
        return told.subtract_b_dec
    if bool((weights["b_dec"] != 0).any()):
        raise UserError(
            f"{where}: b_dec is not zero, so saebench.yaml must say whether it is subtracted from the input before "
            "encoding: `subtract_b_dec: true` (most SAEs) or `subtract_b_dec: false` (Gemma Scope, transcoders)."
        )
    return False


def _facts(told: Description) -> dict[str, Any]:
    facts = {"model_name": told.model, "k": told.k, "l0": told.l0, **told.metadata}
    return {key: value for key, value in facts.items() if value is not None}


FORMAT = Format("plain", f"{NAME} beside weights of any names", detect, load)
