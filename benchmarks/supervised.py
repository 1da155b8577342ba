"""Speed of sparse probing, TPP, SCR and absorption against the reference suite, SAEBench 0.6.0, and our own floor.

    python benchmarks/supervised.py --reference-python REFERENCE_ENV/bin/python [--texts 100] [--out FILE.md]
    python benchmarks/supervised.py --alone

The same model, texts, words and SAE go through the reference suite's own `run_eval` of each family, in an
environment of its own, and through our passes. Each round starts a process for each side; imports, the model and
the SAEs are there before the clock runs. How to make the environment stands in `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import supervised_data as made
import torch
from reference import token_rows
from supervised_child import FAMILIES, LEAKY, MIN_GROUPS, SAE, SET_UP, Clock, Report, Task
from supervised_page import FEW, K_SPARSE, PRESET, TOGETHER, page

import saebench as sb
from saebench.data.corpus import item_corpus, tokenised, truncated
from saebench.data.datasets import Dataset, digest, load_dataset
from saebench.data.labelled_split import Labelling, Row
from saebench.data.labelled_tasks import Builder
from saebench.data.prompt_specs import WordSpec
from saebench.data.specs import LabelledSpec
from saebench.data.texts import Text
from saebench.data.world import MODEL_DIR, SAES_DIR
from saebench.engine import execute
from saebench.engine.batches import Batcher
from saebench.engine.plan import make_plan
from saebench.engine.stream import Pass
from saebench.metric import Metric
from saebench.progress import Progress
from saebench.registry import get
from saebench.registry import metrics as registered
from saebench.saes.architectures import TopK
from saebench.suite import Suite

SAES = ("topk-mid", "topk-mid-seed1", "topk-mid-seed2")
"""One architecture and size, so that a further SAE costs what the first does."""
METRICS: dict[str, tuple[str, ...]] = {
    "sparse_probing": ("sparse_probing@saebench", "full_code_probing", "residual_probing"),
    "tpp": ("tpp",),
    "scr": ("scr",),
    "absorption": ("mean_absorption_fraction", "full_absorption_rate", "num_split_features"),
}
LABELLED = ("sparse_probing", "tpp", "scr")
WARM_UP_TEXTS = 40
CHILD = str(Path(__file__).with_name("supervised_child.py"))
WIDTHS, SCALES = (1024, 16384), (1, 4)
"""Latents, and multiples of the texts, of the four runs whose peak memory is taken."""


def main() -> None:
    """Run all rounds and write the tables, or one half of a round in a process that was started for it."""
    options = _options()
    if options.ours:
        _ours(Task.read(options.ours))
        return
    if options.memory:
        _wide_child(options)
        return
    with TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary).resolve()
        task, theirs, ours = _rounds(options, folder)
        wide = _wide(options, folder)
        unpadded = _unpadded(options, task, folder)
    text = "\n".join(page(options, theirs, ours, wide, unpadded)) + "\n"
    sys.stdout.write(text)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reference-python", help="python of an environment that holds sae-bench 0.6.0")
    parser.add_argument("--alone", action="store_true", help="our half only: seconds and the share of the encode")
    parser.add_argument("--model", default=str(MODEL_DIR), help="directory of a GPT-NeoX-style model")
    parser.add_argument("--sae", nargs="+", default=[str(SAES_DIR / name) for name in SAES],
                        help="directories in SAELens format, two or more of one shape")  # fmt: skip
    parser.add_argument("--texts", type=int, default=100, help="texts of a class to fit on; the reference's own: 2000")
    parser.add_argument("--pairs", type=int, default=1, help="pairs of each of the two SCR datasets, 1 to 4")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--llm-batch", type=int, default=128, help="rows in a batch of the reference's model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-memory", action="store_true", help="leave the four runs for peak memory out")
    parser.add_argument(
        "--explain", action="store_true", help="the reference's TPP and SCR once more, without its leak"
    )
    parser.add_argument("--keep", help="folder for the data and the reports; what is there already is not run again")
    parser.add_argument("--out")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peak-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.ours or options.memory or options.alone or options.reference_python):
        parser.error("--reference-python is missing: benchmarks/README.md says how to make it; or --alone")
    if len(options.sae) < 2:
        parser.error("--sae needs two or more, so that a SAE's own seconds can be told from the set-up")
    return options


# the rounds


def _rounds(options: argparse.Namespace, folder: Path) -> tuple[Task, list[Report], list[Report]]:
    """The task, and the reports of the reference's processes and of ours, one of each a round."""
    for name, texts, pairs in (("data", options.texts, options.pairs), ("warm-up", WARM_UP_TEXTS, 1)):
        if not (folder / name).exists():
            made.write(folder / name, texts, pairs)
    np.save(folder / "data" / "rows.npy", token_rows(options.model, 4))
    task = Task(
        model=str(Path(options.model).resolve()),
        saes={Path(path).resolve().name: str(Path(path).resolve()) for path in options.sae},
        data=str(folder / "data"),
        warm_up=str(folder / "warm-up"),
        threads=options.threads,
        families=options.families,
        llm_batch=options.llm_batch,
    )
    task.write(folder / "task.json")
    theirs, ours = [], []
    for number in range(options.rounds):
        sides = [("ours", ours, [sys.executable, __file__, "--ours"])]
        sides += [] if options.alone else [("theirs", theirs, [options.reference_python, CHILD])]
        for side, reports, command in sides:
            reports.append(_reported(command, folder / f"{side}-{number}.json", folder / "task.json", options.threads))
            sys.stderr.write(f"round {number + 1}: {reports[-1].cpu}\n")
    return task, theirs, ours


def _reported(command: Sequence[str], kept: Path, task: Path, threads: int) -> Report:
    """The report of a process that does a task, or the one that is kept of it."""
    if not kept.exists():
        kept.write_text(_in_process([*command, str(task)], threads, task.parent), encoding="utf-8")
    return Report(**json.loads(kept.read_text(encoding="utf-8")))


def _unpadded(options: argparse.Namespace, task: Task, folder: Path) -> Report | None:
    """The reference's TPP and SCR without ablating in padding, which nobody times."""
    families = [family for family in task.families if family in LEAKY]
    if not families or options.alone or not options.explain:
        return None
    file = folder / "task-unpadded.json"
    dataclasses.replace(task, families=families, unpadded=True).write(file)
    return _reported([options.reference_python, CHILD], folder / "theirs-unpadded.json", file, options.threads)


def _in_process(command: Sequence[str], threads: int, folder: Path) -> str:
    """The last line that a process of its own writes."""
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0",
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hub"),
    }  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{Path(command[1]).name} failed:\n{done.stderr[-4000:]}")
    return done.stdout.strip().splitlines()[-1]


# our half


def _ours(task: Task) -> None:
    """Do one task with saebench and report."""
    torch.set_num_threads(task.threads)
    model = sb.load_model(task.model, device="cpu")
    saes = [sb.load_sae(folder, name=name, device="cpu") for name, folder in task.saes.items()]
    report = Report({"saebench": sb.__version__, "torch": torch.__version__, "numpy": np.__version__})
    families = [family for family in task.families if all(map(_there, METRICS[family]))]
    for family in families:
        warm = Path(task.warm_up)
        if family in LABELLED:
            _timed(model, saes, warm, METRICS[family])
        report.take(family, *_timed(model, saes, Path(task.data), METRICS[family]))
        report.values[family] |= _by_protocol(model, saes[0], Path(task.data), METRICS[family])
    labelled = [family for family in families if family in LABELLED]
    if labelled:
        metrics = [name for family in labelled for name in METRICS[family]]
        report.take(TOGETHER, *_timed(model, saes, Path(task.data), metrics))
        few = [name for name in metrics if name not in METRICS["sparse_probing"][1:]]
        report.take(FEW, *_timed(model, saes, Path(task.data), few))
        report.take(K_SPARSE, *_timed(model, saes, Path(task.data), METRICS["sparse_probing"][:1]))
        report.counts = _floor(model, saes[0], _labelled(Path(task.data), model, metrics))
    report.write()


def _by_protocol(model: Any, sae: Any, data: Path, metrics: Sequence[str]) -> dict[str, float]:
    """Values of the metrics that have a variant by the reference's protocol, which nobody times."""
    found: dict[str, float] = {}
    for name in metrics:
        if name in PRESET:
            preset = get(PRESET[name])
            few = {"min_groups": MIN_GROUPS} if "min_groups" in preset.settings else {}
            found |= _values(
                _scored(model, [sae], _read(data, model, metrics), [preset.with_settings(**few)]), sae.name
            )
    return found


def _timed(model: Any, saes: Sequence[Any], data: Path, metrics: Sequence[str]) -> tuple[Clock, dict[str, float]]:
    """Seconds of the set-up and of one SAE, and the values of the first.

    A SAE's own seconds are those of its encodes, pooling, metrics, intervals and rows, as a mean over all but the
    first, which also makes what is shared; the set-up is all the rest of the run.
    """
    own, clock = _Own(), Clock()
    with own.watching():
        clock.part(SAE)
        rows = _rows(model, saes, _read(data, model, metrics), metrics)
        clock.part("")
    both = Clock()
    for kind, taken in (("cpu", own.cpu), ("wall", own.wall)):
        later = statistics.mean(taken[sae.name] for sae in saes[1:])
        whole = getattr(clock, kind)[SAE]
        getattr(both, kind).update({SET_UP: whole - later * len(saes), SAE: later})
    return both, _values(rows, saes[0].name)


class _Own:
    """CPU and wall seconds that the engine spends on each SAE, by name."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}

    def _count(self, function: Callable[..., Any], sae: Callable[..., str]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                return function(*args)
            finally:
                name = sae(*args)
                self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu
                self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall

        return counted

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count while inside."""
        task, items, rows = Pass._task, execute._items, execute._rows_of
        Pass._task = self._count(task, lambda _, task, *__: task.sae.name)
        execute._items = self._count(items, lambda task, *_: task.sae.name)
        execute._rows_of = self._count(rows, lambda _, task, *__: task.sae.name)
        try:
            yield
        finally:
            Pass._task = task
            execute._items = items
            execute._rows_of = rows


def _read(folder: Path, model: Any, metrics: Sequence[str]) -> Dataset:
    """The data that the metrics ask for; the words are the ones that the reference is given."""
    if metrics[0] in METRICS["absorption"]:
        return load_dataset("words", "world:first_letter", WordSpec(), model, seed=0)
    return _labelled(folder, model, metrics)


def _rows(model: Any, saes: Sequence[Any], data: Dataset, metrics: Sequence[str]) -> list[Any]:
    return _scored(model, saes, data, [get(name) for name in metrics])


def _scored(model: Any, saes: Sequence[Any], data: Dataset, wanted: Sequence[Metric]) -> list[Any]:
    plan = make_plan(model, Suite(name="benchmark", metric=[]), wanted, saes, {data.name: data}, {}, seed=0)
    rows = [row for part in execute.run(plan, partial=None, progress=Progress()) for row in part]
    broken = [f"{row.metric}: {row.reason}" for row in rows if row.status == "error"]
    assert not broken, broken
    return rows


def _values(rows: Sequence[Any], sae: str) -> dict[str, float]:
    return {
        row.metric + (f"[{row.slice}]" if row.slice else ""): row.value
        for row in rows
        if row.sae == sae and row.value is not None and "/" not in (row.slice or "")
    }


def _labelled(folder: Path, model: Any, metrics: Sequence[str]) -> Dataset:
    """The files as tasks and pairs, with the splits they have, tokenised: those that the metrics use."""
    said = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    spec = LabelledSpec(train=said["train"], test=said["test"])
    builder = Builder(spec, 0)
    probing = any("probing" in name for name in metrics)
    for name, classes in said["tasks"].items() if probing or "tpp" in metrics else ():
        if probing or name in said["tpp"]:
            rows = [Row(row["text"], row["label"], "", row["split"]) for row in made.read(folder, name)]
            uses = frozenset({"probing", *(["tpp"] if name in said["tpp"] else [])})
            builder.add(Labelling(name, rows, tuple(classes), uses))
    for name, about in said["scr"].items() if "scr" in metrics else ():
        rows = [Row(row["text"], row["label"], row["attribute"], row["split"]) for row in made.read(folder, name)]
        pairs = tuple((first, second) for first, second in about["pairs"])
        values = (about["attribute"][0], about["attribute"][1])
        builder.add(Labelling(name, rows, attribute=values, pairs=pairs, plain=False))
    texts = builder.finish(str(folder), {})
    rows = [truncated(ids, spec, model) for _, ids in tokenised((Text(text=t) for t in texts.texts), model, "probing")]
    corpus = item_corpus("probing", rows, model.special_ids, source=str(folder), about=digest(texts))
    return Dataset("probing", corpus, texts)


def _floor(model: Any, sae: Any, data: Dataset) -> dict[str, float]:
    """What a SAE cannot do without: encoding each text's tokens once, beside the bare product and activation."""
    batches = []
    with torch.no_grad():
        for batch in Batcher(data.corpus, model.device).all(execute.token_budget(model.device, [sae])):
            run = model.forward(batch.tokens, [sae.hook_in], final=False)
            batches.append(run.acts[sae.hook_in][batch.valid])
        work = {"encode": sae.encode, "product": lambda x: (x - sae.b_dec) @ sae.W_enc}
        taken = {name: _seconds(do, batches) for name, do in work.items()}
    distinct = len(data.items.texts)
    shown = sum(len(part) for task in data.items.tasks for part in (task.train, task.test))
    return {**taken, "texts": distinct, "shown": shown, "tokens": float(sum(map(len, batches))), "d_sae": sae.d_sae}


def _seconds(do: Callable[[Any], Any], batches: Sequence[Any]) -> float:
    """Median CPU seconds of three rounds, after one that is not counted."""
    taken = []
    for _ in range(4):
        began = time.process_time()
        for x in batches:
            do(x)
        taken.append(time.process_time() - began)
    return statistics.median(taken[1:])


# memory and width


def _wide(options: argparse.Namespace, folder: Path) -> dict[tuple[int, int], dict[str, float]]:
    """Peak memory, and the share of the encode, by width and scale of the texts; a process each."""
    if options.no_memory:
        return {}
    for scale in SCALES:
        if not (folder / f"data-{scale}").exists():
            made.write(folder / f"data-{scale}", scale * options.texts // 2, 1)
    found = {}
    for width in WIDTHS:
        for scale in SCALES:
            about = ["--memory", str(folder / f"data-{scale}"), "--width", str(width)]
            about += ["--peak-only"] if scale > 1 else []
            command = [sys.executable, __file__, *about, "--threads", str(options.threads), "--model", options.model]
            kept = folder / f"wide-{width}-{scale}.json"
            if not kept.exists():
                kept.write_text(_in_process(command, options.threads, folder), encoding="utf-8")
            found[width, scale] = json.loads(kept.read_text(encoding="utf-8"))
            sys.stderr.write(f"{width} latents, texts x {scale}: {found[width, scale]}\n")
    return found


def _wide_child(options: argparse.Namespace) -> None:
    """One SAE drawn at random through k-sparse probing, TPP and SCR: peak MiB, then seconds."""
    torch.set_num_threads(options.threads)
    folder = Path(options.memory)
    model = sb.load_model(options.model, device="cpu")
    saes = [_random(sb.load_sae(options.sae[0], device="cpu"), options.width, seed) for seed in range(2)]
    metrics = [METRICS[family][0] for family in LABELLED if _there(METRICS[family][0])]
    data = _labelled(folder, model, metrics)
    _rows(model, saes[:1], data, metrics)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"peak": peak, "texts": float(len(data.items.texts))}
    if not options.peak_only:
        clock, _ = _timed(model, saes, folder, metrics)
        found |= {"sae": clock.cpu[SAE], **_floor(model, saes[0], data)}
    sys.stdout.write(json.dumps(found) + "\n")


def _random(like: Any, width: int, seed: int) -> TopK:
    """A SAE of any width with the decoder of unit length and its transpose as the encoder."""
    directions = torch.randn(width, like.d_in, generator=torch.Generator().manual_seed(seed))
    directions = directions / directions.norm(dim=1, keepdim=True)
    return TopK(
        W_enc=directions.T.contiguous(), W_dec=directions, b_enc=torch.zeros(width), b_dec=torch.zeros(like.d_in),
        k=like.k, hook_in=like.hook_in, hook_out=like.hook_out, name=f"random-{width}-{seed}", ref="drawn",
    )  # fmt: skip


def _there(metric: str) -> bool:
    return metric in registered()


if __name__ == "__main__":
    main()
