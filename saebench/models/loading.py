"""From a reference (directory, hub id or object) to a subject model."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saebench import hub
from saebench.data.synthetic import SCHEME
from saebench.devices import default_device, host_of, resolve_device, resolve_dtype
from saebench.errors import UserError, unknown
from saebench.models.names import hub_id
from saebench.models.subject import Subject

WORLD = ("world", "saebench-world")
"""Names of the shipped model."""
SHARD = "shard"
"""The device that stands for all of them."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SCHEME = re.compile(r"([a-z][a-z0-9_-]+):(.+)")
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load_model(
    ref: Any,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tokenizer: Any = None,
    revision: str | None = None,
    offline: bool = False,
) -> Subject:
    """Load or wrap the language model that SAEs are scored on.

    Args:
        ref: `world` (the shipped model), local directory in Hugging Face format, hub id, TransformerLens' short name,
            `synthetic:KIND?d=64&n=256` (no language model: activations with a known dictionary),
            `SCHEME:NAME` of an installed adapter (entry point group `saebench.models`), a
            transformers model, a HookedTransformer, a TransformerBridge, or a `Subject`.
        device: "auto" (CUDA if there is one, else MPS, else CPU; an object stays where it is), a device, or
            "shard": spread over all devices, then memory and disk, by accelerate's `device_map="auto"`. An
            object given with a device is moved there, in place; one that is spread stays where it is.
        dtype: "auto" (float32 on CPU, the checkpoint's own on CUDA; an object's own) or a type.
        tokenizer: Tokenizer object, or directory or hub id to load one from; by default the model's own.
        revision: Hub revision.
        offline: Never use the network; hub ids come from the local cache.

    Raises:
        UserError: The reference leads to no usable causal model, or the device is absent.
    """
    shard = str(device) == SHARD
    target = None if shard else resolve_device(device)
    wanted = resolve_dtype(dtype)
    if isinstance(tokenizer, str):
        tokenizer = _load_tokenizer(tokenizer, None, offline)
    if isinstance(ref, Subject):
        return _fitting(ref, target, wanted)
    if isinstance(ref, os.PathLike):
        ref = os.fspath(ref)
    if not isinstance(ref, str):
        return _fitting(_wrap(ref, tokenizer, target), target, wanted)
    scheme = _SCHEME.fullmatch(ref)
    if scheme and scheme.group(1) == SCHEME and not Path(ref).exists():
        from saebench.models import synthetic

        return synthetic.load(ref, device=host_of(target or default_device()), dtype=wanted)
    if scheme and not Path(ref).exists():
        return _adapt(
            scheme.group(1), ref,
            device=device, dtype=dtype, tokenizer=tokenizer, revision=revision, offline=offline,
        )  # fmt: skip
    shipped = ref in WORLD and not Path(ref).exists()
    if shipped:
        from saebench.data.world import MODEL_DIR

        ref = os.fspath(MODEL_DIR)
    elif not Path(ref).expanduser().exists():
        ref = hub_id(ref)
    model, name = _load(ref, None if shard else target or default_device(), wanted, revision, offline)
    if tokenizer is None:
        tokenizer = _own_tokenizer(ref, revision, offline)
    return _hugging_face(model, WORLD[0] if shipped else name, tokenizer)


# objects


def _wrap(model: Any, tokenizer: Any, target: torch.device | None) -> Subject:
    """Wrap a model object, recognised by its class without importing libraries it does not come from."""
    from saebench.models.tlens import HookedSubject

    model = getattr(model, "_orig_mod", model)  # torch.compile
    if type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
        model = model.module
    ancestors = {base.__name__ for base in type(model).__mro__}
    if "TransformerBridge" in ancestors:
        tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
        model = model.original_model
        if getattr(model, "config", None) is None:
            raise UserError("This TransformerBridge wraps no transformers model: build it with boot_transformers.")
    if not isinstance(model, nn.Module):
        raise UserError(
            f"Cannot use {type(model).__name__!r} as a model: give a directory, a hub id, a transformers model, "
            "a HookedTransformer or a TransformerBridge."
        )
    if target is not None and not _same_device(next(model.parameters()).device, target):
        if getattr(model, "hf_device_map", None):
            raise UserError(
                f"{type(model).__name__} is spread over devices by its device_map: leave device at 'auto', or load it "
                f"on {target}."
            )
        model.to(target)
    if "HookedTransformer" in ancestors:
        config: Any = model.cfg
        return HookedSubject(model, str(config.model_name or type(model).__name__), tokenizer)
    if not hasattr(model, "get_input_embeddings"):
        raise UserError(f"{type(model).__name__} is not a transformers causal language model.")
    path = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
    name = (Path(path).name if Path(path).is_dir() else path) or type(model).__name__
    if tokenizer is None and path:
        tokenizer = _own_tokenizer(path, None, offline=True)
    return _hugging_face(model, name, tokenizer)


def _fitting(subject: Subject, target: torch.device | None, dtype: torch.dtype | None) -> Subject:
    if target is not None and not _same_device(subject.runs_on, target):
        raise UserError(f"{subject.name} is on {subject.runs_on}, not on {target}: load it there.")
    if dtype is not None and subject.dtype != dtype:
        raise UserError(
            f"{subject.name} is in {subject.dtype}, not in {dtype}: convert it with model.to({dtype}) before it is "
            "given, or give its directory or hub id."
        )
    return subject


def _same_device(a: torch.device, b: torch.device) -> bool:
    return a.type == b.type and (b.index is None or a.index == b.index)


def _hugging_face(model: nn.Module, name: str, tokenizer: Any) -> Subject:
    from saebench.models.hf import HFSubject

    revision = getattr(getattr(model, "config", None), "_commit_hash", None)
    return HFSubject(model, name, tokenizer, revision)


# references


def _adapt(scheme: str, ref: str, **options: Any) -> Subject:
    """Load through an installed adapter: a function of the reference and `load_model`'s options."""
    adapters = {entry.name: entry for entry in entry_points(group="saebench.models")}
    if scheme not in adapters:
        raise unknown("kind of model reference", f"{scheme}:", [f"{name}:" for name in adapters])
    return adapters[scheme].load()(ref, **options)


def _load(
    ref: str, device: torch.device | None, dtype: torch.dtype | None, revision: str | None, offline: bool
) -> tuple[nn.Module, str]:
    """A model in evaluation mode on a device, or spread over all of them for None, and its name."""
    source, name = _locate(ref)
    kind: Any = dtype or (torch.float32 if (device or default_device()).type == "cpu" else "auto")
    spread = {} if device is not None else {"device_map": "auto"}
    try:
        with _without_weight_bar(), _asking(source, offline):
            loaded: Any = _class_of(source, revision, offline).from_pretrained(
                source, revision=revision, local_files_only=offline, dtype=kind, output_loading_info=True, **spread
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, _safetensors_error()) as error:
        why = hub.reason(error, offline=offline)
        if not Path(source).is_dir():
            why = f"it is no local directory, and: {why}{_beside(ref)}"
        raise UserError(f"Cannot load a causal language model from {ref!r}: {why}") from error
    model, info = loaded
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise UserError(
            f"Checkpoint {ref!r} lacks {len(missing)} weights of {type(model).__name__}, such as {missing[0]!r}: "
            "they would be random. Save the whole causal model."
        )
    return (model if device is None else model.to(device)).eval().requires_grad_(False), name


def _beside(ref: str) -> str:
    """A model's directory whose name is nearly this, as a question; "" where there is none."""
    path = Path(ref).expanduser()
    models = [file.parent.name for file in path.parent.glob("*/config.json")]
    close = difflib.get_close_matches(path.name, models, n=1)
    return f" Did you mean {str(path.with_name(close[0]))!r}?" if close else ""


def _class_of(source: str, revision: str | None, offline: bool) -> Any:
    """The class that loads a model: a causal one, or for images and text where there is no causal one (LLaVA)."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING as causal
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as seeing

    config = type(AutoConfig.from_pretrained(source, revision=revision, local_files_only=offline))
    return AutoModelForImageTextToText if config in seeing and config not in causal else AutoModelForCausalLM


@contextmanager
def _without_weight_bar() -> Iterator[None]:
    """transformers' bar over weights hidden, as a run has a progress of its own; downloads keep theirs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _asking(source: str, offline: bool) -> AbstractContextManager[None]:
    """A directory needs no hub."""
    return nullcontext() if Path(source).is_dir() else hub.asking(offline=offline)


def _locate(ref: str) -> tuple[str, str]:
    """Where to load from, and the model's name."""
    path = Path(ref).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"Directory {ref!r} has no config.json, so it is not a model in Hugging Face format.")
        return str(path), path.resolve().name
    if path.is_file():
        raise UserError(f"{ref!r} is a file: give the directory that holds config.json and the weights.")
    if not _HUB_ID.fullmatch(ref):
        raise UserError(
            f"There is no model directory {ref!r}, and it is not a hub id such as 'gpt2' or 'owner/name'.{_beside(ref)}"
        )
    return ref, ref


def _own_tokenizer(ref: str, revision: str | None, offline: bool) -> Any:
    """The tokenizer that lies beside a model, or None."""
    path = Path(ref).expanduser()
    if path.is_dir() and not any((path / name).is_file() for name in _TOKENIZERS):
        return None
    try:
        return _load_tokenizer(str(path) if path.is_dir() else ref, revision, offline)
    except UserError:
        return None


def _load_tokenizer(ref: str, revision: str | None, offline: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        with _asking(ref, offline):
            return AutoTokenizer.from_pretrained(ref, revision=revision, local_files_only=offline)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(f"Cannot load a tokenizer from {ref!r}: {str(error).strip().splitlines()[0]}") from error


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
