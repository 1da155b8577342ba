"""The reference suite's half of `supervised.py`; it runs in that suite's own environment.

    PYTHON_OF_THE_REFERENCE supervised_child.py TASK.json

It imports nothing of saebench. Of the reference suite it replaces where texts and words come from (files
instead of the hub), where results go, and the loading of the model; everything that is timed is its own.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import reference_child as core

FAMILIES = ("sparse_probing", "tpp", "scr", "absorption")
LEAKY = ("tpp", "scr")
"""Families in which the suite ablates latents at padded positions too."""
MIN_GROUPS = 2
"""Letters that must be told for an absorption score; the small model knows fewer than the 20 that the suite wants."""
SET_UP, SAE = "set-up", "SAE"
FULL = "full probe"
"""CPU seconds of the probes on all latents, a part of the SAE's."""
SEPARATOR = " . "
TEMPLATE, POSITION = "{word} has the first letter :", -5
"""How the world's documents speak of first letters, and where its model gathers a word: at the one behind it."""


@dataclass(frozen=True)
class Task:
    """What a process is to do; the same fields on both sides.

    Attributes:
        model: Directory in Hugging Face format.
        saes: Directories in SAELens format, by name; the reference scores the first.
        data: Folder with `tasks.json`, a JSONL file a task, and `words.txt`.
        warm_up: Folder of the same shape with a few texts.
        families: Which to run.
        llm_batch: Rows in a batch of the reference's model.
        unpadded: Whether the suite is kept from ablating at padded positions, to see what that changes.
    """

    model: str
    saes: dict[str, str]
    data: str
    warm_up: str
    threads: int
    families: list[str]
    llm_batch: int
    unpadded: bool = False

    @classmethod
    def read(cls, file: str) -> Task:
        """The task of a JSON file."""
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))

    def write(self, file: Path) -> None:
        """Put the task in a JSON file."""
        file.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


@dataclass
class Clock:
    """CPU and wall seconds of the parts of one family, each moment counted in one part."""

    cpu: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    _part: str = ""
    _since: tuple[float, float] = (0.0, 0.0)

    @property
    def now(self) -> str:
        """The part that is counted."""
        return self._part

    def part(self, name: str) -> str:
        """Count from now on as this part (none if empty); returns the part before."""
        now = time.process_time(), time.perf_counter()
        if self._part:
            for totals, began, ended in zip((self.cpu, self.wall), self._since, now, strict=True):
                totals[self._part] = totals.get(self._part, 0.0) + ended - began
        before, self._part, self._since = self._part, name, now
        return before

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count what happens inside as this part, and then go on with the part before."""
        before = self.part(name)
        try:
            yield
        finally:
            self.part(before)

    def as_part(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted as a part."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.within(name):
                return function(*args, **kwargs)

        return counted


@dataclass
class Report:
    """What a process found: seconds by family and part, values by family, notes."""

    versions: dict[str, str]
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    wall: dict[str, dict[str, float]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def take(self, family: str, clock: Clock, values: dict[str, float]) -> None:
        """Keep what one family gave."""
        clock.part("")
        self.cpu[family], self.wall[family], self.values[family] = clock.cpu, clock.wall, values

    def write(self) -> None:
        """Hand the report over, as the last line of standard output."""
        sys.stdout.write(json.dumps(dataclasses.asdict(self)) + "\n")


def main() -> None:
    """Do one task with the reference suite and report."""
    import jaxtyping
    import torch
    from sae_lens import SAE as Lens

    # Newer versions of beartype look into its dictionaries and refuse shapes that it has always passed.
    jaxtyping.config.update("jaxtyping_disable", True)
    logging.basicConfig(level=logging.ERROR)
    task = Task.read(sys.argv[1])
    torch.set_num_threads(task.threads)
    report = Report({name: version(name) for name in ("sae-bench", "sae-lens", "transformer-lens", "torch")})
    with redirect_stdout(sys.stderr):
        tokens = str(Path(task.data) / "rows.npy")
        core._model(core.Task(task.model, {}, tokens, "", 4, task.threads, [core.Job("", [], 4)], False))
        name, folder = next(iter(task.saes.items()))
        sae = Lens.load_from_disk(folder, device="cpu")
        if task.unpadded:
            _leave_padding_alone()
        for family in task.families:
            if family != "absorption":
                _family(family, Path(task.warm_up), task, name, sae)
            clock, values = _family(family, Path(task.data), task, name, sae)
            report.take(family, clock, {name: value for name, value in values.items() if name != FULL})
            report.counts |= {FULL: values[FULL]} if FULL in values else {}
            sys.stderr.write(f"{family}: {clock.cpu}\n")
    report.write()


class _AtTokens:
    """A SAE that fires at no padded position; those are the ones whose activation is zero.

    Args:
        sae: The SAE.
    """

    def __init__(self, sae: Any) -> None:
        self.decode = sae.decode
        self._encode = sae.encode

    def encode(self, x: Any) -> Any:
        """Codes, zero where the activation is."""
        return self._encode(x) * (x.sum(-1, keepdim=True) != 0)


def _leave_padding_alone() -> None:
    """Let the suite's ablation touch real tokens only."""
    from sae_bench.evals.scr_and_tpp import main

    ablated = main.ablated_precomputed_activations
    main.ablated_precomputed_activations = lambda acts, sae, *more: ablated(acts, _AtTokens(sae), *more)


def _family(family: str, data: Path, task: Task, name: str, sae: Any) -> tuple[Clock, dict[str, float]]:
    """One family of metrics on one SAE with nothing cached, in a folder of its own."""
    import torch

    torch.set_grad_enabled(True)
    random.seed(0)
    torch.manual_seed(0)
    spec = json.loads((data / "tasks.json").read_text(encoding="utf-8"))
    clock = Clock()
    with TemporaryDirectory() as folder:
        run = {"sparse_probing": _sparse_probing, "tpp": _tpp, "scr": _scr, "absorption": _absorption}[family]
        return clock, run(clock, spec, data, task, [(name, sae)], Path(folder))


def _rows(data: Path, name: str) -> list[dict[str, str]]:
    lines = (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _by_class(data: Path, name: str, *_: Any) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts by class, to fit on and to score on: what the suite's own reader returns."""
    parts: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for row in _rows(data, name):
        parts[row["split"]].setdefault(row["label"], []).append(row["text"])
    return parts["train"], parts["test"]


def _settings(spec: dict[str, Any], task: Task, **more: Any) -> dict[str, Any]:
    """The suite's defaults but for the number of texts, the model and its batch."""
    return {"model_name": "saebench-world", "llm_dtype": "float32", "llm_batch_size": task.llm_batch, **more}


def _sparse_probing(
    clock: Clock, spec: dict[str, Any], data: Path, task: Task, saes: list[Any], folder: Path
) -> dict[str, float]:
    from sae_bench.evals.sparse_probing import main
    from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig
    from sae_bench.sae_bench_utils import activation_collection, dataset_info, dataset_utils

    dataset_utils.get_multi_label_train_test_data = functools.partial(_by_class, data)
    dataset_info.chosen_classes_per_dataset = spec["tasks"]
    config = SparseProbingEvalConfig(
        **_settings(spec, task),
        dataset_names=list(spec["tasks"]),
        probe_train_set_size=2 * spec["train"],
        probe_test_set_size=2 * spec["test"],
    )
    # A dataset's set-up ends when its texts are first encoded with the SAE.
    single, meaned = main.run_eval_single_dataset, activation_collection.get_sae_meaned_activations

    def dataset(*args: Any, **kwargs: Any) -> Any:
        clock.part(SET_UP)
        return single(*args, **kwargs)

    def first_encode(*args: Any, **kwargs: Any) -> Any:
        clock.part(SAE)
        return meaned(*args, **kwargs)

    train = main.probe_training.train_probe_on_activations
    full = 0.0

    def probes(*args: Any, **kwargs: Any) -> Any:
        nonlocal full
        began = time.process_time()
        try:
            return train(*args, **kwargs)
        finally:
            if clock.now == SAE and kwargs.get("select_top_k") is None:
                full += time.process_time() - began

    main.run_eval_single_dataset, activation_collection.get_sae_meaned_activations = dataset, first_encode
    main.probe_training.train_probe_on_activations = probes
    clock.part(SAE)
    try:
        found = main.run_eval(config, saes, "cpu", str(folder / "out"), artifacts_path=str(folder / "artifacts"))
    finally:
        clock.part("")
        main.run_eval_single_dataset, activation_collection.get_sae_meaned_activations = single, meaned
        main.probe_training.train_probe_on_activations = train
    metrics = next(iter(found.values()))["eval_result_metrics"]
    values = {name: value for part in metrics.values() for name, value in part.items() if value is not None}
    return {**values, FULL: full}


def _scr_or_tpp(
    clock: Clock, spec: dict[str, Any], task: Task, saes: list[Any], folder: Path, settings: dict[str, Any]
) -> dict[str, float]:
    from sae_bench.evals.scr_and_tpp import main
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig

    config = ScrAndTppEvalConfig(
        **_settings(spec, task), train_set_size=2 * spec["train"], test_set_size=2 * spec["test"], **settings
    )
    # A dataset's set-up ends when the SAE's effects are asked for.
    single, effects = main.run_eval_single_dataset, main.get_all_node_effects_for_one_sae

    def dataset(*args: Any, **kwargs: Any) -> Any:
        clock.part(SET_UP)
        return single(*args, **kwargs)

    def first_encode(*args: Any, **kwargs: Any) -> Any:
        clock.part(SAE)
        return effects(*args, **kwargs)

    main.run_eval_single_dataset, main.get_all_node_effects_for_one_sae = dataset, first_encode
    clock.part(SAE)
    try:
        found = main.run_eval(config, saes, "cpu", str(folder / "out"), artifacts_path=str(folder / "artifacts"))
    finally:
        clock.part("")
        main.run_eval_single_dataset, main.get_all_node_effects_for_one_sae = single, effects
    metrics = next(iter(found.values()))["eval_result_metrics"]
    return {name: value for part in metrics.values() for name, value in part.items() if value is not None}


def _tpp(clock: Clock, spec: dict[str, Any], data: Path, task: Task, saes: list[Any], folder: Path) -> dict[str, float]:
    from sae_bench.evals.scr_and_tpp import main
    from sae_bench.sae_bench_utils import dataset_info, dataset_utils

    dataset_utils.get_multi_label_train_test_data = functools.partial(_by_class, data)
    dataset_info.chosen_classes_per_dataset = spec["tasks"]
    main.COLUMN2_VALS_LOOKUP.update({name: ("", "") for name in spec["tpp"]})
    return _scr_or_tpp(clock, spec, task, saes, folder, {"perform_scr": False, "dataset_names": spec["tpp"]})


def _scr(clock: Clock, spec: dict[str, Any], data: Path, task: Task, saes: list[Any], folder: Path) -> dict[str, float]:
    from sae_bench.evals.scr_and_tpp import dataset_creation, main
    from sae_bench.sae_bench_utils import dataset_info

    columns = {"text_column_name": "text", "column1_name": "label", "column2_name": "attribute"}
    names = {f"{like}/{name}": name for like, name in zip(("bias_in_bios", "amazon_reviews"), spec["scr"], strict=True)}
    for full, name in names.items():
        classes = {c: c for pair in spec["scr"][name]["pairs"] for c in pair}
        values = spec["scr"][name]["attribute"]
        own = {"column1_mapping": classes, "column2_mapping": {value: value for value in values}}
        dataset_info.dataset_metadata[full] = {**columns, **own}
        main.COLUMN2_VALS_LOOKUP[full] = tuple(values)

    def load_dataset(full: str) -> dict[str, list[dict[str, str]]]:
        rows = _rows(data, names[full])
        return {split: [row for row in rows if row["split"] == split] for split in ("train", "test")}

    dataset_creation.load_dataset = load_dataset
    pairs = {full: [tuple(pair) for pair in spec["scr"][name]["pairs"]] for full, name in names.items()}
    return _scr_or_tpp(
        clock, spec, task, saes, folder,
        {"perform_scr": True, "dataset_names": list(names), "column1_vals_lookup": pairs},
    )  # fmt: skip


def _absorption(
    clock: Clock, spec: dict[str, Any], data: Path, task: Task, saes: list[Any], folder: Path
) -> dict[str, float]:
    import os

    from sae_bench.evals.absorption import common, feature_absorption, feature_absorption_calculator, main, probing
    from sae_bench.evals.absorption import k_sparse_probing as probes
    from sae_bench.evals.absorption.eval_config import AbsorptionEvalConfig
    from sae_bench.evals.absorption.prompting import create_icl_prompt

    words = (data / "words.txt").read_text(encoding="utf-8").split()
    for module in (common, feature_absorption):
        module.get_alpha_tokens = lambda _: list(words)

    def in_the_worlds_words(*args: Any, **kwargs: Any) -> Any:
        prompt = create_icl_prompt(*args, **kwargs)
        return dataclasses.replace(prompt, base=prompt.base.strip("\n").replace("\n", SEPARATOR))

    for module in (probing, feature_absorption_calculator):
        module.create_icl_prompt = in_the_worlds_words
    places = {"probes_dir": folder / "probes"}
    main.run_k_sparse_probing_experiment = functools.partial(
        probes.run_k_sparse_probing_experiment, experiment_dir=folder / "sparse", **places
    )
    main.run_feature_absortion_experiment = functools.partial(
        feature_absorption.run_feature_absortion_experiment,
        experiment_dir=folder / "absorption", sparse_probing_experiment_dir=folder / "sparse", **places,
    )  # fmt: skip
    train = probes.load_or_train_probe
    probes.load_or_train_probe = clock.as_part(SET_UP, train)
    config = AbsorptionEvalConfig(
        model_name="saebench-world",
        prompt_template=TEMPLATE,
        prompt_token_pos=POSITION,
        min_feats_for_eval=MIN_GROUPS,
    )
    here = Path.cwd()
    (folder / "out").mkdir()
    os.chdir(folder)  # a side file goes to the working directory
    clock.part(SAE)
    try:
        found = main.run_eval(config, saes, "cpu", str(folder / "out"))
    finally:
        clock.part("")
        os.chdir(here)
        probes.load_or_train_probe = train
    if not found:
        raise RuntimeError("the reference suite found too few letters that the model knows; see its log")
    result = next(iter(found.values()))
    return {**result["eval_result_metrics"]["mean"], "letters": len(result["eval_result_details"])}


if __name__ == "__main__":
    main()
