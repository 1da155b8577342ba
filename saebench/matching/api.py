"""`match`: from SAEs, references or plain matrices to a matching."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from saebench.errors import UserError, unknown
from saebench.matching.dictionary import Dictionary, dictionary, joined
from saebench.matching.matched import matched
from saebench.matching.result import Match

if TYPE_CHECKING:
    from saebench.matching.exact import Settings
    from saebench.saes import SparseCoder

UNNAMED = "unnamed"
"""The hook of a SAE that is loaded for its dictionary alone."""
Side = Literal["decoder", "encoder", "both"]


class Directions(NamedTuple):
    """The directions of a SAE's latents on one side.

    Attributes:
        parts: One dictionary, or encoder and decoder.
        name: Label.
        hook, model: Where the SAE was trained, as far as it says.
    """

    parts: tuple[Dictionary, ...]
    name: str
    hook: str = ""
    model: str = ""

    @property
    def zero(self) -> int:
        """Latents without a direction on some side."""
        return int(torch.stack([part.zero for part in self.parts]).any(0).sum())


def match(
    a: Any, b: Any, signed: bool = False, side: str = "decoder", *, device: str | None = None,
    settings: Settings | None = None,
) -> Match:  # fmt: skip
    """The best one-to-one matching of two dictionaries, exact at any size, with a certificate.

    mean over pairs of |cos(d_i, d'_pi(i))|, the largest over all one-to-one pi: the smaller dictionary is
    matched wholly. Never n x n in memory.

    Args:
        a: SAE by reference or object, or a matrix `[latents, d]` (tensor or array).
        b: The other; of any number of latents, but of the same width d.
        signed: Count cosines with their sign: an opposite latent is then no match.
        side: decoder, encoder, or both: the mean of the two cosines, under one matching.
        device: Where products are taken; None is where the weights are.
        settings: How the search is done, for tests and measurements.

    Raises:
        UserError: Not two dictionaries of one width, a latent that is not finite, or a side that is not there.

    Warns:
        UserWarning: They were trained at different hooks or models (also in `notes`).
    """
    found = quietly(a, b, signed, side, device=device, settings=settings)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found


def quietly(
    a: Any, b: Any, signed: bool, side: str, *, device: str | None = None, settings: Settings | None = None
) -> Match:
    """As `match`, with what it would warn of in `notes` alone."""
    if side not in get_args(Side):
        raise unknown("side", side, get_args(Side))
    left, right = (directions(x, side, label, device) for x, label in ((a, "A"), (b, "B")))
    return match_directions(left, right, signed=signed, side=side, settings=settings)


def match_directions(
    a: Directions, b: Directions, *, signed: bool, side: str, settings: Settings | None = None
) -> Match:
    """The best one-to-one matching of directions.

    Raises:
        UserError: They live in spaces of different size.
    """
    widths = tuple(part.width for part in a.parts)
    if widths != tuple(part.width for part in b.parts):
        sizes = " and ".join("+".join(str(part.width) for part in x.parts) for x in (a, b))
        raise UserError(
            f"{a.name} and {b.name} cannot be matched: their latents live in spaces of different size ({sizes})."
        )
    began = time.perf_counter()
    left, right = joined(a.parts), joined(b.parts)
    right = Dictionary(right.rows.to(left.rows.device), right.norms.to(left.rows.device))
    found = matched(left, right, signed=signed, settings=settings)
    sizes = (len(left), len(right))
    return Match(
        value=found.value,
        gap=found.gap,
        partner=found.partner,
        cosine=found.cosine,
        second=found.second,
        nearest=found.nearest,
        nearest_back=found.nearest_back,
        coverage=min(sizes) / max(sizes),
        sizes=sizes,
        widths=widths,
        signed=signed,
        side=side,
        names=(a.name, b.name),
        zero=(a.zero, b.zero),
        seconds=time.perf_counter() - began,
        method=found.method,
        device=str(left.rows.device),
        notes=_notes(a, b),
    )


def _notes(a: Directions, b: Directions) -> tuple[str, ...]:
    """What makes the two dictionaries ones of different spaces, though the sizes agree."""
    told = []
    for what in ("hook", "model"):
        mine, theirs = getattr(a, what), getattr(b, what)
        if mine and theirs and mine != theirs:
            told.append(
                f"{a.name} and {b.name} belong to different {what}s ({mine}; {theirs}): directions of different "
                "spaces are compared, and cosines may mean nothing."
            )
    return tuple(told)


def directions(x: Any, side: str, label: str, device: str | None = None) -> Directions:
    """The directions of a SAE or matrix.

    Raises:
        UserError: A matrix has no sides; the SAE has no such side, or a latent that is not finite.
    """
    if isinstance(x, (np.ndarray, torch.Tensor)):
        if side == "both":
            raise UserError(f"{label} is a plain matrix: side='both' needs SAEs with an encoder and a decoder.")
        tensor = torch.as_tensor(x)
        return Directions((dictionary(tensor.to(device) if device else tensor, label),), label)
    return of_coder(loaded(x, device), side)


def of_coder(coder: SparseCoder, side: str) -> Directions:
    """The directions of a loaded SAE.

    Raises:
        UserError: The SAE has no such side, or a latent that is not finite.
    """
    sides = ("encoder", "decoder") if side == "both" else (side,)
    hooks = (_own(coder, "hook_in", "hook_name"), _own(coder, "hook_out", "hook_name_out"))
    hook = " -> ".join(dict.fromkeys(filter(None, hooks)))
    return Directions(
        tuple(_side(coder, name) for name in sides), coder.name, hook, str(coder.metadata.get("model_name") or "")
    )


def _own(coder: SparseCoder, attribute: str, key: str) -> str:
    """The hook that a coder has, or declares where it was loaded without one."""
    hook = getattr(coder, attribute)
    return str(coder.metadata.get(key) or "") if hook in ("", UNNAMED) else hook


def _side(coder: SparseCoder, side: str) -> Dictionary:
    weights = coder.W_dec if side == "decoder" else coder.W_enc
    if weights is None:
        raise UserError(f"SAE {coder.name!r} ({coder.architecture}) has no {side} matrix to match by.")
    return dictionary(weights if side == "decoder" else weights.T, f"{coder.name} ({side})")


def loaded(x: Any, device: str | None = None) -> SparseCoder:
    """A SAE by reference or object; it need not name its hook, for matching asks for none.

    Raises:
        UserError: It cannot be loaded, or has no dictionary of its own.
    """
    from saebench.saes import Recipe, load_sae

    where = device or ("cpu" if isinstance(x, (str, Path)) else "auto")
    coder = load_sae(x, device=where, hook=None if getattr(x, "hook_in", "") else UNNAMED)
    if isinstance(coder, Recipe):
        raise UserError(f"{coder.ref} is fitted to activations and has no dictionary of its own: match two SAEs.")
    return coder
