"""Cross-layer transcoders: latents that read one layer's MLP input and write to the output of every later MLP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes.building import check_names, single
from saebench.saes.coder import Coder
from saebench.saes.codes import Codes
from saebench.saes.files import read_json, read_tensors
from saebench.saes.formats import Format
from saebench.saes.gate import admit
from saebench.saes.headers import header
from saebench.saes.hook_names import hook_of_module
from saebench.saes.layered import Layered
from saebench.yamlfile import read_keys


@dataclass(eq=False, kw_only=True, repr=False)
class CrossLayer(Coder):
    """What a cross-layer transcoder writes at one layer (Ameisen et al. 2025, "Circuit Tracing").

    f_s = act(x_s E_s + b_s) for each layer s up to l, y_l = sum over s of f_s D_(s to l) + b_dec_l (+ W_skip x_l). Its
    input is all x_s side by side, taken from the model as it is; its latents are those of all layers up to l.

    Attributes:
        encoders: `[layers, d, F']`, F' latents of each layer; there is no one encoder matrix, so what needs one leaves
            this coder out. Layers after l are there where they have a part in the choice of the k largest alone.
        threshold: Of a JumpReLU, over the latents of all layers; None for a ReLU.
        k: Latents kept on a token, or None.
        shared: k is of all layers together, not of each.
    """

    encoders: Tensor
    threshold: Tensor | None = None
    k: int | None = None
    shared: bool = False
    W_enc: Tensor = None  # type: ignore[assignment]

    @property
    def d_in(self) -> int:
        """Width of all inputs together."""
        return self.encoders.shape[0] * self.encoders.shape[1]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        layers, width, each = self.encoders.shape
        over = (layers * each,)
        return {**super().shapes(), "encoders": (layers, width, each), "b_enc": over, "threshold": over}

    def complaint(self) -> str | None:
        """Why these weights cannot be run, or None."""
        layers, _, each = self.encoders.shape
        if self.d_sae % each or self.d_sae > layers * each:
            return f"the decoder has {self.d_sae} rows, but the {layers} encoders have {each} latents each"
        if self.k is not None and self.k > (layers * each if self.shared else each):
            return f"k is {self.k}, but there are {each} latents in each of {layers} layers"
        return None

    def activate(self, x: Tensor) -> Codes:
        """Codes of inputs side by side, `[n, d_in]`."""
        from saebench.saes.side_by_side import side_by_side

        layers, width, each = self.encoders.shape
        if self.shared:
            return self._largest(torch.cat([self._pre(x, layer) for layer in range(layers)], dim=-1))
        parts = []
        for layer in range(layers):
            pre = self._pre(x, layer)
            bar = 0.0 if self.threshold is None else self.threshold[layer * each : (layer + 1) * each].clamp_min(0)
            parts.append(Codes.above(pre, bar) if self.k is None else self._largest(pre))
        return side_by_side(parts)

    def _pre(self, x: Tensor, layer: int) -> Tensor:
        """Pre-activations `[n, F']` of one layer."""
        _, width, each = self.encoders.shape
        pre = x[:, layer * width : (layer + 1) * width] @ self.encoders[layer]
        return pre if self.b_enc is None else pre + self.b_enc[layer * each : (layer + 1) * each]

    def _largest(self, pre: Tensor) -> Codes:
        """The k largest, of those that this layer's decoder has a row for."""
        assert self.k is not None
        top = pre.topk(self.k, dim=-1, sorted=False)
        codes = Codes.from_topk(top.values.relu(), top.indices, pre.shape[-1])
        if pre.shape[-1] <= self.d_sae:
            return codes
        own = codes.keep(codes.latents < self.d_sae)
        return Codes(own.offsets, own.latents, own.values, self.d_sae, own.ctx)


@dataclass(frozen=True)
class Layout:
    """How the tensors of one layer are kept.

    Attributes:
        encoder: File of a layer's encoder; the layer is its group.
        decoder: Name of the file of its decoder, the same file if empty.
        names: Tensors by our names, with `{}` for the layer.
        turned: Encoders are latents by width. Skip matrices are width in by width out either way.
        later: The decoder holds layers from its own on, `[F, layers - s, d]`; else all, `[F, layers, d]`.
        reads: Hook of a block that is read where no configuration says it; no hook if it must.
    """

    encoder: re.Pattern[str]
    decoder: str
    names: Mapping[str, str]
    turned: bool
    later: bool
    reads: str = ""


LAYOUTS = {
    "circuit_tracer_clt": Layout(
        re.compile(r"W_enc_(\d+)\.safetensors"), "W_dec_{}.safetensors",
        {"enc": "W_enc_{}", "b_enc": "b_enc_{}", "b_dec": "b_dec_{}", "threshold": "threshold_{}", "dec": "W_dec_{}",
         "skip": "W_skip_{}"},
        turned=True, later=True,
    ),
    "gemma_scope_2_clt": Layout(
        re.compile(r"\D*layer_(\d+)\.safetensors"), "",
        {"enc": "w_enc", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold", "dec": "w_dec",
         "skip": "affine_skip_connection"},
        turned=False, later=False, reads="mlp.hook_in",
    ),
}  # fmt: skip


def files(path: Path, layout: Layout) -> dict[int, Path]:
    """The encoder's file of each layer in a folder."""
    found = {int(told.group(1)): file for file in sorted(path.glob("*.safetensors"))
             if (told := layout.encoder.fullmatch(file.name))}  # fmt: skip
    return dict(sorted(found.items()))


def marks(path: Path, layout: Layout) -> bool:
    """Whether it is a folder of layers, or one of its files, with a decoder of three axes."""
    encoders = files(path if path.is_dir() else path.parent, layout)
    if path.is_file():
        encoders = {layer: file for layer, file in encoders.items() if file == path}
    if not encoders:
        return False
    first, file = next(iter(encoders.items()))
    try:
        shapes = header(file).shapes
        beside = file.parent / layout.decoder.format(first)
        shapes = {**shapes, **header(beside).shapes} if layout.decoder and beside.is_file() else shapes
    except UserError:
        return False
    names = {ours: own.format(first) for ours, own in layout.names.items()}
    return names["enc"] in shapes and (len(shapes.get(names["dec"], "xxx")) == 3)


def load(path: Path, layout: Layout) -> Layered:
    """The coder at each layer; a layer's weights are read when it is asked for.

    Raises:
        UserError: One file of it alone, a layer that is missing before the last, or no word on what it reads.
    """
    if path.is_file():
        raise UserError(
            f"{path} is one layer of a cross-layer transcoder, which needs those before it: name its folder."
        )
    encoders = files(path, layout)
    if list(encoders) != list(range(len(encoders))):
        missing = sorted({*range(max(encoders) + 1)} - {*encoders})
        raise UserError(f"{path}: layer {missing[0]} is missing among the files of this cross-layer transcoder.")
    config = settings(path)
    into = block_hook(config.get("feature_input_hook") or config.get("hf_hook_point_in") or layout.reads)
    if not into:
        raise UserError(f"{path}: there is no config.yaml with feature_input_hook, the hook of a block that it reads.")
    out = block_hook(config.get("feature_output_hook") or config.get("hf_hook_point_out") or "hook_mlp_out")

    def make(hook: str) -> Coder:
        return _coder(path, encoders, layout, int(hook.split(".")[1]), into, hook)

    name = str(config.get("model_name") or "")
    facts = {"model_name": name} if "/" in name else {}
    return Layered(tuple(f"blocks.{layer}.{out}" for layer in encoders), make, metadata=facts)


def _source(encoder: Path, layout: Layout, source: int, target: int) -> dict[str, Tensor]:
    """The tensors of one layer by our names; of its decoders the one to the target layer."""
    beside = [encoder.parent / layout.decoder.format(source)] if layout.decoder else []
    held = {name: one for file in (encoder, *beside) for name, one in read_tensors(file).items()}
    named = {ours: held[own.format(source)] for ours, own in layout.names.items() if own.format(source) in held}
    needed = [layout.names[name].format(source) for name in ("enc", "b_enc", "b_dec", "dec")]
    known = [own.format(source) for own in layout.names.values()]
    check_names(held, needed, str(encoder), ignored=known)
    named["dec"] = named["dec"][:, target - source if layout.later else target].contiguous()  # lets the others go
    return {name: single(one) for name, one in named.items()}


def _coder(path: Path, encoders: Mapping[int, Path], layout: Layout, last: int, into: str, hook: str) -> Coder:
    parts = [_source(encoders[source], layout, source, last) for source in range(last + 1)]
    enc = torch.stack([part["enc"].T if layout.turned else part["enc"] for part in parts])
    skip = parts[-1].get("skip")
    fields: dict[str, Any] = {} if skip is None else {"W_skip": _last(skip.T, last)}
    if all("threshold" in part for part in parts):
        fields["threshold"] = torch.cat([part["threshold"].reshape(-1) for part in parts])
    coder = CrossLayer(
        encoders=enc.contiguous(), W_dec=torch.cat([part["dec"] for part in parts]).contiguous(),
        b_enc=torch.cat([part["b_enc"] for part in parts]), b_dec=parts[-1]["b_dec"], **fields,
        architecture="cross_layer_transcoder", hook_in=" + ".join(f"blocks.{s}.{into}" for s in range(last + 1)),
        hook_out=hook,
    )  # fmt: skip
    return admit(coder, str(path))


def _last(skip: Tensor, layers: int) -> Tensor:
    """The skip matrix of the last of several inputs, with zeros for those before, `[d_out, d_in]`."""
    return torch.nn.functional.pad(skip, (layers * skip.shape[1], 0)).contiguous()


def settings(path: Path) -> Mapping[str, Any]:
    """What `config.yaml`, or else `config.json`, in a folder says; nothing where there is neither."""
    if (path / "config.yaml").is_file():
        return read_keys(path / "config.yaml", "configuration", "model_name")
    return read_json(path / "config.json") if (path / "config.json").is_file() else {}


def block_hook(told: str) -> str:
    """A hook within its block, from circuit-tracer's name, which is TransformerLens', or a module's of one layer."""
    full = hook_of_module(told)
    within = full.split(".", 2)[2] if full.startswith("blocks.") else told
    return {"mlp.hook_out": "hook_mlp_out", "hook_mlp_in": "hook_resid_mid"}.get(within, within)


FORMATS = tuple(
    Format(name, f"a folder of {layout.encoder.pattern} with decoders to later layers",
           lambda path, layout=layout: marks(path, layout), lambda path, layout=layout: load(path, layout))
    for name, layout in LAYOUTS.items()
)  # fmt: skip
