"""SAEs that were trained end to end, as Apollo's e2e_sae saves them (Braun et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.architectures import ReLU
from saebench.saes.building import layer_names, renamed, said
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.gate import admit
from saebench.saes.layered import Layered
from saebench.yamlfile import read_keys

_ENCODER = ".encoder.0.weight"
_PUBLISHED, _TRAINED = layer_names("encoder", "decoder"), layer_names("encoder.0", "decoder")


def marks(checkpoint: Checkpoint) -> bool:
    """Whether there is one dictionary and its YAML, or one for each place (`blocks-6-hook_mlp_out.decoder.weight`)."""
    return bool(_places(checkpoint)) or (
        set(checkpoint.shapes) == set(_PUBLISHED.values()) and bool(positions(checkpoint))
    )


def positions(checkpoint: Checkpoint) -> list[str]:
    """The hooks that the run's YAML names under `saes: sae_positions`, none where there is no such file.

    Raises:
        UserError: Something else stands there.
    """
    told = _settings(checkpoint.weights).get("saes")
    named = told.get("sae_positions") if isinstance(told, dict) else None
    listed = [named] if isinstance(named, str) else named or []
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise UserError(f"{checkpoint.where}: sae_positions in its configuration must be hooks, found {named!r}.")
    return listed


def build(checkpoint: Checkpoint) -> Coder | Layered:
    """f = relu(W x + b), y = f D + c, the rows of D divided by their norm; a file of several places has one for each.

    What is published is one dictionary, its rows of norm 1, beside the run's configuration (`NAME.yaml`).

    Raises:
        UserError: One dictionary and several places; tensors that are not those of the library.
    """
    where, places = checkpoint.where, _places(checkpoint)
    tensors = checkpoint.tensors()
    if places:
        made = {hook: _coder(_within(tensors, key), _TRAINED, hook, checkpoint) for hook, key in places.items()}
        return Layered(tuple(made), made.__getitem__) if len(made) > 1 else next(iter(made.values()))
    hooks = positions(checkpoint)
    if len(hooks) != 1:
        raise UserError(
            f"{where}: its configuration names {len(hooks)} places ({', '.join(hooks)}), but it holds one SAE."
        )
    return _coder(tensors, _PUBLISHED, hooks[0], checkpoint)


def _coder(tensors: Mapping[str, Tensor], names: Mapping[str, str], hook: str, checkpoint: Checkpoint) -> Coder:
    weights = renamed(tensors, names, checkpoint.where, transposed=("W_enc", "W_dec"))
    weights["W_dec"] = weights["W_dec"] / weights["W_dec"].norm(dim=1, keepdim=True).clamp_min(1e-12)
    told = _settings(checkpoint.weights)
    coder = ReLU(
        **weights, architecture="e2e", hook_in=hook, hook_out=hook,
        metadata=said(model_name=told.get("tlens_model_name"), seed=told.get("seed")),
    )  # fmt: skip
    return admit(coder, checkpoint.where)


def _places(checkpoint: Checkpoint) -> dict[str, str]:
    """The key of each dictionary in the file, by its hook; keys have hyphens where hooks have dots."""
    keys = [name.removesuffix(_ENCODER) for name in checkpoint.shapes if name.endswith(_ENCODER)]
    return {
        key.replace("-", "."): key for key in keys if checkpoint.has(*(f"{key}.{own}" for own in _TRAINED.values()))
    }


def _within(tensors: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{key}."): tensors[name] for name in tensors if name.startswith(f"{key}.")}


def _settings(weights: Path) -> Mapping[str, Any]:
    """The configuration of the run: `final_config.yaml` beside the weights, or the YAML of the same name."""
    files = (weights.with_suffix(".yaml"), weights.with_name("final_config.yaml"))
    file = next((file for file in files if file.is_file()), None)
    return {} if file is None else read_keys(file, "configuration", "saes")


FORMAT = by_contents("e2e_sae", "a .pt beside the run's YAML, with saes: sae_positions", marks, build)
