"""Time and memory of exact matching, as ratios within one run.

    python benchmarks/matching.py [--dense 4096 8192] [--blocked 65536] [--huge] [--threads 2] [--out FILE.md]

`--dense` sizes are matched by saebench and by the dense scipy route (product, absolute value,
linear_sum_assignment), `--blocked` ones by saebench and by one blocked product of the same rows, which is
what nobody can do without. Every measurement is a process of its own, so that peaks of memory are its own;
the two sides of a ratio take turns. Memory is the peak of the process above what it held when the data
were there. Medians of `--repeats`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

KINDS = ("isotropic", "correlated", "clustered")
HUGE = (131_072, 768)


def main() -> None:
    """Run all comparisons and print them as Markdown tables."""
    options = _options()
    if options.child:
        _child(json.loads(options.child))
        return
    text = "\n\n".join([_head(options), *_tables(options)]) + "\n"
    sys.stdout.write(text)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense", type=int, nargs="*", default=[4096, 8192], help="latents, against dense scipy")
    parser.add_argument("--blocked", type=int, nargs="*", default=[], help="latents, against one blocked product")
    parser.add_argument("--huge", action="store_true", help="also 131,072 latents of 768 dimensions")
    parser.add_argument("--width", type=int, default=512, help="dimensions")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--variants", nargs="*", default=["plain"], choices=["plain", "signed", "unequal"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"], help="cpu where the machine is not free")
    parser.add_argument("--out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _head(options: argparse.Namespace) -> str:
    return (
        f"{options.threads} threads, {options.device}, torch {torch.__version__}, numpy {np.__version__}; "
        f"{options.clock} seconds and peak memory of one process each, medians of {options.repeats}."
    )


def _tables(options: argparse.Namespace) -> list[str]:
    tables = []
    if options.dense:
        rows = [_against(options, "scipy", n, options.width, k, v) for n in options.dense for k, v in _cases(options)]
        tables.append(_table("dense scipy", rows, faster=True))
    rows = [_against(options, "product", n, options.width, k, v) for n in options.blocked for k, v in _cases(options)]
    if options.huge:
        rows.append(_against(options, "product", *HUGE, "correlated", "plain"))
    if rows:
        tables.append(_table("one blocked product", rows, faster=False))
    return tables


def _cases(options: argparse.Namespace) -> list[tuple[str, str]]:
    return [(kind, variant) for variant in options.variants for kind in options.kinds]


def _against(options: argparse.Namespace, other: str, n: int, d: int, kind: str, variant: str) -> dict:
    """Median figures of both sides, taken in turns."""
    runs: dict[str, list[dict]] = {"match": [], other: []}
    for _ in range(options.repeats):
        for side, found in runs.items():
            asked = {
                "side": side, "n": n, "d": d, "kind": kind, "variant": variant, "threads": options.threads,
                "device": options.device, "clock": options.clock,
            }  # fmt: skip
            found.append(_measured(asked))
    median = {
        side: {key: statistics.median(run[key] for run in found) for key in ("seconds", "memory")}
        for side, found in runs.items()
    }
    ours, theirs = runs["match"][0], runs[other][0]
    if other == "scipy" and abs(ours["value"] - theirs["value"]) > 1e-6:
        raise SystemExit(f"{kind}, {n}: {ours['value']} is not the optimum {theirs['value']}")
    return {"n": n, "d": d, "kind": kind, "variant": variant, "gap": ours["gap"], "rounds": ours["rounds"],
            "ours": median["match"], "theirs": median[other]}  # fmt: skip


def _measured(asked: dict) -> dict:
    command = [sys.executable, __file__, "--child", json.dumps(asked)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(asked["threads"])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _table(other: str, rows: list[dict], *, faster: bool) -> str:
    ratio = f"{other}'s time over ours" if faster else f"our time over {other}"
    lines = [
        f"| latents x d | pair | {ratio} | our memory over {other}'s | our peak, GB | gap | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row["ours"], row["theirs"]
        times = theirs["seconds"] / ours["seconds"] if faster else ours["seconds"] / theirs["seconds"]
        pair = row["kind"] + ("" if row["variant"] == "plain" else f", {row['variant']}")
        lines.append(
            f"| {row['n']:,} x {row['d']} | {pair} | {times:.2f} | {ours['memory'] / max(theirs['memory'], 1e-9):.2f} "
            f"| {ours['memory']:.2f} | {row['gap']:.0e} | {row['rounds']} |"
        )
    return "\n".join(lines)


def _child(asked: dict) -> None:
    """One side of one comparison: its seconds, its memory above the data's, and what it found."""
    torch.set_num_threads(asked["threads"])
    run = {"match": _match, "scipy": _scipy, "product": _product}[asked["side"]](asked)
    a, b = _pair(asked["kind"], asked["n"], asked["d"], asked["variant"] == "unequal")
    held, clock = _peak(), time.process_time if asked["clock"] == "cpu" else time.perf_counter
    began = clock()
    found = run(a, b)
    sys.stdout.write(json.dumps({**found, "seconds": clock() - began, "memory": _peak() - held}) + "\n")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _match(asked: dict) -> Callable[[torch.Tensor, torch.Tensor], dict]:
    from saebench.matching.dictionary import dictionary
    from saebench.matching.exact import Settings
    from saebench.matching.matched import matched

    signed = asked["variant"] == "signed"
    small = torch.eye(8) + 0.1
    matched(dictionary(small, "a"), dictionary(small.flip(0), "b"), settings=Settings())  # compiles, or loads the code

    def run(a: torch.Tensor, b: torch.Tensor) -> dict:
        left, right = (dictionary(x.to(asked["device"]), "x") for x in (a, b))
        found = matched(left, right, signed=signed)
        return {"value": found.value, "gap": found.gap, "rounds": found.rounds}

    return run


def _scipy(asked: dict) -> Callable[[torch.Tensor, torch.Tensor], dict]:
    from scipy.optimize import linear_sum_assignment

    def run(a: torch.Tensor, b: torch.Tensor) -> dict:
        unit = [torch.nn.functional.normalize(x, dim=1) for x in (a, b)]
        similarity = (unit[0] @ unit[1].T).numpy()
        if asked["variant"] != "signed":
            np.abs(similarity, out=similarity)
        row, column = linear_sum_assignment(similarity, maximize=True)
        return {"value": float(similarity[row, column].mean(dtype=np.float64))}

    return run


def _product(asked: dict) -> Callable[[torch.Tensor, torch.Tensor], dict]:
    from saebench.matching.candidates import blocks

    def run(a: torch.Tensor, b: torch.Tensor) -> dict:
        a, b = a.to(asked["device"]), b.to(asked["device"])
        parts = list(blocks(len(a), len(b)))
        buffer = a.new_empty(parts[0].stop, len(b))
        for part in parts:
            torch.mm(a[part], b.T, out=buffer[: part.stop - part.start])
        return {"value": float(buffer[0, 0])}

    return run


def _pair(kind: str, n: int, d: int, unequal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Two dictionaries of a kind; half of A's rows (of clusters a third) have noisy copies in B.

    B has twice as many rows if `unequal`.
    """
    generator = torch.Generator().manual_seed(n + d)
    m = 2 * n if unequal else n

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    scale, offset = torch.ones(d), torch.zeros(d)
    if kind == "correlated":
        scale = torch.arange(1, d + 1) ** -0.5
        offset = 0.7 * normal(d) * scale
    centres = normal(max(1, n // 24), d)

    def drawn(size: int) -> torch.Tensor:
        rows = normal(size, d) * scale + offset
        if kind != "clustered":
            return rows
        popular = torch.rand(len(centres), generator=generator) ** 2
        return centres[torch.multinomial(popular, size, replacement=True, generator=generator)] + 0.6 * rows

    a, b = drawn(n), drawn(m)
    shared = n // 3 if kind == "clustered" else n // 2
    noise = normal(shared, d) * a[:shared].norm(dim=1, keepdim=True) / d**0.5
    b[:shared] = a[:shared] + torch.rand(shared, 1, generator=generator) * noise
    return a, b[torch.randperm(m, generator=generator)]


if __name__ == "__main__":
    main()
