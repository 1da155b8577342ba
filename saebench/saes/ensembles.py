"""Several SAEs as one coder: averaged (bagged), or each on what the ones before leave (boosted)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from saebench.errors import UserError, unknown
from saebench.saes.coder import Coder, fingerprint
from saebench.saes.codes import Codes
from saebench.saes.protocol import Role
from saebench.saes.side_by_side import side_by_side, split

Kind = Literal["bagged", "boosted"]
KINDS = ("bagged", "boosted")
READS = ("error", "input")
"""What the later members of a boosted ensemble encode: what is left of the input, or the input itself."""


@dataclass(eq=False, kw_only=True, repr=False)
class Ensemble:
    """SAEs whose latents stand side by side and whose reconstructions add up (Gadgil et al. 2025, arXiv 2505.16077).

    y = sum over j of share * y_j, where y_j = f_j W_j + b_j, so the codes are share * f_j, the decoder has the rows of
    all W_j and the bias is share * sum b_j. Bagged: share is 1/J and every member encodes x. Boosted: share is 1, and
    member j encodes what is left, x - y_1 - ... - y_(j-1); or x itself, where members were trained to predict the error
    from the input. Width and L0 are those of all members together, so compare at equal width and L0.

    Attributes:
        members: The coders, in order.
        share: What each one's codes count.
        chained: Each encodes what the ones before leave.
    """

    members: tuple[Coder, ...]
    share: float
    chained: bool
    architecture: str
    hook_in: str
    hook_out: str
    name: str = ""
    ref: str = ""
    role: Role = "sae"
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    needs_sequence = False
    normalised = False

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.members[0].d_in

    @property
    def d_out(self) -> int:
        """Width of the output."""
        return self.members[0].d_out

    @property
    def d_sae(self) -> int:
        """Latents of all members together."""
        return sum(self.widths)

    @property
    def widths(self) -> list[int]:
        """Latents of each member."""
        return [member.d_sae for member in self.members]

    @property
    def signed(self) -> bool:
        """A member's codes may be negative."""
        return any(member.signed for member in self.members)

    @property
    def linear_decoder(self) -> bool:
        """Not where a member rescales its output token by token, each by a scale of its own."""
        return all(member.linear_decoder and not member.normalised for member in self.members)

    @cached_property
    def W_dec(self) -> Tensor | None:
        """`[F, d_out]`, the members' rows one after the other; None where the decoder is not linear."""
        return torch.cat([member.W_dec for member in self.members]) if self.linear_decoder else None

    @cached_property
    def W_enc(self) -> Tensor | None:
        """`[d_in, F]`; None where later members do not encode the input."""
        matrices = [member.W_enc for member in self.members]
        return None if self.chained or any(one is None for one in matrices) else torch.cat(matrices, 1)

    @property
    def b_dec(self) -> Tensor:
        """`[d_out]`, what is decoded when no latent fires."""
        return self.share * torch.stack([member.b_dec for member in self.members]).sum(0)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.members[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the products."""
        return self.members[0].dtype

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the members, how they are joined, and the hooks."""
        parts = [member.fingerprint for member in self.members]
        settings = {"members": parts, "share": self.share, "chained": self.chained}
        return fingerprint({}, {**settings, "in": self.hook_in, "out": self.hook_out})

    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]`, `[n, F]`; each member's context is kept under its number."""
        left = x.to(self.device, self.dtype)
        parts, ctx = [], {}
        for number, member in enumerate(self.members):
            codes = member.encode(left)
            if self.chained and number + 1 < len(self.members):
                left = left - member.decode(codes)
            ctx |= {f"{number}.{name}": part for name, part in codes.ctx.items()}
            parts.append(codes)
        codes = side_by_side(parts)
        codes = codes.with_values(codes.values * self.share)
        codes.ctx.update(ctx)
        return codes

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        """Activations `[n, d_out]` of codes `[n, F]`."""
        codes = codes if isinstance(codes, Codes) else Codes.from_dense(codes, ctx)
        known = codes.ctx if ctx is None else ctx
        y = torch.zeros(codes.n, self.d_out, device=self.device, dtype=self.dtype)
        for number, (member, part) in enumerate(zip(self.members, split(codes, self.widths), strict=True)):
            own = {name.partition(".")[2]: one for name, one in known.items() if name.startswith(f"{number}.")}
            y += self.share * member.decode(part.with_values(part.values / self.share), own)
        return y

    def reconstruct(self, x: Tensor) -> Tensor:
        """The full forward of activations `[n, d_in]`."""
        return self.decode(self.encode(x))

    def replace(self, **changes: Any) -> Ensemble:
        """A twin with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to(self, *, device: Any = None, dtype: torch.dtype | None = None) -> Ensemble:
        """The same ensemble on another device or in another dtype."""
        moved = tuple(member.to(device=device, dtype=dtype) for member in self.members)
        same = all(one is member for one, member in zip(moved, self.members, strict=True))
        return self if same else self.replace(members=moved)

    def __repr__(self) -> str:
        return f"<{self.architecture} {self.name!r}: {len(self.members)} SAEs, {self.d_sae} latents>"


def ensemble(members: Sequence[Any], kind: Kind = "bagged", *, reads: str = "error", where: str = "") -> Ensemble:
    """Several loaded SAEs as one.

    Args:
        members: Coders of one hook, in order.
        kind: `bagged`, their mean, or `boosted`, their sum.
        reads: What the later ones of a boosted ensemble encode, `error` or `input`.
        where: What to call it in an error.

    Raises:
        UserError: Fewer than two, not loaded from checkpoints, of different hooks or widths.
    """
    if kind not in KINDS:
        raise unknown("kind of ensemble", kind, KINDS)
    if reads not in READS:
        raise unknown(f"value of reads in {where or kind}:", reads, READS)
    first = next(iter(members), None)
    if first is None or len(members) < 2:
        raise UserError(f"{where or kind}: an ensemble has two members or more, found {len(members)}.")
    for member in members:
        if not isinstance(member, Coder) or member.needs_sequence:
            raise UserError(f"{where or kind}: {member.name!r} cannot be a member: it must be a dictionary of tokens.")
        ends = [(one.hook_in, one.hook_out, one.d_in, one.d_out) for one in (first, member)]
        if ends[0] != ends[1]:
            raise UserError(f"{where or kind}: members differ in hook or width: {ends[0]} and {ends[1]}.")
    chained = kind == "boosted" and reads == "error"
    if chained and first.hook_in != first.hook_out:
        raise UserError(
            f"{where or kind}: a transcoder leaves no error of its input; say `reads: input` under `options:`."
        )
    facts = {"members": ", ".join(member.name for member in members)}
    kept = [member.metadata.get("k") for member in members]
    return Ensemble(
        members=tuple(members), share=1 / len(members) if kind == "bagged" else 1.0, chained=chained,
        architecture=kind, hook_in=first.hook_in, hook_out=first.hook_out, name=kind, ref=f"object:{kind}",
        warnings=[f"{member.name}: {one}" for member in members for one in member.warnings],
        metadata=facts | ({} if None in kept else {"k": sum(int(k or 0) for k in kept)}),
    )  # fmt: skip
