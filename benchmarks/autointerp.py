"""What collecting contexts adds to a core pass, its memory, and the speed of the judge for no network.

    python -m benchmarks.autointerp [--tokens 40000] [--threads 1] [--out benchmarks/results/autointerp.md]

Ratios of CPU time within one process: the core suite's stream metrics on one SAE with 16,384 latents (random unit
directions, the 32 largest fire; a trained SAE of that width costs the same), alone and with contexts collected.
Medians of `--repeats` interleaved rounds. Memory is the peak of two processes, one with ten times the tokens.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import Any

import torch

import saebench as sb
from benchmarks import timing
from saebench.data.corpus import build_corpus
from saebench.data.datasets import Dataset
from saebench.data.world import MODEL_DIR
from saebench.engine.execute import token_budget
from saebench.engine.fits import Fit, fit
from saebench.engine.judged import collector, drawn_latents
from saebench.engine.references import FIT_TOKENS
from saebench.engine.stream import Pass, Task
from saebench.inputs import Sampling
from saebench.judges.ngram import NGramJudge
from saebench.judges.protocol import Explanation, ScoreTask
from saebench.saes import resolve
from saebench.suite import TextSpec

WIDTH, K, HOOK = 16_384, 32, "blocks.1.hook_resid_post"
SOME, EVERY = Sampling(latents=1000), Sampling(latents=0)


class Wide:
    """A coder with random unit directions, of which the K that an activation goes along most fire."""

    def __init__(self, d: int) -> None:
        self.hook_name = HOOK
        self.W_dec = torch.nn.functional.normalize(torch.randn(WIDTH, d, generator=torch.Generator().manual_seed(0)))
        self.W_enc, self.b_dec = self.W_dec.T.contiguous(), torch.zeros(d)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and indices of the codes, each `[tokens, K]`."""
        top = (x @ self.W_enc).topk(K, dim=-1)
        return top.values.relu(), top.indices

    def decode(self, values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Sums of directions."""
        summed = torch.nn.functional.embedding_bag(indices, self.W_dec, mode="sum", per_sample_weights=values)
        return summed + self.b_dec


def main() -> None:
    """Run all and print a Markdown table."""
    options = _options()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        _memory_child(options.memory_of)
        return
    parts = {"passes": _passes, "memory": _memory, "judge": _judge}
    lines = [line for name in options.only or parts for line in parts[name](options)]
    timing.tell(options, ["what", "measured", "goal"], lines)


def _options() -> argparse.Namespace:
    parser = timing.parser(__doc__ or "", tokens=40_000, threads=1, repeats=3)
    parser.add_argument("--latents", type=int, default=1000, help="latents of a shipped SAE that the judge is timed on")
    parser.add_argument("--only", nargs="*", choices=["passes", "memory", "judge"], help="leave out the rest")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _setting(tokens: int) -> tuple[Any, Dataset, Any]:
    model = sb.load_model(str(MODEL_DIR))
    corpus = build_corpus("text", "world", TextSpec(source="world", tokens=tokens), model)
    return model, Dataset("text", corpus), resolve([Wide(model.d_model)], hook=HOOK)[0]


def _passes(options: argparse.Namespace) -> list[str]:
    """Core alone, and with contexts of 1,000 latents drawn and of all."""
    model, data, sae = _setting(options.tokens)
    core = [m for m in sb.load_suite("core").metrics() if m.kind == "stream"]
    rest = TextSpec(source="world", tokens=FIT_TOKENS, documents=data.corpus.read + FIT_TOKENS // 10)
    fitted = Fit(sae, errors=True, codes=True)
    fit(model, build_corpus("fit", "world", rest, model, after=data.corpus.read), [fitted], 4096)
    work = {
        "core": partial(_run, model, data, sae, core, fitted, None),
        "1,000 latents": partial(_run, model, data, sae, core, fitted, SOME),
        "all 16,384 latents": partial(_run, model, data, sae, core, fitted, EVERY),
    }
    _run(model, data, sae, [], fitted, SOME)  # compiles
    seconds = timing.in_turns(work, options.repeats)
    goals = {"1,000 latents": "1.15", "all 16,384 latents": "1.40"}
    return [
        f"| core pass with contexts of {name}, over core alone | {seconds[name] / seconds['core']:.2f} | {goal} |"
        for name, goal in goals.items()
    ]


def _run(model: Any, data: Dataset, sae: Any, metrics: list, fitted: Fit, s: Sampling | None) -> None:
    task = Task(sae, metrics)
    task.errors, task.others = fitted.error_fit, fitted.others
    if s is not None:
        task.collectors = {"contexts": collector(sae, data, s, 0)}
    Pass(model, data.corpus, [task], budget=token_budget(model.device, [sae])).run()
    failed = [str(tally.failure) for tally in task.tallies if tally.failure] + ([task.failure] if task.failure else [])
    if failed:
        sys.exit("\n".join(failed))


def _memory(options: argparse.Namespace) -> list[str]:
    """Peak memory of collecting over ten times the tokens."""
    few, many = options.tokens // 2, options.tokens * 5
    small, large = (timing.peak_of("benchmarks.autointerp", tokens) for tokens in (few, many))
    return [f"| peak memory of a pass with contexts, {many:,} tokens over {few:,} | {large / small:.3f} | 1.10 |"]


def _memory_child(tokens: int) -> None:
    model, data, sae = _setting(tokens)
    _run(model, data, sae, [], Fit(sae, errors=False, codes=False), SOME)
    timing.tell_peak()


def _judge(options: argparse.Namespace) -> list[str]:
    """Latents a second that the judge for no network explains and scores, with and without preparing its contexts."""
    model, data, _ = _setting(options.tokens)
    sae = sb.load_sae("world:topk-mid")
    s = Sampling(latents=options.latents)
    kept, judge = collector(sae, data, s, 0), NGramJudge()
    task = Task(sae, [])
    task.collectors = {"contexts": kept}
    Pass(model, data.corpus, [task], budget=4096).run()
    drawn_latents(kept, sae, model, data, judge, 0).detection()  # compiles
    drawn = drawn_latents(kept, sae, model, data, judge, 0)
    began = time.process_time()
    judged = [one for one in drawn.detection() if not one.problem]
    whole = len(judged) / (time.process_time() - began)
    place = {latent.latent: i for i, latent in enumerate(drawn.latents)}
    asked = [drawn.to_explain(place[one.latent]) for one in judged]
    began = time.process_time()
    told = [one for one in judge.explain(asked) if isinstance(one, Explanation)]
    judge.score([ScoreTask("detection", one.latent, t, one.contexts) for one, t in zip(judged, told, strict=True)])
    alone = len(judged) / (time.process_time() - began)
    return [
        f"| latents a second that it explains and scores (detection), {len(judged)} latents, one core | {alone:.0f} | 200 on two cores |",  # noqa: E501
        f"| the same with their contexts made from what was collected | {whole:.0f} | |",
    ]


if __name__ == "__main__":
    main()
