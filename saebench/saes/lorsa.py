"""Low-rank sparse attention: latents that are attention heads of one value and one output direction each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from saebench.errors import UserError, unknown
from saebench.saes import llama_scope_config as told
from saebench.saes.building import check_names, check_shape, number, single
from saebench.saes.checkpoint import Checkpoint
from saebench.saes.coder import Coder
from saebench.saes.codes import Codes
from saebench.saes.crosscoder import opened_by
from saebench.saes.gate import admit
from saebench.saes.saelens_config import whole


@dataclass(eq=False, kw_only=True, repr=False)
class Lorsa(Coder):
    """A replacement of an attention layer (He et al. 2025, "Low-Rank Sparse Decomposition", arXiv 2504.20938).

    v = x W_enc + b_enc, a value of each latent and token. Groups of latents share queries and keys: q = x Q + b_q, each
    head's divided by its root mean square where there are gains, and turned by position; k alike. p = softmax(q k /
    divisor) over this token and those before it; f = act(p v), y = f W_dec + b_dec.

    Attributes:
        queries: `[heads, d, n]`, with `queries_bias [heads, n]`; keys alike. F is divided among the heads, in order.
        queries_gain: `[heads, n]` of the norm of queries, or None; keys alike.
        epsilon: Added to the mean square.
        turns: Radians per position by which each entry of queries and keys is turned, `[rotary]`; none if empty.
        adjacent: Entries are turned two by two, not first half against second half.
        repeats: Times that each entry of queries and keys is repeated before it is turned.
        divisor: Of the products.
        threshold: Of a JumpReLU, `[F]`; None for a ReLU.
        k: Latents kept, or None.
    """

    b_enc: Tensor  # type: ignore[assignment]
    queries: Tensor
    queries_bias: Tensor
    keys: Tensor
    keys_bias: Tensor
    queries_gain: Tensor | None = None
    keys_gain: Tensor | None = None
    epsilon: float = 1e-6
    turns: Tensor
    adjacent: bool = True
    repeats: int = 1
    divisor: float = 1.0
    threshold: Tensor | None = None
    k: int | None = None

    needs_sequence = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        heads, _, n = self.queries.shape
        both = ("queries", "keys")
        own = {name: (heads, self.d_in, n) for name in both} | {"turns": tuple(self.turns.shape)}
        return {**super().shapes(), **own, **{f"{name}_{end}": (heads, n) for name in both for end in ("bias", "gain")}}

    def complaint(self) -> str | None:
        """Why these weights cannot be run, or None."""
        heads, _, n = self.queries.shape
        if self.d_sae % heads:
            return f"its {self.d_sae} latents cannot be divided among {heads} heads"
        if len(self.turns) % 2 or len(self.turns) > n * self.repeats:
            return f"{len(self.turns)} entries of queries and keys are to be turned by position, but there are {n}"
        return None

    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]` of n tokens that follow one another from the first, `[n, F]`."""
        return self.encode_rows(x[None])

    def encode_rows(self, x: Tensor) -> Codes:
        """Codes of rows of activations `[rows, length, d_in]`, `[rows * length, F]`."""
        x = x.to(self.device, self.dtype)
        values = (x @ self.W_enc + self.b_enc).unflatten(-1, (len(self.queries), -1)).transpose(1, 2)
        queries, keys = self._facing(x, "queries"), self._facing(x, "keys")
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=1 / self.divisor)
        pre = mixed.transpose(1, 2).flatten(2).flatten(0, 1)
        if self.k is not None:
            top = pre.topk(self.k, dim=-1, sorted=False)
            return Codes.from_topk(top.values.relu(), top.indices, self.d_sae)
        return Codes.above(pre, 0.0 if self.threshold is None else self.threshold.clamp_min(0))

    def _facing(self, x: Tensor, name: str) -> Tensor:
        """Queries or keys of rows of activations, turned by position, `[rows, heads, length, n]`."""
        made = torch.einsum("rld,hdn->rhln", x, getattr(self, name)) + getattr(self, f"{name}_bias")[:, None]
        gain = getattr(self, f"{name}_gain")
        if gain is not None:
            made = made / (made.square().mean(-1, keepdim=True) + self.epsilon).sqrt() * gain[:, None]
        made = made.repeat_interleave(self.repeats, dim=-1) if len(self.turns) else made
        turned, rest = made[..., : len(self.turns)], made[..., len(self.turns) :]
        angles = torch.arange(x.shape[1], device=x.device, dtype=self.turns.dtype)[:, None] * self.turns
        if self.adjacent:
            other = torch.stack([-turned[..., 1::2], turned[..., ::2]], dim=-1).flatten(-2)
        else:
            first, second = turned.chunk(2, dim=-1)
            other = torch.cat([-second, first], dim=-1)
        return torch.cat([turned * angles.cos() + other * angles.sin(), rest], dim=-1)


_NAMES = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")
_BUFFERS = ("mask", "IGNORE", "rotary_sin", "rotary_cos")
_GAINS = ("ln_q.w", "ln_k.w")


def build_lorsa(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Coder:
    """Coder of a Lorsa of Language-Model-SAEs (llamascopium).

    With s = sqrt(d) over the average norm of the input and t of the output, queries, keys and values read s x, a latent
    opens by its pre-activation times the norm of its row of W_O, and outputs are divided by t.

    Raises:
        UserError: A batch's or a token's norms, a tensor that is missing or strange, or sizes that disagree.
    """
    where = checkpoint.where
    act = told.activation(config, where)
    told.not_by_token(config, where)
    tensors = checkpoint.tensors()
    gains = _GAINS if config.get("use_post_qk_ln") else ()
    if gains and config.get("normalization_type") != "RMS":
        raise unknown(f"normalization_type in {where}:", str(config.get("normalization_type")), ["RMS"])
    biased = ("b_D",) if config.get("use_decoder_bias", True) else ()
    check_names(tensors, [*_NAMES, *gains, *biased], where, ignored=[*_BUFFERS, *told.unused(tensors)])
    found = {name: single(tensors[name]) for name in (*_NAMES, *gains, *biased)}
    for name, axes in {"W_Q": 3, "W_K": 3, "W_V": 2, "W_O": 2}.items():
        if found[name].ndim != axes:
            raise UserError(f"{where}: {name!r} must have {axes} axes, found shape {list(found[name].shape)}.")
    heads, width, n = found["W_Q"].shape
    check_shape("W_V", found["W_V"].shape, found["W_O"].shape, where)
    told.check_declared(config, width, len(found["W_V"]), where)
    hook_in, hook_out = str(config.get("hook_point_in") or ""), str(config.get("hook_point_out") or "")
    ends = {"in": hook_in, "out": hook_out}
    s, t = (told.scale(tensors, config, hook, end, width, where) for end, hook in ends.items())
    bias = found["b_D"] if biased else torch.zeros(found["W_O"].shape[1])
    weights = {"W_enc": found["W_V"].T * s, "b_enc": found["b_V"], "W_dec": found["W_O"]}
    if act == "jumprelu":
        weights["threshold"] = told.threshold(tensors, config, [len(found["W_V"])], where)
    if told.by_norm(config) and act != "relu":
        weights |= opened_by(found["W_O"].norm(dim=1), weights)
    fields: dict[str, Any] = {**weights, "W_enc": weights["W_enc"].contiguous(), "W_dec": weights["W_dec"] / t}
    coder = Lorsa(
        **fields, b_dec=bias / t,
        queries=found["W_Q"] * s, queries_bias=found["b_Q"], keys=found["W_K"] * s, keys_bias=found["b_K"],
        queries_gain=found.get("ln_q.w"), keys_gain=found.get("ln_k.w"), epsilon=_number(config, "eps", 1e-6, where),
        turns=_turns(config, where), adjacent=bool(config.get("rotary_adjacent_pairs", True)),
        repeats=whole(config.get("rotary_scale", 1), where), divisor=_number(config, "attn_scale", math.sqrt(n), where),
        k=whole(config.get("top_k"), where) if act == "topk" else None,
        architecture="lorsa", hook_in=hook_in, hook_out=hook_out, metadata=told.facts(checkpoint, config),
    )  # fmt: skip
    return admit(coder, where)


def _number(config: Mapping[str, Any], key: str, default: float, where: str) -> float:
    found = number(config, key, where)
    return default if found is None else found


def _turns(config: Mapping[str, Any], where: str) -> Tensor:
    """Radians per position of each entry that is turned, with Llama 3.1's stretching of slow ones where it is asked.

    Raises:
        UserError: Another kind of positions.
    """
    kind = config.get("positional_embedding_type", "rotary")
    if kind not in ("rotary", "none"):
        raise unknown(f"positional_embedding_type in {where}:", str(kind), ["rotary", "none"])
    size = whole(config.get("rotary_dim"), where) if kind == "rotary" else 0
    base = _number(config, "rotary_base", 10000, where)
    turns = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / max(size, 1))
    if config.get("use_NTK_by_parts_rope"):
        factor, low, high = (_number(config, f"NTK_by_parts_{key}factor", 1.0, where)
                             for key in ("", "low_freq_", "high_freq_"))  # fmt: skip
        waves = turns * _number(config, "old_context_len", 2048, where) / (2 * math.pi)  # in the old context
        blend = ((waves - low) / (high - low)).clamp(0, 1) if high > low else (waves >= high).double()
        turns = (1 - blend) * turns / factor + blend * turns
    turns = turns.float()
    return turns.repeat_interleave(2) if config.get("rotary_adjacent_pairs", True) else turns.repeat(2)
