"""Checkpoints that are no more than layers: Goodfire's, DeepSeek-R1's, circuit-tracer's, Qwen Scope's."""

from __future__ import annotations

import re
from typing import Any

from saebench.errors import UserError, unknown
from saebench.saes.architectures import JumpReLU, ReLU, TopK
from saebench.saes.building import layer_names, renamed, said, scalar
from saebench.saes.checkpoint import Checkpoint, by_contents
from saebench.saes.coder import Coder
from saebench.saes.cross_layer import block_hook, settings
from saebench.saes.end_to_end import positions
from saebench.saes.files import PICKLED
from saebench.saes.gate import admit
from saebench.saes.saelens_config import whole

_FOUR = {"W_enc": "weight", "b_enc": "bias"}
_MATRICES = ("W_enc", "W_dec")
_PLAIN = ("W_enc", "b_enc", "W_dec", "b_dec")
_BAR = "activation_function.threshold"
_OTHERS = ("config.json", "cfg.json", "hyperparams.json")
"""Configurations that make two linear layers another format's."""


GOODFIRE, LAYERS = layer_names("encoder_linear", "decoder_linear"), layer_names("encoder", "decoder")


def marks_goodfire(checkpoint: Checkpoint) -> bool:
    """Whether the two layers have Goodfire's names."""
    return checkpoint.has(*GOODFIRE.values())


def marks_layers(checkpoint: Checkpoint) -> bool:
    """Whether there are two linear layers with biases, nothing else, and no configuration that says more."""
    alone = not any(name in checkpoint.configs for name in _OTHERS)
    matrices = all(len(checkpoint.shapes.get(LAYERS[name], ())) == 2 for name in _MATRICES)
    return alone and matrices and set(checkpoint.shapes) == set(LAYERS.values()) and not positions(checkpoint)


def marks_qwen(checkpoint: Checkpoint) -> bool:
    """Whether the four matrices lie the other way round: the encoder latents by width, the decoder width by latents."""
    if set(checkpoint.shapes) != set(_PLAIN) or checkpoint.weights.suffix not in PICKLED:
        return False
    latents, width = checkpoint.shapes["b_enc"], checkpoint.shapes["b_dec"]
    turned = checkpoint.shapes["W_enc"] == latents + width and checkpoint.shapes["W_dec"] == width + latents
    return turned and latents != width and "cfg.json" not in checkpoint.configs


def marks_circuit(checkpoint: Checkpoint) -> bool:
    """Whether encoder and decoder both lie latents by width, in a safetensors file with no `cfg.json`."""
    names = set(checkpoint.shapes) - {"W_skip", "k", _BAR}
    if names != set(_PLAIN) or checkpoint.weights.suffix in PICKLED or "cfg.json" in checkpoint.configs:
        return False
    latents, width = checkpoint.shapes["b_enc"], checkpoint.shapes["b_dec"]
    both = checkpoint.shapes["W_enc"] == checkpoint.shapes["W_dec"] == latents + width
    return both and latents != width


def build_goodfire(checkpoint: Checkpoint) -> Coder:
    """Coder: f = relu(W x + b), y = D f + c; the decoder's bias is not subtracted from x (Goodfire)."""
    return _relu(checkpoint, GOODFIRE)


def build_layers(checkpoint: Checkpoint) -> Coder:
    """Coder of two linear layers with a ReLU between, as of the DeepSeek-R1 SAEs and AutoEncoderNew."""
    coder = _relu(checkpoint, LAYERS)
    return coder.replace(warnings=[*coder.warnings, "no configuration: taken as ReLU between two linear layers"])


def build_qwen(checkpoint: Checkpoint) -> Coder:
    """Coder of a Qwen Scope layer: the k largest of W x + b, b_dec not subtracted; k stands in the repository's name.

    Raises:
        UserError: The folders above the file do not name k.
    """
    path = checkpoint.weights.absolute().as_posix()
    told = re.search(r"SAE-Res-(.+?)-W\d+K-L0_(\d+)", path)
    if not told:
        raise UserError(
            f"{checkpoint.where}: looks like a layer of Qwen Scope, whose repository names k (...-L0_50), but no "
            "folder above it does. Put a saebench.yaml beside it with `architecture: topk`, `k: 50` and "
            "`subtract_b_dec: false`."
        )
    weights = renamed(checkpoint.tensors(), {name: name for name in _PLAIN}, checkpoint.where, transposed=_MATRICES)
    k = whole(int(told.group(2)), checkpoint.where)
    layer = re.search(r"layer[_.]?(\d+)", checkpoint.weights.name)
    hook = f"blocks.{layer.group(1)}.hook_resid_post" if layer else ""
    coder = TopK(
        **weights, k=k, architecture="topk", hook_in=hook, hook_out=hook,
        metadata={"k": k, "model_name": f"Qwen/{told.group(1)}"},
    )  # fmt: skip
    return admit(coder, checkpoint.where)


def build_circuit(checkpoint: Checkpoint) -> Coder:
    """Coder of a layer of a set of transcoders: y = act(W_enc x + b_enc) W_dec + b_dec (+ W_skip x).

    The activation is a JumpReLU where there is a threshold, top-k where the file or `config.yaml` has k, else a ReLU;
    the hooks are those of `config.yaml`, else the MLP's input and output.

    Raises:
        UserError: `config.yaml` says topk and no k, or another activation.
    """
    where, tensors, told = checkpoint.where, checkpoint.tensors(), settings(checkpoint.weights.parent)
    own = {"W_skip": "W_skip", "threshold": _BAR}
    names = {name: name for name in _PLAIN} | {ours: name for ours, name in own.items() if name in tensors}
    weights = renamed(tensors, names, where, transposed=("W_enc",), ignored=("k",))
    layer = re.search(r"layer[_.]?(\d+)", checkpoint.weights.name)
    hooks = (told.get("feature_input_hook") or "mlp.hook_in", told.get("feature_output_hook") or "hook_mlp_out")
    ends = [f"blocks.{layer.group(1)}.{block_hook(str(hook))}" if layer else "" for hook in hooks]
    act, k = told.get("activation"), scalar(tensors.get("k"), told.get("k"))
    if act not in (None, "relu", "topk", "jump_relu", "jumprelu"):
        raise unknown(f"activation in the config.yaml of {where}:", str(act), ["relu", "topk", "jumprelu"])
    kind: Any = JumpReLU if "threshold" in weights else TopK if act == "topk" or "k" in tensors else ReLU
    if kind is TopK:
        weights["k"] = whole(k, where)
    prefix = {JumpReLU: "jumprelu_", TopK: "topk_", ReLU: ""}[kind] + ("skip_" if "W_skip" in names else "")
    coder = kind(
        **weights, architecture=f"{prefix}transcoder", hook_in=ends[0], hook_out=ends[1],
        metadata=said(model_name=told.get("model_name"), k=weights.get("k")),
    )  # fmt: skip
    return admit(coder, where)


def _relu(checkpoint: Checkpoint, names: dict[str, str]) -> Coder:
    weights = renamed(checkpoint.tensors(), names, checkpoint.where, transposed=_MATRICES)
    hook, facts = _belongs(checkpoint.weights.absolute().as_posix())
    coder = ReLU(**weights, architecture="standard", hook_in=hook, hook_out=hook, metadata=facts)
    return admit(coder, checkpoint.where)


def _belongs(path: str) -> tuple[str, dict[str, Any]]:
    """Hook and model of a published SAE, from its file's name: `NAME-SAE-l19.pth`."""
    told = re.search(r"([\w.-]+)-SAE-l(\d+)\.\w+$", path)
    if not told:
        return "", {}
    owner = "meta-llama/" if told.group(1).startswith("Llama") else "deepseek-ai/"
    return f"blocks.{told.group(2)}.hook_resid_post", {"model_name": owner + told.group(1)}


FORMATS = (
    by_contents("goodfire", "a .pt with encoder_linear and decoder_linear", marks_goodfire, build_goodfire),
    by_contents("linear_layers", "a .pt of encoder and decoder layers alone", marks_layers, build_layers),
    by_contents(
        "circuit_tracer", "layer_N.safetensors with W_enc and W_dec of latents by width", marks_circuit, build_circuit
    ),
    by_contents("qwen_scope", "layerN.sae.pt with W_enc of latents by width", marks_qwen, build_qwen),
)
