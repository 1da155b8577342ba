"""Speed and memory of SAEs alone: encode, decode and loading, as ratios within one run.

    python -m benchmarks.saes [--width 768] [--latents 16384] [--tokens 1024] [--l0 50] [--threads 1] [--repeats 7]
                              [--only encode decode loading] [--out FILE.md]

Every round takes all sides once, in turns, in CPU seconds of all threads; a ratio is of one round, and the median of
the rounds is given. Weights are random: how long an encode takes depends on sizes and L0 alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import saes_loading, saes_peers
from saebench.saes.architectures import Gated, JumpReLU, ReLU, TopK
from saebench.saes.coder import Coder
from saebench.saes.codes import Codes

PARTS = ("encode", "decode", "loading")
KINDS: dict[str, type[Coder]] = {
    "standard": ReLU, "topk": TopK, "batchtopk": JumpReLU, "jumprelu": JumpReLU, "gated": Gated,
}  # fmt: skip


def main() -> None:
    """Run what was asked for and print it as Markdown."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    lines = [
        f"width {options.width}, {options.latents:,} latents, {options.tokens:,} tokens, L0 near {options.l0}, "
        f"{options.threads} thread(s), median of {options.repeats} rounds, torch {torch.__version__}"
    ]
    if "encode" in options.only:
        lines += encode_table(options)
    if "decode" in options.only:
        lines += decode_table(options)
    if "loading" in options.only:
        lines += loading_table(options)
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--latents", type=int, default=16_384)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--l0", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def encode_table(options: argparse.Namespace) -> list[str]:
    """Encode to sparse codes against the other libraries' encode, which makes dense codes (sparsify: the k largest)."""
    peers = saes_peers.versions()
    told = ", ".join(f"{name} {version}" for name, version in peers.items()) or "none of the other libraries"
    lines = ["", f"### Encode, against {told}", ""]
    lines += [f"| architecture | L0 | ours | {' | '.join(peers)} | over the product | fastest / ours | goal |"]
    lines += ["|---" * (6 + len(peers)) + "|"]
    x = _draw(options.tokens, options.width, seed=9)
    for architecture, kind in KINDS.items():
        weights = _weights(architecture, options)
        coder = _coder(kind, architecture, weights, options.l0)
        others = saes_peers.encoders(architecture, weights, options.l0)
        codes = coder.encode(x)
        _agree(codes, others, x)
        sides: dict[str, Callable[[], Any]] = {"ours": lambda coder=coder: coder.encode(x)}
        sides |= {name: lambda encode=encode: encode(x) for name, encode in others.items()}
        sides["product"] = lambda weight=weights["W_enc"]: x @ weight
        rounds = timed(sides, options.repeats)
        names = tuple(others)
        fastest = _ratio(rounds, lambda at, names=names: min(map(at.get, names)) / at["ours"]) if names else "-"
        shown = [f"{1000 * _median(rounds, name):.0f} ms" if name in rounds[0] else "-" for name in ("ours", *peers)]
        over = _ratio(rounds, lambda at: at["ours"] / at["product"])
        lines.append(
            f"| {architecture} | {float(codes.l0.float().mean()):.0f} | {' | '.join(shown)} | {over} | {fastest} | 1 |"
        )
    return lines


def decode_table(options: argparse.Namespace) -> list[str]:
    """Decode of sparse codes against the dense product with the same codes."""
    weights = _weights("topk", options)
    coder = _coder(TopK, "topk", weights, options.l0)
    codes = coder.encode(_draw(options.tokens, options.width, seed=9))
    dense = codes.dense()
    torch.testing.assert_close(coder.decode(codes), dense @ coder.W_dec + coder.b_dec, rtol=1e-4, atol=1e-4)
    sides = {"sparse": lambda: coder.decode(codes), "dense": lambda: torch.addmm(coder.b_dec, dense, coder.W_dec)}
    rounds = timed(sides, options.repeats)
    return [
        "", "### Decode, against the dense product", "",
        "| L0 | sparse | dense | dense / sparse | goal |", "|---|---|---|---|---|",
        f"| {len(codes.values) / codes.n:.0f} | {1000 * _median(rounds, 'sparse'):.1f} ms "
        f"| {1000 * _median(rounds, 'dense'):.0f} ms | {_ratio(rounds, lambda at: at['dense'] / at['sparse'])} | 10 |",
    ]  # fmt: skip


def loading_table(options: argparse.Namespace) -> list[str]:
    """Loading with all its checks against reading the files' bytes, and its peak memory over the weights' size."""
    lines = [
        "", "### Loading, against reading the bytes; peak memory against the weights as they are held", "",
        "| checkpoint | file | read | load | load / read | goal | peak / weights | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, path, file in saes_loading.written(Path(folder), _weights("topk", options), options.l0):
            sides = {"load": lambda path=path: saes_loading.load(path), "read": lambda file=file: file.read_bytes()}
            rounds = timed(sides, options.repeats)
            peak = statistics.median(saes_loading.peak(path) for _ in range(3))
            lines.append(
                f"| {name} | {file.stat().st_size / 1e6:.0f} MB | {1000 * _median(rounds, 'read'):.0f} ms "
                f"| {1000 * _median(rounds, 'load'):.0f} ms | {_ratio(rounds, lambda at: at['load'] / at['read'])} "
                f"| 1.5 | {peak:.2f} | 1.2 |"
            )
    return lines


def timed(sides: Mapping[str, Callable[[], Any]], repeats: int) -> list[dict[str, float]]:
    """CPU seconds of each side in each round, after one round that is not counted."""
    rounds = []
    for _ in range(repeats + 1):
        at = {}
        for name, side in sides.items():
            began = time.process_time()
            side()
            at[name] = time.process_time() - began
        rounds.append(at)
    return rounds[1:]


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(at[name] for at in rounds)


def _ratio(rounds: list[dict[str, float]], of: Callable[[dict[str, float]], float]) -> str:
    return f"{statistics.median(of(at) for at in rounds):.2f}"


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _weights(architecture: str, options: argparse.Namespace) -> saes_peers.Weights:
    """Random weights under which about `l0` latents fire on standard normal activations."""
    d, latents = options.width, options.latents
    bar = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - options.l0 / latents)))
    weights = {"W_enc": _draw(d, latents, seed=1) / d**0.5, "W_dec": _draw(latents, d, seed=2) / d**0.5,
               "b_dec": 0.01 * _draw(d, seed=3)}  # fmt: skip
    if architecture == "gated":
        return weights | {"b_gate": torch.full((latents,), -bar), "r_mag": 0.1 * _draw(latents, seed=4),
                          "b_mag": 0.1 * _draw(latents, seed=5)}  # fmt: skip
    weights["b_enc"] = torch.full((latents,), -bar if architecture == "standard" else 0.0)
    if architecture in ("batchtopk", "jumprelu"):
        weights["threshold"] = torch.full((latents,), bar)
    return weights


def _coder(kind: type[Coder], architecture: str, weights: saes_peers.Weights, k: int) -> Coder:
    options: dict[str, Any] = {**weights, **({"k": k} if kind is TopK else {})}
    return kind(**options, centred=architecture != "jumprelu", hook_in="x", hook_out="x")


def _agree(codes: Codes, others: Mapping[str, saes_peers.Encode], x: Tensor) -> None:
    """Refuse to compare encoders that do not give the same codes, but for rounding at a threshold."""
    ours = codes.dense()
    for name, encode in others.items():
        theirs = encode(x)
        if not isinstance(theirs, Tensor):
            theirs = torch.zeros_like(ours).scatter_(1, theirs.top_indices, theirs.top_acts)
        differ = float(((theirs - ours).abs() > 1e-3).sum() / max(len(codes.values), 1))
        assert differ < 1e-3, f"{name}: {differ:.2%} of the codes are not ours"


if __name__ == "__main__":
    main()
