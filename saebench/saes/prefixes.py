"""Nested codes: the first latents of a Matryoshka SAE, or fewer of a top-k SAE's codes, as a coder of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from torch import Tensor

from saebench.errors import UserError
from saebench.saes.architectures import GroupMax
from saebench.saes.coder import Coder, fingerprint
from saebench.saes.codes import Codes
from saebench.saes.protocol import Role, SparseCoder


@dataclass(eq=False, kw_only=True, repr=False)
class Prefix:
    """The first m latents of a coder: the whole coder's codes with the others left out, as in its training.

    y = b_dec + sum over i < m of f_i d_i (Bussmann et al. 2025). Selection is the whole coder's, so a top-k coder
    spends some of its k on the latents that are left out.
    """

    whole: Coder
    m: int
    name: str
    ref: str
    metadata: dict[str, Any]
    hook_in: str
    hook_out: str
    role: Role = "sae"

    needs_sequence = False

    def __getattr__(self, item: str) -> Any:
        if item.startswith("__") or item == "whole":
            raise AttributeError(item)
        return getattr(self.whole, item)

    @property
    def d_sae(self) -> int:
        """Number of latents, m."""
        return self.m

    @property
    def W_dec(self) -> Tensor:
        """`[m, d_out]`."""
        return self.whole.W_dec[: self.m]

    @property
    def W_enc(self) -> Tensor | None:
        """`[d_in, m]`."""
        return None if self.whole.W_enc is None else self.whole.W_enc[:, : self.m]

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the whole coder, m and the hooks."""
        return fingerprint({}, {"whole": self.whole.fingerprint, "m": self.m, "in": self.hook_in, "out": self.hook_out})

    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]`, `[n, m]`."""
        codes = self.whole.encode(x)
        kept = codes.keep(codes.latents < self.m)
        return Codes(kept.offsets, kept.latents, kept.values, self.m, kept.ctx)

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        """Activations `[n, d_out]` of codes `[n, m]`."""
        if not isinstance(codes, Codes):
            codes = Codes.from_dense(codes, ctx)
        wide = Codes(codes.offsets, codes.latents, codes.values, self.whole.d_sae, codes.ctx)
        return self.whole.decode(wide, ctx)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The full forward of activations `[n, d_in]`."""
        return self.decode(self.encode(x))

    def replace(self, **changes: Any) -> Prefix:
        """A twin with some labels changed."""
        import dataclasses

        return dataclasses.replace(self, **changes)

    def to(self, *, device: Any = None, dtype: Any = None) -> Prefix:
        """The same prefix on another device or in another dtype."""
        moved = self.whole.to(device=device, dtype=dtype)
        return self if moved is self.whole else self.replace(whole=moved)

    def __repr__(self) -> str:
        return f"<{self.whole.architecture} {self.name!r}: first {self.m} of {self.whole.d_sae} latents>"


def prefix(coder: SparseCoder, m: int) -> Prefix:
    """The first m latents of a coder.

    Raises:
        UserError: A wrapped object, or m out of range.
    """
    if not isinstance(coder, Coder):
        raise UserError(f"Only a loaded checkpoint has a prefix; {coder.name!r} is an object of its own.")
    if not 1 <= m <= coder.d_sae:
        raise UserError(
            f"prefix:{m}@{coder.ref}: the SAE has {coder.d_sae} latents, so a prefix has 1 to {coder.d_sae}."
        )
    facts = {**{key: value for key, value in coder.metadata.items() if key not in ("k", "l0")}, "prefix": m}
    return Prefix(
        whole=coder, m=m, name=f"{coder.name}[:{m}]", ref=f"prefix:{m}@{coder.ref}", metadata=facts,
        hook_in=coder.hook_in, hook_out=coder.hook_out, role=coder.role,
    )  # fmt: skip


def at_k(coder: SparseCoder, k: int) -> Coder:
    """A top-k coder with another k: one of the nested codes of an MSAE, or any SAE away from the k it was trained with.

    Raises:
        UserError: A coder without a k, or k out of range.
    """
    trained = getattr(coder, "k", None)
    if not isinstance(coder, Coder) or not isinstance(trained, int) or isinstance(coder, GroupMax):
        raise UserError(f"topk:{k}@{coder.ref}: {coder.architecture} SAEs have no k to choose; top-k ones have.")
    if not 1 <= k <= coder.d_sae:
        raise UserError(f"topk:{k}@{coder.ref}: the SAE has {coder.d_sae} latents, so k is 1 to {coder.d_sae}.")
    facts = {**{key: value for key, value in coder.metadata.items() if key != "l0"}, "k": k}
    return coder.replace(k=k, name=f"{coder.name}[k={k}]", ref=f"topk:{k}@{coder.ref}", metadata=facts, identity="")


def prefixes(coder: SparseCoder) -> list[Prefix]:
    """Every nested dictionary of a Matryoshka SAE, smallest first, the whole one last.

    Raises:
        UserError: The checkpoint does not say its sizes.
    """
    return [prefix(coder, m) for m in nested_widths(coder)]


def nested_widths(coder: SparseCoder) -> list[int]:
    """Widths of the nested dictionaries that a checkpoint declares.

    Raises:
        UserError: It declares none.
    """
    groups = coder.metadata.get("group_sizes")
    details = coder.metadata.get("training_architecture_details") or {}
    widths = list(accumulate(groups)) if groups else details.get("matryoshka_widths")
    if not widths:
        raise UserError(
            f"{coder.name!r} does not say the widths of nested dictionaries: name one, prefix:M@{coder.ref}."
        )
    return sorted({*(int(width) for width in widths), coder.d_sae})
