"""Temporal SAEs: what earlier tokens predict is set aside, and what is new is encoded sparsely."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from saebench.errors import UserError, unknown
from saebench.saes.building import check_sizes, renamed, section
from saebench.saes.coder import Coder
from saebench.saes.codes import Codes
from saebench.saes.files import read_tensors
from saebench.saes.formats import Format
from saebench.saes.gate import admit
from saebench.saes.headers import header
from saebench.saes.saelens_config import facts, whole
from saebench.yamlfile import read_keys

EPSILON = 1e-6
"""Added to the norm that a prediction is divided by, in the units that the SAE was trained in."""


@dataclass(eq=False, kw_only=True, repr=False)
class Temporal(Coder):
    """Codes of the part of x that attention over the tokens before it does not predict (arXiv 2511.01836).

    r = x. For each attention layer: c = relu(r W_enc); p = relu(attention, queries of this token's c, keys and values
    of the c of the tokens before it); a = p W_dec; s = a.r / (|a| + epsilon)^2; r -= s a, and the prediction gains s p.
    Then f = relu of the k largest of r W_enc (of all without k), y = (f + prediction) W_dec + b_dec. The codes are f;
    what was predicted is `ctx["rest"]`.

    Attributes:
        k: Latents kept, or None.
        heads: Attention heads.
        keys: `[layers, n, F]`, with `keys_bias [layers, n]`; queries alike. n is divided among the heads.
        values: `[layers, F, F]`, with `values_bias [layers, F]`; outputs alike.
        epsilon: Added to the prediction's norm.
    """

    k: int | None = None
    heads: int = 1
    epsilon: float = EPSILON
    keys: Tensor
    keys_bias: Tensor
    queries: Tensor
    queries_bias: Tensor
    values: Tensor
    values_bias: Tensor
    outputs: Tensor
    outputs_bias: Tensor

    needs_sequence = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        layers, n, latents = len(self.keys), self.keys.shape[1], self.d_sae
        narrow, wide = {"keys", "queries"}, {"values", "outputs"}
        own = {name: (layers, n, latents) for name in narrow} | {name: (layers, latents, latents) for name in wide}
        own |= {f"{name}_bias": (layers, n if name in narrow else latents) for name in (*narrow, *wide)}
        return {**super().shapes(), **own}

    def encode(self, x: Tensor) -> Codes:
        """Codes of activations `[n, d_in]` of n tokens that follow one another, `[n, F]`."""
        return self.encode_rows(x[None])

    def encode_rows(self, x: Tensor) -> Codes:
        """Codes of rows of activations `[rows, length, d_in]`, `[rows * length, F]`."""
        x = x.to(self.device, self.dtype)
        residual, ctx = self._normalise(x)
        if self.centred:
            residual = residual - self.b_dec
        predicted = torch.zeros_like(residual)
        for layer in range(len(self.keys)):
            direction = self._attend(layer, (residual @ self.W_enc).relu()).relu() @ self.W_dec
            length = direction.norm(dim=-1, keepdim=True) + self.epsilon
            step = (direction * residual).sum(-1, keepdim=True) / length.square() * direction
            predicted, residual = predicted + step, residual - step
        pre = (residual @ self.W_enc).flatten(0, 1)
        codes = Codes.above(pre) if self.k is None else self._largest(pre, self.k)
        ctx["rest"] = predicted * ctx["scale"] if self.normalised else predicted
        codes.ctx.update({name: part.flatten(0, 1) for name, part in ctx.items()})
        return codes

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        """Activations `[n, d_out]` of codes `[n, F]`, what was predicted included."""
        if ctx is None:
            ctx = codes.ctx if isinstance(codes, Codes) else {}
        return super().decode(codes, ctx) + self._context(ctx, "rest")

    def _largest(self, pre: Tensor, k: int) -> Codes:
        best = pre.topk(k, dim=-1, sorted=False)
        return Codes.from_topk(best.values.relu(), best.indices, self.d_sae)

    def _attend(self, layer: int, codes: Tensor) -> Tensor:
        """What one layer predicts of `codes [rows, length, F]` from those of the tokens before, of the same shape."""
        before = functional.pad(codes, (0, 0, 1, 0))[:, :-1]
        parts = []
        for name, seen in (("queries", codes), ("keys", before), ("values", before)):
            made = functional.linear(seen, getattr(self, name)[layer], getattr(self, f"{name}_bias")[layer])
            parts.append(made.unflatten(-1, (self.heads, -1)).transpose(1, 2))
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=True)
        joined = mixed.transpose(1, 2).flatten(2)
        return functional.linear(joined, self.outputs[layer], self.outputs_bias[layer])


CONFIG, WEIGHTS = "conf.yaml", "latest_ckpt.safetensors"
"""Files of a temporal SAE of its authors."""

_TOLD = ("n_heads", "n_attn_layers", "sae_diff_type", "kval_topk", "tied_weights")

_LAYERS = {"keys": "k_ctx", "queries": "q_target", "values": "v_ctx", "outputs": "c_proj"}
"""SAELens' names of what an attention layer holds."""


def build(config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> Coder:
    """Coder of a temporal SAE of SAELens: its configuration, brought up to date, and its state dict.

    SAELens divides activations by 4 d_in before the encoder and may multiply them by a factor of the training run;
    both are folded into the weights.

    Raises:
        UserError: A missing or strange tensor, or a normalisation that cannot be folded in.
    """
    count, tied = whole(config.get("n_attn_layers", 1), where), bool(config.get("tied_weights", True))
    own = {"W_dec": "W_dec", "b_dec": "b_dec", **({} if tied else {"W_enc": "W_enc"})}
    attention = {
        f"{ours}{end}.{i}": f"attn_layers.{i}.{theirs}.{kind}"
        for ours, theirs in _LAYERS.items() for end, kind in (("", "weight"), ("_bias", "bias")) for i in range(count)
    }  # fmt: skip
    found = renamed(tensors, {**own, **attention}, where)
    stacked: dict[str, Any] = {
        name: torch.stack([found[f"{name}.{i}"] for i in range(count)])
        for name in (*_LAYERS, *(f"{name}_bias" for name in _LAYERS))
    }
    kind, scale = _normalisation(config, where)
    rows, bias = found["W_dec"], found["b_dec"]
    check_sizes(config, {"d_sae": rows.shape[0], "d_in": rows.shape[1]}, where)
    encoder = (rows.T if tied else found["W_enc"]) * (scale / (4 * rows.shape[1]))
    centred = bool(config.get("apply_b_dec_to_input", True))
    k = config.get("kval_topk") if config.get("sae_diff_type", "topk") == "topk" else None
    told = facts(config)
    hook = told.get("hook_name") or ""
    coder = Temporal(
        W_dec=rows / scale, W_enc=encoder.contiguous(), **stacked,
        b_dec=bias / scale if centred or not tied else torch.zeros_like(bias),
        centred=centred, normalise=kind, epsilon=EPSILON / scale, heads=whole(config.get("n_heads", 8), where),
        k=None if k is None else whole(k, where), architecture="temporal", hook_in=hook, hook_out=hook,
        metadata={**told, **({} if k is None else {"k": k})},
    )  # fmt: skip
    return admit(coder, where)


def detect(path: Path) -> bool:
    """Whether a folder, or the weights in one, is of the authors of temporal SAEs: `conf.yaml` beside D and b."""
    folder = path if path.is_dir() else path.parent
    file = folder / WEIGHTS
    if path not in (folder, file) or not file.is_file() or not (folder / CONFIG).is_file():
        return False
    try:
        return {"D", "b"} <= set(header(file).shapes)
    except UserError:
        return False


def load(path: Path) -> Coder:
    """Coder of a temporal SAE as its authors save it; the layer is read from the folder's name.

    Raises:
        UserError: A setting or tensor that is missing or strange.
    """
    folder = path if path.is_dir() else path.parent
    told, where = read_keys(folder / CONFIG, "configuration", "sae"), str(folder)
    own = section(told, "sae", where)
    tensors = read_tensors(folder / WEIGHTS)
    named = {{"D": "W_dec", "b": "b_dec", "E": "W_enc"}.get(name, name): one for name, one in tensors.items()}
    layer = re.search(r"layer_(\d+)", folder.absolute().as_posix())
    config = {
        "architecture": "temporal", **{key: own[key] for key in _TOLD if key in own},
        "normalize_activations": "constant_scalar_rescale",
        "activation_normalization_factor": own.get("scaling_factor", 1), "apply_b_dec_to_input": True,
        "metadata": {"hook_name": f"blocks.{layer.group(1)}.hook_resid_post"} if layer else {},
    }  # fmt: skip
    return build(config, named, where)


def _normalisation(config: Mapping[str, Any], where: str) -> tuple[Any, float]:
    """What is done to each token, and the factor of all."""
    kind = config.get("normalize_activations") or "none"
    if kind == "constant_scalar_rescale":
        return "none", float(config.get("activation_normalization_factor") or 1)
    if kind == "expected_average_only_in":
        raise UserError(f"{where}: normalize_activations is {kind!r}, which SAELens never folds into a temporal SAE.")
    known = ("none", "layer_norm", "constant_norm_rescale")
    if kind not in known:
        raise unknown(f"normalize_activations in {where}:", str(kind), [*known, "constant_scalar_rescale"])
    return kind, 1.0


FORMAT = Format("temporal", f"{CONFIG} with {WEIGHTS}", detect, load)
