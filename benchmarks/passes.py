"""Speed and memory of the core pass, as ratios within one run.

    python -m benchmarks.passes [--tokens 40000] [--threads 2] [--out benchmarks/passes.md]
    python -m benchmarks.passes --device cuda --body 768x12 --latents 24576 --tokens 1000000

Every figure is a ratio of times taken in one process on the same batches, model and SAEs: CPU seconds on a
CPU, seconds by the clock on a GPU. `--body WIDTHxLAYERS` takes a GPT-2 of that size with random weights and a
random TopK dictionary in place of the world's, since speed does not depend on what they know. The
floor is a bare loop written here: the model's forward, the forward resumed from the hook with the SAE, and
for each SAE its matrix products, on the same batches. Medians of `--repeats` interleaved rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

import saebench as sb
from benchmarks import timing
from saebench.data.corpus import build_corpus
from saebench.engine.batches import Batcher
from saebench.engine.execute import token_budget
from saebench.engine.fits import Fit, fit
from saebench.engine.references import FIT_TOKENS
from saebench.engine.stream import Pass, Task
from saebench.suite import TextSpec


def main() -> None:
    """Run all comparisons and print them as a Markdown table."""
    options = _options()
    if options.memory_of:
        _memory_child(options.memory_of)
        return
    torch.set_num_threads(options.threads)
    timing.tell(options, ["what", "ratio", "target"], [*_speed(options), _memory(options), *_command()])


def _options() -> argparse.Namespace:
    parser = timing.parser(__doc__ or "", tokens=40_000, threads=2, repeats=5)
    parser.add_argument("--model", default="world")
    parser.add_argument("--sae", default="world:topk-mid")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--body", metavar="WIDTHxLAYERS", help="a GPT-2 of this size with random weights")
    parser.add_argument("--latents", type=int, default=24_576, help="latents of its SAE")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _machine(options: argparse.Namespace) -> str:
    if options.device == "cpu":
        return f"{options.threads} threads"
    body = f"GPT-2 {options.body} and {options.latents:,} latents" if options.body else "the world"
    return f"{torch.cuda.get_device_name()}, {body}"


def _setting(tokens: int, model_ref: str, sae_ref: str, device: str) -> tuple:
    if model_ref == "world":
        from saebench.data.world import MODEL_DIR

        model_ref = str(MODEL_DIR)
    model = sb.load_model(model_ref, device=device)
    corpus = build_corpus("text", "world", TextSpec(source="world", tokens=tokens), model)
    return model, corpus, sb.load_sae(sae_ref, device=device)


def _made(tokens: int, body: str, latents: int, device: str) -> tuple:
    """A GPT-2 with random weights that reads the world's words, and a random dictionary half-way up."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from saebench.data.world import MODEL_DIR
    from saebench.saes.nulls import random_dictionary

    width, layers = (int(part) for part in body.split("x"))
    torch.manual_seed(0)
    config = GPT2Config(n_embd=width, n_layer=layers, n_head=width // 64, n_positions=1024)
    words = AutoTokenizer.from_pretrained(MODEL_DIR)
    model = sb.load_model(GPT2LMHeadModel(config), device=device, tokenizer=words)
    corpus = build_corpus("text", "world", TextSpec(source="world", tokens=tokens), model)
    hook = f"blocks.{layers // 2}.hook_resid_post"
    run = model.forward(Batcher(corpus, model.device).batch(0, 64).tokens, [hook], final=False)
    sae = random_dictionary(run.acts[hook].flatten(0, 1), 64, width=latents, hook=hook)
    return model, corpus, sae.to(device=device)


def _speed(options: argparse.Namespace) -> list[str]:
    if options.body:
        model, corpus, sae = _made(options.tokens, options.body, options.latents, options.device)
    else:
        model, corpus, sae = _setting(options.tokens, options.model, options.sae, options.device)
    core = [m for m in sb.load_suite("core").metrics() if m.kind == "stream"]
    one = [m for m in core if m.name == "loss_recovered"]
    budget = token_budget(model.device, [sae])

    fitted = _fitted(model, sae, corpus, budget)

    def run(metrics: list, saes: int) -> Callable[[], None]:
        return lambda: _pass(model, corpus, [_task(sae, metrics, fitted) for _ in range(saes)], budget)

    work = {
        "core, 1 SAE": run(core, 1),
        "core, 4 SAEs": run(core, 4),
        "one metric, 1 SAE": run(one, 1),
        "floor, 1 SAE": lambda: _floor(model, corpus, sae, budget, saes=1),
        "floor, 4 SAEs": lambda: _floor(model, corpus, sae, budget, saes=4),
    }
    clock = time.process_time if options.device == "cpu" else _device_clock
    timing.in_turns(work, 1, clock)  # compiles, and fills caches
    seconds = timing.in_turns(work, options.repeats, clock)
    further = (seconds["core, 4 SAEs"] - seconds["core, 1 SAE"]) / (seconds["floor, 4 SAEs"] - seconds["floor, 1 SAE"])
    speed = options.tokens / seconds["core, 1 SAE"]
    sys.stderr.write(f"{speed:,.0f} tokens a second with core on one SAE\n")
    return [
        f"| core suite on one SAE over the bare loop | {seconds['core, 1 SAE'] / seconds['floor, 1 SAE']:.2f} | 1.3 |",
        f"| each further SAE over its own encode, decode and resumed forward | {further:.2f} | 1.3 |",
        f"| all stream metrics over one of them | {seconds['core, 1 SAE'] / seconds['one metric, 1 SAE']:.2f} | 1.25 |",
    ]


def _fitted(model: object, sae: object, corpus: object, budget: int) -> Fit:
    """What metrics are given of other text; it is of a fixed size and not timed here (see structure.py)."""
    spec = TextSpec(source="world", tokens=FIT_TOKENS, documents=corpus.read + FIT_TOKENS // 10)
    made = Fit(sae, errors=True, codes=True, labels=True)
    fit(model, build_corpus("fit", "world", spec, model, after=corpus.read), [made], budget)
    return made


def _task(sae: object, metrics: list, fitted: Fit) -> Task:
    task = Task(sae, metrics)
    task.errors, task.others = fitted.error_fit, fitted.others
    return task


def _pass(model: object, corpus: object, tasks: list[Task], budget: int) -> None:
    """A pass in which no metric gives up."""
    Pass(model, corpus, tasks, budget=budget).run()
    failed = {str(tally.failure) for task in tasks for tally in task.tallies if tally.failure}
    if failed:
        sys.exit("\n".join(failed))


def _floor(model: sb.load_model, corpus: object, sae: object, budget: int, saes: int) -> None:
    """The work nobody can avoid: forward, three resumed forwards, SAE products, losses; nothing summed up.

    The resumed forwards are those of the definitions taken literally: the SAE's, for each SAE, and the two
    ablations, once.
    """
    batcher = Batcher(corpus, model.device)
    hook = sae.hook_out
    with torch.no_grad():
        for batch in batcher.all(budget):
            run = model.forward(batch.tokens, [hook])
            x = run.acts[hook]
            clean = model.logits(run.final[batch.predicts]).log_softmax(-1)
            clean.gather(-1, batch.targets[:, None]).sum()
            for vector in (torch.zeros_like(x[0, 0]), x.mean((0, 1))):
                _spliced(model, run, hook, batch, vector).gather(-1, batch.targets[:, None]).sum()
            flat = x[batch.valid]
            for _ in range(saes):
                pre = (flat - sae.b_dec) @ sae.W_enc + (0 if sae.b_enc is None else sae.b_enc)
                codes = _activate(pre, sae)
                made = codes @ sae.W_dec + sae.b_dec
                log_q = _spliced(model, run, hook, batch, made)
                log_q.gather(-1, batch.targets[:, None]).sum()
                (clean.exp() * (clean - log_q)).sum()


def _activate(pre: torch.Tensor, sae: object) -> torch.Tensor:
    k = getattr(sae, "k", None)
    if k is None:
        return pre.relu()
    top = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter_(-1, top.indices, top.values.relu())


def _spliced(model: object, run: object, hook: str, batch: object, value: torch.Tensor) -> torch.Tensor:
    patched = run.acts[hook].clone()
    patched[batch.valid] = value
    return model.logits(model.resume(run, hook, patched)[batch.predicts]).log_softmax(-1)


def _device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _memory(options: argparse.Namespace) -> str:
    """Peak memory of a pass over ten times the tokens, each in a process of its own."""
    small, large = (timing.peak_of("benchmarks.passes", tokens) for tokens in (options.tokens // 2, options.tokens * 5))
    return (
        f"| peak memory for {options.tokens * 5:,} tokens over {options.tokens // 2:,} | {large / small:.3f} | 1.10 |"
    )


def _memory_child(tokens: int) -> None:
    model, corpus, sae = _setting(tokens, "world", "world:topk-mid", "cpu")
    metrics = [m for m in sb.load_suite("core").metrics() if m.kind == "stream"]
    budget = token_budget(model.device, [sae])
    _pass(model, corpus, [_task(sae, metrics, _fitted(model, sae, corpus, budget))], budget)
    timing.tell_peak()


def _command() -> list[str]:
    """Seconds of the quick commands, and whether they import torch."""
    lines = []
    for words in (["--help"], ["list", "metrics"]):
        probe = (
            "import sys, time; t = time.perf_counter(); from saebench.cli import main\n"
            f"try: main({words!r})\nexcept SystemExit: pass\n"
            "sys.stderr.write(f'{time.perf_counter() - t:.3f} {\"torch\" in sys.modules}')"
        )
        runs = [subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stderr for _ in range(5)]
        seconds = statistics.median(float(run.split()[0]) for run in runs)
        imports = f"imports torch: {runs[0].split()[1]}"
        lines.append(f"| seconds of `saebench {' '.join(words)}` ({imports}) | {seconds:.2f} s | 0.5 s |")
    return lines


if __name__ == "__main__":
    main()
