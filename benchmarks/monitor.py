"""What a monitor adds to a training run, as a share of the run's own time.

    python benchmarks/monitor.py [--steps 200] [--scores 3] [--batch 4096] [--threads 1] [--out FILE.md]

The training is that of `examples/monitor.py`: a TopK SAE on activations that are in memory already, which is the
hardest case, since a run that also makes its activations takes longer a step. Training steps and scores are taken in
turns, both in CPU time; the share is one score over `every` steps at the default interval and suite. Making the
monitor and its first score, which runs the model, stand beside, over the whole run of `--run` steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType

import torch

import saebench as sb


def main() -> None:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="training steps that are timed")
    parser.add_argument("--scores", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4096, help="tokens in a step; SAELens' default")
    parser.add_argument("--run", type=int, default=30_000, help="steps of the run that set-up is shared over")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text = "\n".join(table(options)) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def table(options: argparse.Namespace) -> list[str]:
    """The lines of the table."""
    torch.manual_seed(0)
    example = _example()
    model = sb.load_model("world")
    x = example.activations(model, 2000)
    sae = example.TopK(x.shape[1], 1024, 20)
    began = time.process_time()
    monitor = sb.Monitor(model, hook=example.HOOK)
    monitor.score(1, sae)
    setup = time.process_time() - began
    steps, scores = [], []
    silent = sb.Monitor(model, hook=example.HOOK, every=10**9)
    for turn in range(options.scores):
        part = options.steps // options.scores
        began = time.process_time()
        example.train(sae, x, part, options.batch, silent)
        steps.append((time.process_time() - began) / part)
        began = time.process_time()
        monitor.score(2 + turn, sae)
        scores.append(time.process_time() - began)
    step, score = statistics.median(steps), statistics.median(scores)
    tokens = next(iter(monitor.history[1])).tokens
    return [
        f"world, TopK SAE of 1,024 latents, {options.batch} tokens a step, {options.threads} thread(s), CPU time; "
        f"suite quick on {tokens:,} tokens",
        "",
        "| what | value | goal |",
        "|---|---|---|",
        f"| a training step | {1000 * step:.0f} ms | |",
        f"| a score | {score:.2f} s | |",
        f"| a score every {monitor.every} steps, share of the run | {score / (monitor.every * step):.1%} | under 5 % |",
        f"| set-up and first score, share of {options.run:,} steps | {setup / (options.run * step):.2%} | |",
    ]


def _example() -> ModuleType:
    """The training loop of the example."""
    file = Path(__file__).parents[1] / "examples" / "monitor.py"
    spec = importlib.util.spec_from_file_location("monitor_example", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
