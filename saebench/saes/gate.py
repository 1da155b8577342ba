"""What a coder must pass before it is scored: a clear error, or a warning that stays on its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.building import check_fractions
from saebench.saes.coder import Coder
from saebench.saes.codes import Codes
from saebench.saes.protocol import SparseCoder

FAR = 2.0
"""Ratio of measured to declared L0, either way, that draws a warning."""


def check_finite(tensors: Mapping[str, Tensor], where: str, sums: Mapping[str, Tensor] = MappingProxyType({})) -> None:
    """Refuse weights with NaN or infinity.

    Args:
        tensors: By name.
        where: What to call the checkpoint in an error.
        sums: What is known of some of them and is finite only where every entry is.

    Raises:
        UserError: Names the tensor and how many of its entries are bad.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or bool(sums.get(name, tensor).sum().isfinite()):
            continue
        bad = int((~tensor.isfinite()).sum())  # none where only the sum is too large
        if not bad:
            continue
        raise UserError(
            f"{where}: {bad} of {tensor.numel()} entries of {name!r} are NaN or infinite. "
            "The checkpoint is damaged or its training diverged: use an earlier one."
        )


def check_shapes(coder: Coder, where: str) -> None:
    """Refuse weights whose sizes contradict each other, and whole numbers in place of weights.

    Raises:
        UserError: Names the tensor, its shape and the shape that the others ask for.
    """
    if coder.W_dec.ndim != 2:
        raise UserError(f"{where}: 'W_dec' must be [latents, width], found shape {list(coder.W_dec.shape)}.")
    W_enc = coder.tensors().get("W_enc")
    if W_enc is not None and W_enc.ndim < 2:
        raise UserError(f"{where}: 'W_enc' must be [width, latents], found shape {list(W_enc.shape)}.")
    latents, d_out, d_in = coder.d_sae, coder.d_out, coder.d_in
    if not latents or not d_out or not d_in:
        raise UserError(f"{where}: there is nothing in it: d_in {d_in}, d_out {d_out}, {latents} latents.")
    wanted = coder.shapes()
    for name, tensor in coder.tensors().items():
        check_fractions(name, tensor, where)
        shape = wanted.get(name, (latents,))
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{where}: {name!r} has shape {list(tensor.shape)}, but the other tensors ask for "
                f"{list(shape)} (d_in {d_in}, d_out {d_out}, {latents} latents)."
            )
    if coder.centred and d_in != d_out:
        raise UserError(
            f"{where}: apply_b_dec_to_input is set, but b_dec has width {d_out} and the input {d_in}. "
            "Set apply_b_dec_to_input to false in the configuration, as a transcoder has it."
        )
    k = getattr(coder, "k", None)
    if k is not None and not 1 <= k <= latents:
        raise UserError(f"{where}: k is {k}, but there are {latents} latents.")
    if wrong := coder.complaint():
        raise UserError(f"{where}: {wrong}")


def inspect_weights(coder: Coder, sums: Mapping[str, Tensor] | None = None) -> list[str]:
    """Warnings about weights that load but cannot be right; `sums` are those of its matrices, where they are known."""
    sums = _sums(coder) if sums is None else sums
    found: list[str] = []
    empty = int((sums["W_dec"] == 0).sum())
    if empty:
        found.append(f"{empty} of {coder.d_sae} decoder rows are zero")
    silent = int(_silent(coder, sums).sum())
    if silent == coder.d_sae:
        found.append("no latent can ever fire: the encoder is zero and its bias opens none")
    elif silent:
        found.append(f"{silent} of {coder.d_sae} latents can never fire")
    threshold = getattr(coder, "threshold", None)
    if threshold is not None and not bool((threshold > 0).any()):
        found.append("the threshold is zero or unset, so this runs as a plain ReLU")
    return found


def _sums(coder: Coder) -> dict[str, Tensor]:
    """The norm of each decoder row and the sum of each encoder column, `[F]` both: one pass over each matrix."""
    W_enc = coder.tensors().get("W_enc")
    columns = {} if W_enc is None else {"W_enc": W_enc.new_ones(len(W_enc)) @ W_enc}
    return {"W_dec": coder.W_dec.norm(dim=1), **columns}


def _silent(coder: Coder, sums: Mapping[str, Tensor]) -> Tensor:
    """Latents whose pre-activation is a constant that does not pass, `[F]`."""
    if coder.signed or "W_enc" not in sums:
        return torch.zeros(coder.d_sae, dtype=torch.bool)
    bias = getattr(coder, "b_gate", coder.b_enc)
    bar = getattr(coder, "threshold", None)
    level = torch.zeros(coder.d_sae, device=coder.device) if bias is None else bias
    passes = level > (0 if bar is None else bar.clamp_min(0))
    empty = sums["W_enc"] == 0
    at = (empty & ~passes).nonzero().view(-1)  # few columns add up to zero; of those, all must be zero
    empty[at] = coder.W_enc[:, at].abs().amax(0) == 0
    return empty & ~passes


def admit(coder: Coder, where: str) -> Coder:
    """The coder with its warnings, once its weights are finite and agree.

    Raises:
        UserError: Weights with NaN or infinity, or sizes that contradict each other.
    """
    check_shapes(coder, where)
    sums = _sums(coder)
    check_finite(coder.tensors(), where, sums)
    return coder.replace(warnings=[*coder.warnings, *inspect_weights(coder, sums)])


def check_fits(coder: SparseCoder, width_in: int, width_out: int) -> None:
    """Refuse a coder whose widths are not those of the model's hooks.

    Raises:
        UserError: Names the SAE, the hook, both widths and the likely causes.
    """
    for side, hook, own, site in (
        ("input", coder.hook_in, coder.d_in, width_in),
        ("output", coder.hook_out, coder.d_out, width_out),
    ):
        if own != site:
            raise UserError(
                f"SAE {coder.name!r} has {side} width {own}, but {hook} of this model has width {site}. "
                "Was it trained on another model or another hook? Pass the right one with hook= or --model."
            )


def declared_l0(coder: SparseCoder) -> float | None:
    """Latents a token that a checkpoint declares, by its L0 or its k; None where it says nothing that is a number."""
    told = coder.metadata.get("l0") or coder.metadata.get("k")
    return float(told) if isinstance(told, (int, float)) and not isinstance(told, bool) and told > 0 else None


@dataclass(frozen=True)
class Measured:
    """What a coder does on a probe batch, beside what it declares.

    Attributes:
        l0: Mean number of latents that fire on a token.
        explained_variance: 1 - sum ||y - y^||^2 / sum ||y - mean y||^2.
        silent: Share of latents that fired on no token of the batch.
        warnings: Contradictions between the two.
    """

    l0: float
    explained_variance: float
    silent: float
    warnings: list[str]


def measure(
    coder: SparseCoder,
    x: Tensor,
    y: Tensor | None = None,
    codes: Codes | None = None,
    elsewhere: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    far: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> Measured:
    """Measure a coder on a probe batch `x [n, d_in]` (and target `y [n, d_out]` if it is not x).

    Args:
        coder: The coder.
        x: Activations at its input hook.
        y: Activations at its output hook.
        codes: The batch's codes, where they are more than those of its tokens one by one.
        elsewhere: Input and target at other hooks, by name, at which the coder is tried as well.
        far: The same at hooks at which it is tried only where it explains little.
    """
    y = x if y is None else y
    codes = coder.encode(x) if codes is None else codes
    made = coder.decode(codes)
    y = y.to(made.device)
    error = (made - y).double().square().sum()
    spread = (y - y.mean(0)).double().square().sum()
    l0 = float(codes.l0.double().mean())
    explained = float(1 - error / spread)
    warnings: list[str] = []
    declared = declared_l0(coder)
    if declared and not 1 / FAR <= l0 / declared <= FAR:
        warnings.append(f"measured L0 is {l0:.1f}, declared {declared:g}: wrong hook or normalisation?")
    if l0 == 0:
        warnings.append("no latent fires on the probe batch")
    if explained < 0:
        warnings.append(f"explains less variance than the mean does ({explained:.2f}): wrong hook or input?")
    if isinstance(coder, Coder) and not coder.needs_sequence:
        from saebench.saes.conventions import suspect

        warnings += suspect(coder, x, y, elsewhere, far)
    return Measured(l0, explained, float((codes.fires == 0).double().mean()), warnings)
