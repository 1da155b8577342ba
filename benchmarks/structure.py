"""What the metrics of structure add to a core pass, as ratios within one run.

    python benchmarks/structure.py [--tokens 200000] [--threads 1] [--families] [--out benchmarks/structure.md]

Core alone and core with all of them (and with each family), in turns on the same model, SAE and text; CPU time
of what is fitted to other text and of the pass. Some of the cost is for a fixed number of tokens, whatever the text:
what is fitted, the pursuit, pairs of latents. Random tokens are a pass of their own and stand beside, over core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

import saebench as sb
from saebench import registry
from saebench.data.corpus import Corpus, build_corpus
from saebench.data.datasets import load_dataset
from saebench.data.specs import RandomTokensSpec
from saebench.data.world import MODEL_DIR
from saebench.engine.execute import token_budget
from saebench.engine.fits import Fit, fit
from saebench.engine.references import FIT_TOKENS
from saebench.engine.stream import Pass, Task
from saebench.inputs import ErrorModel, OtherCodes, TokenLabels
from saebench.metric import Metric
from saebench.suite import TextSpec

FAMILIES = {
    "concept coverage": ["concept_coverage"],
    "description length": ["description_length", "description_length_fvu"],
    "n-th projection": ["nth_projection"],
    "amortisation gap": ["amortisation_gap"],
    "lexicality": ["lexicality"],
    "co-activation": ["connectivity", "max_phi", "negative_interference"],
}
RANDOM = ["false_feature_rate", "random_explained_variance"]


def main() -> None:
    """Run all and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=str(MODEL_DIR))
    parser.add_argument("--sae", default="world:topk-mid")
    parser.add_argument("--families", action="store_true", help="each family by itself as well")
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = _seconds(options)
    core = seconds.pop("core")
    lines = ["| what | over core alone | goal |", "|---|---|---|"]
    for name, taken in seconds.items():
        goal = "1.50" if name == "core and all of them" else ""
        lines.append(f"| {name} | {taken / core:.2f} | {goal} |")
    text = (
        f"{options.tokens:,} tokens, {options.threads} threads, torch {torch.__version__}\n\n" + "\n".join(lines) + "\n"
    )
    sys.stdout.write(text)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")


def _seconds(options: argparse.Namespace) -> dict[str, float]:
    """Median CPU seconds of each piece of work, taken in turns."""
    model, sae = sb.load_model(options.model), sb.load_sae(options.sae)
    text = build_corpus("text", "world", TextSpec(source="world", tokens=options.tokens), model)
    rest = TextSpec(source="world", tokens=FIT_TOKENS, documents=text.read + FIT_TOKENS // 10)
    other = build_corpus("fit", "world", rest, model, after=text.read)
    drawn = load_dataset("random_tokens", "uniform", RandomTokensSpec(), model, seed=0).corpus
    added = {name for names in FAMILIES.values() for name in names}
    core = [m for m in sb.load_suite("core").metrics() if m.kind == "stream" and m.name not in added]
    families = {name: [registry.get(metric) for metric in metrics] for name, metrics in FAMILIES.items()}
    every = [metric for metrics in families.values() for metric in metrics]
    work: dict[str, tuple[Corpus, list[Metric]]] = {"core": (text, core), "core and all of them": (text, core + every)}
    if options.families:
        work |= {f"core and {name}": (text, core + metrics) for name, metrics in families.items()}
    work["random tokens alone"] = (drawn, [registry.get(metric) for metric in RANDOM])
    _run(model, sae, other, other, core)
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.repeats):
        for name, (corpus, metrics) in work.items():
            began = time.process_time()
            _run(model, sae, corpus, other, metrics)
            taken[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def _run(model: object, sae: object, corpus: Corpus, other: Corpus, metrics: list[Metric]) -> None:
    """Fit what the metrics ask for, and the pass."""
    task = Task(sae, metrics)
    budget = token_budget(model.device, [sae])
    fitted = Fit(sae, task.wants(ErrorModel), task.wants(OtherCodes), task.wants(TokenLabels))
    fit(model, other, [fitted], budget)
    task.errors, task.others = fitted.error_fit, fitted.others
    Pass(model, corpus, [task], budget=budget).run()
    failed = [f"{m.name}: {t.failure}" for m, t in zip(metrics, task.tallies, strict=True) if t.failure]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
