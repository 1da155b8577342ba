"""One side of one comparison of `matching.py`, in a process of its own: its seconds, its memory, what it found."""

from __future__ import annotations

import functools
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

Run = Callable[[torch.Tensor, torch.Tensor], dict]
CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
PATIENCE = 10.0
"""Seconds after which a part says how far it is."""


def main() -> None:
    """Do what the argument asks for, a JSON object, and print a JSON object."""
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    device = torch.device(asked["device"])
    run = {"match": _match, "scipy": _scipy, "product": _product}[asked["side"]](asked)
    a, b = pair(asked["kind"], asked["n"], asked["d"], device, unequal=asked["variant"] == "unequal")
    held, clock = _peak(device), CLOCKS[asked["clock"]]
    _settle(device)
    began = clock()
    found = run(a, b)
    _settle(device)
    seconds = clock() - began
    sys.stdout.write(json.dumps({**found, "seconds": seconds, "memory": _peak(device) - held}) + "\n")


def _settle(device: torch.device) -> None:
    """Wait for what the device has been given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> float:
    """Gigabytes held at most: by tensors of a GPU since it was last asked, by the process since it began."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _match(asked: dict) -> Run:
    from saebench.matching.dictionary import dictionary
    from saebench.matching.exact import Settings
    from saebench.matching.matched import matched

    signed, device = asked["variant"] == "signed", torch.device(asked["device"])
    small = [dictionary(x, "warm") for x in pair("isotropic", 64, 8, device, unequal=asked["variant"] == "unequal")]
    matched(*small, signed=True, settings=Settings(dtype=torch.float32))  # loads or compiles, and wakes the device
    parts, dtype = _timed(device, CLOCKS[asked["clock"]]), getattr(torch, asked["dtype"], None)
    _tell_progress()

    def run(a: torch.Tensor, b: torch.Tensor) -> dict:
        found = matched(dictionary(a, "a"), dictionary(b, "b"), signed=signed, settings=Settings(dtype=dtype))
        return {"value": found.value, "gap": found.gap, "rounds": found.rounds, "parts": parts}

    return run


def _tell_progress() -> None:
    """Have every pass over blocks say on stderr how far it is, if it takes long."""
    from saebench.matching import candidates, exact, pricing

    for module in (candidates, exact, pricing):
        setattr(module, "blocks", _told(module.blocks, module.__name__.rpartition(".")[2]))  # noqa: B010


def _told(blocks: Callable[..., Iterator[slice]], name: str) -> Callable[..., Iterator[slice]]:
    def told(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
        last = time.perf_counter()
        for part in blocks(rows, columns, device):
            yield part
            if time.perf_counter() - last > PATIENCE:
                last = time.perf_counter()
                sys.stderr.write(f"  {name}: {part.stop:,} of {rows:,} rows against {columns:,}\n")

    return told


def _timed(device: torch.device, clock: Callable[[], float]) -> dict[str, float]:
    """Have the parts of a matching add their seconds to a table from now on."""
    from saebench.matching import exact

    rest: Any = exact._Rest
    places = {
        "product and lists": (exact, "candidates"),
        "fixing": (exact, "safe_pairs"),
        "graph": (rest, "_graph"),
        "assignment": (rest, "_settled"),
        "pricing": (rest, "_priced"),
    }
    seconds = dict.fromkeys(places, 0.0)
    for name, (owner, attribute) in places.items():
        setattr(owner, attribute, _counted(getattr(owner, attribute), name, seconds, device, clock))
    return seconds


def _counted(
    function: Callable[..., Any], name: str, seconds: dict[str, float], device: torch.device, clock: Callable[[], float]
) -> Any:
    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _settle(device)
        began = clock()
        try:
            return function(*args, **kwargs)
        finally:
            _settle(device)
            seconds[name] += clock() - began
            if clock() - began > PATIENCE:
                sys.stderr.write(f"  {name}: {clock() - began:.0f} s\n")

    return counted


def _scipy(asked: dict) -> Run:
    from scipy.optimize import linear_sum_assignment

    def run(a: torch.Tensor, b: torch.Tensor) -> dict:
        unit = [torch.nn.functional.normalize(x, dim=1) for x in (a, b)]
        similarity = (unit[0] @ unit[1].T).cpu().numpy()
        if asked["variant"] != "signed":
            np.abs(similarity, out=similarity)
        row, column = linear_sum_assignment(similarity, maximize=True)
        return {"value": float(similarity[row, column].mean(dtype=np.float64))}

    return run


def _product(asked: dict) -> Run:
    from saebench.matching.candidates import blocks

    small = torch.eye(8, device=asked["device"])
    torch.mm(small, small)

    def run(a: torch.Tensor, b: torch.Tensor) -> dict:
        parts = list(blocks(len(a), len(b), a.device))
        buffer = a.new_empty(parts[0].stop, len(b))
        for part in parts:
            torch.mm(a[part], b.T, out=buffer[: part.stop - part.start])
        return {"value": float(buffer[0, 0])}

    return run


def pair(kind: str, n: int, d: int, device: torch.device, *, unequal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Two dictionaries of a kind; half of A's rows (of clusters a third) have noisy copies in B.

    B has twice as many rows if `unequal`.
    """
    generator = torch.Generator(device).manual_seed(n + d)
    normal = functools.partial(torch.randn, generator=generator, device=device)
    m = 2 * n if unequal else n
    scale, offset = torch.ones(d, device=device), torch.zeros(d, device=device)
    if kind == "correlated":
        scale = torch.arange(1, d + 1, device=device) ** -0.5
        offset = 0.7 * normal(d) * scale
    centres = normal(max(1, n // 24), d)

    def drawn(size: int) -> torch.Tensor:
        rows = normal(size, d) * scale + offset
        if kind != "clustered":
            return rows
        popular = torch.rand(len(centres), generator=generator, device=device) ** 2
        return centres[torch.multinomial(popular, size, replacement=True, generator=generator)] + 0.6 * rows

    a, b = drawn(n), drawn(m)
    shared = n // 3 if kind == "clustered" else n // 2
    noise = normal(shared, d) * a[:shared].norm(dim=1, keepdim=True) / d**0.5
    b[:shared] = a[:shared] + torch.rand(shared, 1, generator=generator, device=device) * noise
    return a, b[torch.randperm(m, generator=generator, device=device)]


if __name__ == "__main__":
    main()
