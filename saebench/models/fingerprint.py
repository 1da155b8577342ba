"""A content hash of weights: equal weights give equal hashes, however they were loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

_CHUNK = 1 << 22
"""Elements hashed at a time, so that a large tensor needs little extra memory."""


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits of blake2b over the sorted names, shapes and values.

    Half-precision values are hashed as float32, which holds them exactly: a half-precision
    checkpoint has one hash whether it was loaded in half or in single precision, while weights that
    were rounded to half precision have another. Device, tying and file layout do not matter. Names
    count as the model's class gives them, without the prefixes of wrappers that leave the weights
    alone (`torch.compile`).
    """
    unique: dict[tuple[Any, ...], Tensor] = {}
    keys: dict[str, tuple[Any, ...]] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        keys[name] = key
        unique[key] = tensor
    with ThreadPoolExecutor(2) as pool:
        digests = dict(zip(unique, pool.map(_digest, unique.values()), strict=True))
    total = hashlib.blake2b(digest_size=8)
    for name, key in sorted((_bare(name), key) for name, key in keys.items()):
        total.update(f"{name}\0{key[2]}\0".encode() + digests[key])
    return total.hexdigest()


def _bare(name: str) -> str:
    return name.replace("_orig_mod.", "")


def _digest(tensor: Tensor) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), _CHUNK):
        digest.update(_plain(flat[start : start + _CHUNK]))
    return digest.digest()


def _plain(chunk: Tensor) -> Any:
    """Bytes of a flat tensor on the host, floating values of 32 bits or fewer as float32."""
    if chunk.is_floating_point() and chunk.dtype != torch.float64:
        chunk = chunk.to(torch.float32)
    return chunk.cpu().contiguous().view(torch.uint8).numpy()
