"""Time and memory of exact matching, as ratios within one run, smallest size first.

    python benchmarks/matching.py [--sizes 4096x512 8192x512] [--against auto|scipy|product|nothing]
        [--kinds isotropic correlated clustered] [--variants plain signed unequal] [--device cpu] [--out FILE.md]

Sizes are latents x dimensions. Each is matched by saebench and, to divide by, once more: by the dense scipy
route (product, absolute value, linear_sum_assignment) up to 16,384 latents on the CPU, by one blocked product
of the same rows, which nobody can do without, above that and on a GPU. Every measurement is a process of its
own, so that peaks of memory are its own; the two sides of a ratio take turns. Memory is the peak above what was
held when the data were there: of the process, on a GPU of the device. Medians of `--repeats`. What is done is
printed at once, with the seconds of each part, and kept in `--out`, so that a run may be stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

KINDS = ("isotropic", "correlated", "clustered")
LARGEST_DENSE = 16_384
CHILD = Path(__file__).with_name("matching_child.py")


class Size(NamedTuple):
    """Latents and dimensions."""

    latents: int
    width: int


def main() -> None:
    """Run all comparisons, print each as it is done, and then the table."""
    options = _options()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(f"--device {options.device}: torch {torch.__version__} sees no GPU here; try --device cpu.")
    rows = []
    for size in sorted(options.sizes):
        for variant in options.variants:
            for kind in options.kinds:
                rows.append(_compared(options, size, kind, variant))
                sys.stdout.write(_told(rows[-1]) + "\n")
                sys.stdout.flush()
                _write(options, rows)
    sys.stdout.write("\n" + _text(options, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=_size, nargs="+", default=[Size(4096, 512), Size(8192, 512)], metavar="LATENTSxDIM"
    )
    parser.add_argument("--against", default="auto", choices=["auto", "scipy", "product", "nothing"])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--variants", nargs="*", default=["plain"], choices=["plain", "signed", "unequal"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "float64"], help="of our products")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"], help="cpu where the machine is not free")
    parser.add_argument("--out", type=Path, help="Markdown file")
    return parser.parse_args()


def _size(text: str) -> Size:
    try:
        latents, width = map(int, text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not LATENTSxDIM, such as 16384x512") from error
    return Size(latents, width)


def _other(options: argparse.Namespace, size: Size) -> str | None:
    """What a size is compared with."""
    if options.against != "auto":
        return None if options.against == "nothing" else options.against
    return "scipy" if size.latents <= LARGEST_DENSE and options.device == "cpu" else "product"


def _compared(options: argparse.Namespace, size: Size, kind: str, variant: str) -> dict:
    """Median figures of both sides, taken in turns."""
    other = _other(options, size)
    runs: dict[str, list[dict]] = {"match": [], **({other: []} if other else {})}
    began = time.perf_counter()
    for _ in range(options.repeats):
        for side, found in runs.items():
            asked = {"side": side, "n": size.latents, "d": size.width, "kind": kind, "variant": variant}
            shared = {"threads": options.threads, "device": options.device, "clock": options.clock}
            found.append(_measured({**asked, **shared, "dtype": options.dtype}))
    ours = runs["match"][0]
    if other == "scipy" and abs(ours["value"] - runs[other][0]["value"]) > 1e-6:
        raise SystemExit(f"{kind}, {size}: {ours['value']} is not the optimum {runs[other][0]['value']}")
    median = {
        side: {key: statistics.median(run[key] for run in found) for key in ("seconds", "memory")}
        for side, found in runs.items()
    }
    took = time.perf_counter() - began
    return {**ours, "size": size, "kind": kind, "variant": variant, "other": other, "took": took, **median["match"],
            "theirs": median.get(other or "")}  # fmt: skip


def _measured(asked: dict) -> dict:
    command = [sys.executable, str(CHILD), json.dumps(asked)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": str(asked["threads"])}
    )
    if done.returncode:
        raise SystemExit(f"{asked} ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _pair(row: dict) -> str:
    return row["kind"] + ("" if row["variant"] == "plain" else f", {row['variant']}")


def _told(row: dict) -> str:
    """One line: what was matched, in what time, part by part."""
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["parts"].items())
    theirs = f"; {row['other']} {row['theirs']['seconds']:.2f} s" if row["theirs"] else ""
    return (
        f"{row['size'].latents} x {row['size'].width}, {_pair(row)}: {row['seconds']:.2f} s ({parts}){theirs}; "
        f"value {row['value']:.6f}, gap {row['gap']:.0e}; {row['took']:.0f} s with the making of the data"
    )


def _write(options: argparse.Namespace, rows: list[dict]) -> None:
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(_text(options, rows), encoding="utf-8")


def _text(options: argparse.Namespace, rows: list[dict]) -> str:
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    head = (
        f"{options.threads} threads, {device}, torch {torch.__version__}, numpy {np.__version__}; "
        f"{options.clock} seconds and peak memory of one process each, medians of {options.repeats}."
    )
    tables = []
    for other in ("scipy", "product", None):
        some = [row for row in rows if row["other"] == other]
        if some:
            tables.append(_table(other, some))
    return "\n\n".join([head, *tables]) + "\n"


def _table(other: str | None, rows: list[dict]) -> str:
    names = list(rows[0]["parts"])
    ratios = {
        "scipy": ["scipy's time over ours", "our memory over scipy's"],
        "product": ["our time over one product's"],
    }.get(other or "", [])
    heads = ["latents x d", "pair", *ratios, "seconds", *names, "peak, GB", "gap", "rounds"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cells(row, names)) + " |" for row in rows]
    return "\n".join(lines)


def _cells(row: dict, names: list[str]) -> list[str]:
    cells = [f"{row['size'].latents:,} x {row['size'].width}", _pair(row)]
    if row["theirs"]:
        time_over = row["theirs"]["seconds"] / row["seconds"]
        cells.append(f"{time_over if row['other'] == 'scipy' else 1 / time_over:.2f}")
        if row["other"] == "scipy":
            cells.append(f"{row['memory'] / max(row['theirs']['memory'], 1e-9):.2f}")
    cells.append(f"{row['seconds']:.2f}")
    cells += [f"{row['parts'][name]:.2f}" for name in names]
    return [*cells, f"{row['memory']:.2f}", f"{row['gap']:.0e}", str(row["rounds"])]


if __name__ == "__main__":
    main()
