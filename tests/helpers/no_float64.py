"""A device that is not there: tensors that say they lie on MPS, are computed on the CPU, and refuse float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

MPS = torch.device("mps:0")


class Away(Tensor):
    """A tensor on the device; its values are `inner`, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Away:
        """Say that a CPU tensor lies on the device."""
        if inner.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64: the MPS framework does not support it.")
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device="meta", requires_grad=inner.requires_grad,
        )  # fmt: skip
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where it says it lies."""
        return MPS

    @property
    def is_meta(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """No, though torch holds it for one."""
        return False

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute with the values; what comes out lies where the inputs lie, or where it is asked for."""
        return on_device(func, args, kwargs or {})

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"Away({self.inner!r})"


def on_device(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation with some tensors on the device."""
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    away = [x for x in given if isinstance(x, Away)]
    mixed = away and any(not isinstance(x, Away) and x.ndim for x in given)
    if mixed and func is not torch.ops.aten.copy_.default and not str(func).startswith("aten.index"):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found MPS and CPU in {func}.")
    asked = kwargs.get("device")
    there = bool(away) if asked is None else torch.device(asked).type in ("mps", "meta")  # meta: as torch sees it
    plain = tree_map(lambda x: x.inner if isinstance(x, Away) else x, (args, kwargs))
    if asked is not None:
        plain[1]["device"] = torch.device("cpu")
    out = func(*plain[0], **plain[1])
    if func is torch.ops.aten.copy_.default or str(func).split(".")[1].endswith("_"):
        return args[0]
    return tree_map(lambda x: Away(x) if isinstance(x, Tensor) and there else x, out)


class _Moves(TorchDispatchMode):
    """Sends what is made on the device, or moved to it, there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_device(func, args, kwargs or {})


@contextmanager
def device() -> Iterator[torch.device]:
    """The device while it is there."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with patch("torch.backends.mps.is_available", lambda: True), _Moves():
            yield MPS
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
