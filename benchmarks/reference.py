"""Values and speed of the core suite against the reference suite's core eval, SAEBench 0.6.0.

    python benchmarks/reference.py --reference-python REFERENCE_ENV/bin/python [--rows 400] [--out FILE.md]

The same model, token rows and SAEs go through `sae_bench.evals.core.main.multiple_evals`, in an environment
of its own, and through `saebench.evaluate`. Each round starts a process for each side; in it a small job
warms up, and then the clock runs around the call alone: imports, the model and the SAEs are there already.
How to make the environment stands in `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from reference_child import PARTS, WARM_UP, Job, Report, Task

import saebench as sb
from saebench.data.world import MODEL_DIR, SAES_DIR, documents

CONTEXT = 128
ONE, MANY = "one SAE", "eight SAEs"
COMPANY = "one SAE, ours with a null and a baseline beside it"
EIGHT = (
    "topk-mid", "relu-mid", "gated-mid", "batchtopk-mid", "jumprelu-mid", "matryoshka-mid", "topk-low", "relu-high",
)  # fmt: skip
TARGETS = {ONE: 2.0, MANY: 5.0}
AGREEMENT = 1e-4

SAME = {
    "l0": "l0",
    "cossim": "cosine_similarity",
    "ce_loss_without_sae": "ce_clean",
    "ce_loss_with_sae": "ce_sae",
    "explained_variance, corrected": "explained_variance",
    "mse, times the tokens of a batch": "mse",
}
"""The reference's name and ours, where both mean the same and must agree."""

FURTHER = {
    "kl_div_with_sae": "kl, last tokens too",
    "l1": "l1",
    "l2_ratio": "l2_ratio",
    "frac_alive": "1 - dead_fraction",
    "freq_over_1_percent": "dense_fraction[above=0.01]",
    "freq_over_10_percent": "dense_fraction[above=0.1]",
    "normalized_freq_over_1_percent": "dense_activity[above=0.01]",
    "normalized_freq_over_10_percent": "dense_activity[above=0.1]",
    "encoder_decoder_cosine_sim": "encoder_decoder_cosine",
    "average_max_encoder_cosine_sim": "encoder_neighbour_cosine",
    "average_max_decoder_cosine_sim": "decoder_neighbour_cosine",
    "ce_loss_with_ablation": "ce_zero, BOS zeroed too",
    "ce_loss_score": "loss_recovered, BOS zeroed too",
}
"""Also the same, but not asked for. `too`: ours taken in the reference's way, outside the suite."""

DIFFERENT = {
    "ce_loss_with_ablation": ("ce_zero", "the reference zeroes BOS too, ours the tokens that the SAE replaces"),
    "ce_loss_score": ("loss_recovered", "follows from the ablation"),
    "kl_div_with_ablation": ("kl_zero", "follows from the ablation"),
    "kl_div_score": ("kl_score", "follows from the ablation"),
    "kl_div_with_sae": ("kl", "the reference counts the last token of a row, whose next token is not there"),
    "relative_reconstruction_bias": ("relative_reconstruction_bias", "the reference averages ratios of batches"),
    "explained_variance": ("explained_variance", "the reference subtracts the square of mean x², not of mean x"),
    "explained_variance_legacy": ("explained_variance", "mean of ratios of single tokens about the batch's mean"),
    "mse": ("mse", "the reference divides by the tokens of a batch once more"),
}
"""The reference's number, ours of the nearest meaning, and why they differ."""


def main() -> None:
    """Run all rounds and write the tables, or one half of a round in a process that was started for it."""
    options = _options()
    if options.ours:
        _ours(Task.read(options.ours))
        return
    with TemporaryDirectory() as folder:
        theirs, ours = _rounds(options, Path(folder))
    text = "\n".join(_page(options, theirs, ours)) + "\n"
    sys.stdout.write(text)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reference-python", help="python of an environment that holds sae-bench 0.6.0")
    parser.add_argument("--model", default=str(MODEL_DIR), help="directory of a GPT-NeoX-style model")
    parser.add_argument("--sae", nargs="+", default=[str(SAES_DIR / name) for name in EIGHT],
                        help="directories in SAELens format; fewer than eight are taken in turn")  # fmt: skip
    parser.add_argument("--rows", type=int, default=400, help="rows of 128 tokens, a multiple of --batch-rows")
    parser.add_argument("--batch-rows", type=int, default=16, help="rows in a batch of the reference suite")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.ours and not options.reference_python:
        parser.error("--reference-python is missing: benchmarks/README.md says how to make that environment")
    if options.rows % options.batch_rows:
        parser.error("--rows must be a multiple of --batch-rows, so that both sides see the same tokens")
    return options


# the rounds


def _rounds(options: argparse.Namespace, folder: Path) -> tuple[list[Report], list[Report]]:
    """The reports of the reference's processes and of ours, one of each a round."""
    tokens = token_rows(options.model, options.rows)
    np.save(folder / "rows.npy", tokens)
    _write_dataset(tokens, folder / "rows")
    saes = _eight(options.sae)
    few = [Job(WARM_UP, list(saes)[:1], 2 * options.batch_rows)]
    one, many = Job(ONE, list(saes)[:1], options.rows), Job(MANY, list(saes), options.rows)
    half = Path(__file__).with_name("reference_child.py")
    theirs: list[Report] = []
    ours: list[Report] = []
    for number in range(options.rounds):
        for reports, command, extra in (
            (theirs, [options.reference_python, str(half)], []),
            (ours, [sys.executable, __file__, "--ours"], [dataclasses.replace(one, label=COMPANY, references=True)]),
        ):
            task = Task(
                model=str(Path(options.model).resolve()),
                saes=saes,
                tokens=str(folder / "rows.npy"),
                dataset="rows",
                batch_rows=options.batch_rows,
                threads=options.threads,
                jobs=[*few, *extra, one, many],
                check=number == 0,
            )
            reports.append(_in_process(command, task, folder))
            sys.stderr.write(f"round {number + 1}: {reports[-1].cpu}\n")
    return theirs, ours


def _in_process(command: Sequence[str], task: Task, folder: Path) -> Report:
    """Do a task in a process of its own, from a working directory that holds the dataset."""
    task.write(folder / "task.json")
    threads = str(task.threads)
    environment = {
        **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hub"),
    }  # fmt: skip
    done = subprocess.run(
        [*command, str(folder / "task.json")], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{Path(command[-1]).name} failed:\n{done.stderr[-4000:]}")
    return Report(**json.loads(done.stdout.strip().splitlines()[-1]))


def token_rows(model: str, count: int) -> np.ndarray:
    """Rows of `CONTEXT` ids, BOS first and no other special: held-out documents of the world, end to end."""
    subject = sb.load_model(model, device="cpu")
    room = CONTEXT - 1
    content: list[int] = []
    for number in range(1, 100):
        for document in documents(count * number)[count * (number - 1) :]:
            content += subject.tokenizer(document.text, add_special_tokens=False)["input_ids"]
        if len(content) >= count * room:
            break
    rows = np.array(content[: count * room], dtype=np.int32).reshape(count, room)
    assert not np.isin(rows, list(subject.special_ids)).any(), "a special token inside a document"
    return np.concatenate([np.full((count, 1), subject.bos_id, dtype=np.int32), rows], axis=1)


def _write_dataset(tokens: np.ndarray, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    pq.write_table(pa.table({"tokens": tokens.tolist()}), folder / "train.parquet")


def _eight(folders: Sequence[str]) -> dict[str, str]:
    """Eight directories by name; fewer are repeated under further names."""
    named: dict[str, str] = {}
    for place in range(8):
        folder = Path(folders[place % len(folders)]).resolve()
        again = place // len(folders)
        named[folder.name + (f"-again{again}" if again else "")] = str(folder)
    return named


# our half


def _ours(task: Task) -> None:
    """Do one task with saebench and report."""
    torch.set_num_threads(task.threads)
    model = sb.load_model(task.model, device="cpu")
    saes = {name: sb.load_sae(folder, name=name, device="cpu") for name, folder in task.saes.items()}
    tokens = np.load(task.tokens)
    report = Report({"saebench": sb.__version__, "torch": torch.__version__, "numpy": np.__version__})
    report.run(task, lambda job: _scored(job, model, [saes[name] for name in job.saes], tokens))
    if task.check:
        for name, values in report.values.items():
            values |= _in_their_way(values, model, saes[name], tokens)
    report.write()


def _scored(job: Job, model: Any, saes: list[Any], tokens: np.ndarray) -> dict[str, dict[str, float]]:
    core = sb.load_suite("core").model_dump()
    core["data"]["text"]["tokens"] = None
    if not job.references:
        core["references"] = {"null": None, "baseline": None}
    with TemporaryDirectory() as folder:
        results = sb.evaluate(saes, core, model=model, data={"text": tokens[: job.rows]}, out=folder)
    broken = [row.reason for row in results.errors()]
    assert not broken, broken
    values: dict[str, dict[str, float]] = {}
    for row in results:
        if row.role == "sae" and row.value is not None:
            values.setdefault(row.sae, {})[row.metric + (f"[{row.slice}]" if row.slice else "")] = row.value
    return values


def _in_their_way(values: Mapping[str, float], model: Any, sae: Any, tokens: np.ndarray) -> dict[str, float]:
    """Numbers with the reference's masks: BOS is zeroed too, and a row's last token has a divergence."""
    losses, gaps = [], []
    with torch.no_grad():
        for ids in torch.from_numpy(tokens.astype(np.int64)).split(32):
            run = model.forward(ids, [sae.hook_out])
            x = run.acts[sae.hook_out]
            spliced = torch.cat([x[:, :1], sae.reconstruct(x[:, 1:].flatten(0, 1)).view_as(x[:, 1:])], dim=1)
            clean, other, zeroed = (
                model.logits(final[:, 1:]).log_softmax(-1)
                for final in (run.final, *(model.resume(run, sae.hook_out, value) for value in (spliced, 0 * x)))
            )
            gaps.append((clean.exp() * (clean - other)).sum(-1).double().flatten())
            losses.append(-zeroed[:, :-1].gather(-1, ids[:, 2:, None]).double().flatten())
    ablated = float(torch.cat(losses).mean())
    return {
        "1 - dead_fraction": 1 - values["dead_fraction"],
        "kl_zero": values["kl"] / (1 - values["kl_score"]),
        "kl, last tokens too": float(torch.cat(gaps).mean()),
        "ce_zero, BOS zeroed too": ablated,
        "loss_recovered, BOS zeroed too": (ablated - values["ce_sae"]) / (ablated - values["ce_clean"]),
    }


# the tables


def _page(options: argparse.Namespace, theirs: list[Report], ours: list[Report]) -> Iterator[str]:
    values = _paired(options, theirs[0], ours[0])
    tokens = options.rows * CONTEXT
    yield "# Core suite against the reference suite"
    yield ""
    yield (
        f"{options.rows:,} rows of {CONTEXT} tokens ({tokens:,}; {tokens - options.rows:,} without BOS) on both sides, "
        f"for reconstruction and for sparsity; float32, {options.threads} threads, CPU ({platform.machine()}, "
        f"{os.cpu_count()} cores); {options.rounds} rounds, each a process for each side; the reference in batches of "
        f"{options.batch_rows} rows. Written by `benchmarks/reference.py`; what each side computes is in "
        "`benchmarks/README.md`."
    )
    yield ""
    yield f"Reference: {_versions(theirs[0])}. Ours: {_versions(ours[0])}. SAEs: {', '.join(values)}."
    yield from ["", "## Speed", ""]
    yield from _speed(theirs, ours)
    yield from ["", *_parts(theirs)]
    yield from ["", f"## Values that must agree to {AGREEMENT:g} relative", ""]
    yield from _agreement(values, SAME, AGREEMENT)
    yield from ["", "## Further values of the same meaning", ""]
    yield from _agreement(values, FURTHER, AGREEMENT)
    yield from ["", f"## Values that differ by definition ({next(iter(values))})", ""]
    yield from _differences(next(iter(values.values())))


def _versions(report: Report) -> str:
    return ", ".join(f"{name} {version}" for name, version in report.versions.items())


def _speed(theirs: list[Report], ours: list[Report]) -> Iterator[str]:
    yield "| call | reference, CPU s | ours, CPU s | ratio of CPU s (all rounds) | ratio of wall s | target |"
    yield "|---|---|---|---|---|---|"
    for label, other in ((ONE, ONE), (MANY, MANY), (ONE, COMPANY)):
        cpu = [(a.cpu[label], b.cpu[other]) for a, b in zip(theirs, ours, strict=True)]
        ratios = [a / b for a, b in cpu]
        wall = statistics.median(a.wall[label] / b.wall[other] for a, b in zip(theirs, ours, strict=True))
        middle = [statistics.median(side) for side in zip(*cpu, strict=True)]
        name = other if other == COMPANY else label
        target = f"{TARGETS[name]:g}" if name in TARGETS else "-"
        spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        yield (
            f"| {name} | {middle[0]:.2f} | {middle[1]:.2f} | **{statistics.median(ratios):.2f}** ({spread}) "
            f"| {wall:.2f} | {target} |"
        )


def _parts(theirs: list[Report]) -> Iterator[str]:
    """Where the reference's CPU seconds for one SAE go."""
    total = statistics.median(report.cpu[ONE] for report in theirs)
    yield f"Of the reference's {total:.2f} CPU seconds for one SAE:"
    yield ""
    for part in PARTS:
        yield f"- `{part}` {statistics.median(report.parts[ONE][part] for report in theirs):.2f}"


Pairs = dict[str, tuple[dict[str, float], dict[str, float]]]
"""The reference's values and ours, by SAE."""


def _paired(options: argparse.Namespace, theirs: Report, ours: Report) -> Pairs:
    pairs: Pairs = {}
    for name, values in theirs.values.items():
        undone = values["mse"] * options.batch_rows * (CONTEXT - 1)
        pairs[name] = {**values, "mse, times the tokens of a batch": undone}, ours.values[name]
    return pairs


def _agreement(values: Pairs, names: Mapping[str, str], limit: float) -> Iterator[str]:
    first = next(iter(values))
    yield (
        f"| reference | ours | {first}, reference | {first}, ours | relative difference "
        f"| largest of {len(values)} SAEs | within |"
    )
    yield "|---|---|---|---|---|---|---|"
    for theirs, ours in names.items():
        gaps = [_gap(a[theirs], b[ours]) for a, b in values.values()]
        a, b = values[first]
        yield (
            f"| {theirs} | {ours} | {a[theirs]:.7g} | {b[ours]:.7g} | {gaps[0]:.1e} | {max(gaps):.1e} "
            f"| {'yes' if max(gaps) <= limit else 'no'} |"
        )


def _differences(pair: tuple[dict[str, float], dict[str, float]]) -> Iterator[str]:
    yield "| reference | value | ours | value | why |"
    yield "|---|---|---|---|---|"
    for theirs, (ours, why) in DIFFERENT.items():
        yield f"| {theirs} | {pair[0][theirs]:.6g} | {ours} | {pair[1][ours]:.6g} | {why} |"


def _gap(a: float, b: float) -> float:
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a - b) else math.inf


if __name__ == "__main__":
    main()
