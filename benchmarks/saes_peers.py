"""The encoders of SAELens, dictionary_learning and sparsify on given weights, those that are installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Encode = Callable[[Tensor], Any]
Weights = dict[str, Tensor]
"""`W_enc [d, F]`, `W_dec [F, d]`, `b_enc`, `b_dec`, and what the architecture adds: `threshold`, `b_gate` ..."""

PACKAGES = {"SAELens": "sae-lens", "dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}
"""What each library is called on PyPI."""


def versions() -> dict[str, str]:
    """Version of each library that is installed."""
    found = {}
    for name, package in PACKAGES.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(package)
    return found


def encoders(architecture: str, weights: Weights, k: int) -> dict[str, Encode]:
    """The encoders of the installed libraries that have the architecture, by library.

    SAELens keeps a BatchTopK SAE as JumpReLU with one threshold; dictionary_learning has a class for it.
    """
    known = versions()
    built = {}
    if "SAELens" in known:
        built["SAELens"] = _sae_lens(architecture, weights, k)
    if "dictionary_learning" in known:
        built["dictionary_learning"] = _dictionary_learning(architecture, weights, k)
    if "sparsify" in known and architecture == "topk":
        built["sparsify"] = _sparsify(weights, k)
    return built


def _sae_lens(architecture: str, weights: Weights, k: int) -> Encode:
    from sae_lens import SAE

    d, latents = weights["W_enc"].shape
    kind = "jumprelu" if architecture == "batchtopk" else architecture
    config: dict[str, Any] = {"architecture": kind, "d_in": d, "d_sae": latents, "dtype": "float32", "device": "cpu",
                              "apply_b_dec_to_input": architecture != "jumprelu"}  # fmt: skip
    sae = SAE.from_dict(config | ({"k": k} if kind == "topk" else {}))
    sae.load_state_dict({name: weights[name] for name in sae.state_dict()})
    return sae.eval().encode


def _dictionary_learning(architecture: str, weights: Weights, k: int) -> Encode:
    where, name, options = {
        "standard": ("dictionary", "AutoEncoder", {}),
        "gated": ("dictionary", "GatedAutoEncoder", {}),
        "jumprelu": ("dictionary", "JumpReluAutoEncoder", {}),
        "topk": ("trainers.top_k", "AutoEncoderTopK", {"k": k}),
        "batchtopk": ("trainers.batch_top_k", "BatchTopKSAE", {"k": k}),
    }[architecture]
    kind = getattr(_module("dictionary_learning", where), name)
    with contextlib.redirect_stdout(io.StringIO()):
        sae = kind(*weights["W_enc"].shape, **options)
    own = {
        "encoder.weight": weights["W_enc"].T, "encoder.bias": weights.get("b_enc"),
        "decoder.weight": weights["W_dec"].T, "bias": weights["b_dec"], "decoder_bias": weights["b_dec"],
        "gate_bias": weights.get("b_gate"), "mag_bias": weights.get("b_mag"), "k": torch.tensor(k), **weights,
    }  # fmt: skip
    if architecture == "batchtopk":
        own["threshold"] = weights["threshold"][0]
    state = {name: own[name] for name in sae.state_dict() if own.get(name) is not None}
    sae.load_state_dict(state, strict=architecture != "topk")  # its threshold is for another use
    return sae.eval().encode


def _sparsify(weights: Weights, k: int) -> Encode:
    config = _module("sparsify", "config")
    with contextlib.redirect_stdout(io.StringIO()):
        coder = _module("sparsify", "sparse_coder")
    d, latents = weights["W_enc"].shape
    sae = coder.SparseCoder(d, config.SparseCoderConfig(num_latents=latents, k=k))
    sae.load_state_dict({"encoder.weight": weights["W_enc"].T, "encoder.bias": weights["b_enc"],
                         "W_dec": weights["W_dec"], "b_dec": weights["b_dec"]})  # fmt: skip
    return sae.eval().encode


def _module(package: str, name: str) -> Any:
    """A module of a package whose own `__init__` is passed over: it imports what only training needs."""
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations is not None
        bare = types.ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules[package] = bare
    return importlib.import_module(f"{package}.{name}")
