"""What benchmarks of passes share: their options, jobs timed in turns, peaks of memory, the table they write."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch


def parser(doc: str, *, tokens: int, threads: int, repeats: int) -> argparse.ArgumentParser:
    """A parser with the options that all of them have."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--tokens", type=int, default=tokens)
    made.add_argument("--threads", type=int, default=threads)
    made.add_argument("--repeats", type=int, default=repeats)
    made.add_argument("--out", help="Markdown file")
    return made


def in_turns(
    work: Mapping[str, Callable[[], None]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each job, taken in turns so that a slow spell hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, job in work.items():
            began = clock()
            job()
            taken[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def peak_of(module: str, tokens: int) -> float:
    """Kilobytes that a process of its own needs at most: `python -m MODULE --memory-of TOKENS`, which prints them."""
    words = [sys.executable, "-m", module, "--memory-of", str(tokens)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1])


def tell_peak() -> None:
    """Print the kilobytes that this process has needed at most."""
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


def tell(options: argparse.Namespace, heads: Sequence[str], lines: Sequence[str]) -> None:
    """Print a Markdown table under a line on how it was measured, and write it to `--out`."""
    table = "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines])
    text = f"{options.tokens:,} tokens, {options.threads} threads, torch {torch.__version__}\n\n{table}\n"
    sys.stdout.write(text)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")
