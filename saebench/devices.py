"""Names of devices and precisions, as a user writes them, to torch's own."""

from __future__ import annotations

import torch

from saebench.errors import UserError, unknown

_DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "float": torch.float32,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16, "half": torch.float16,
    "float64": torch.float64, "double": torch.float64,
}  # fmt: skip


def resolve_device(device: str | torch.device) -> torch.device | None:
    """The device asked for, or None for "auto".

    Raises:
        UserError: No such device here.
    """
    if str(device) == "auto":
        return None
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise unknown("device", str(device), ("auto", "cpu", "cuda", "cuda:0", "mps", "shard")) from error
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise UserError(
            f"Device {str(device)!r} was asked for, but {f'there are only {found}' if found else 'there is no'} "
            "CUDA device here: use device='cpu' or 'auto'."
        )
    if target.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("Device 'mps' was asked for, but is not available here: use device='cpu' or 'auto'.")
    return target


def default_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def host_of(device: torch.device) -> torch.device:
    """Where sums over what a device computes are taken: there, or on the CPU where it has no float64 (Apple's MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    """The precision asked for, or None for "auto".

    Raises:
        UserError: No such precision.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return None
    if dtype not in _DTYPES:
        raise unknown("dtype", dtype, ("auto", *_DTYPES))
    return _DTYPES[dtype]
