"""The reference suite's half of `reference.py`; it runs in that suite's own environment.

    PYTHON_OF_THE_REFERENCE reference_child.py TASK.json

It imports nothing of saebench, and the reference suite only inside functions, so that `reference.py` can
take the task and the clock from here.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WARM_UP = "warm-up"
"""The job that is run first and not counted: caches, lazy imports, first touches of memory."""

PARTS = (
    "get_downstream_reconstruction_metrics",
    "get_sparsity_and_variance_metrics",
    "get_featurewise_weight_based_metrics",
    "save_single_eval_result",
)
"""Functions of the reference's core eval whose share of the time is reported."""


@dataclass(frozen=True)
class Job:
    """One timed call of a suite.

    Attributes:
        saes: Names of the SAEs to score.
        rows: How many rows of tokens, from the first.
        references: Ours only: score a null and a baseline beside the SAEs.
    """

    label: str
    saes: list[str]
    rows: int
    references: bool = False


@dataclass(frozen=True)
class Task:
    """What a process is to do; the same fields on both sides.

    Attributes:
        model: Directory in Hugging Face format.
        saes: Directory in SAELens format, by name.
        tokens: `.npy` of token ids `[rows, context]`, BOS in front of each row.
        dataset: Folder with the same rows as a `tokens` column, relative to the working directory.
        batch_rows: Rows in a batch of the reference suite.
        check: Whether to take the corrected numbers too, after the clock has stopped.
    """

    model: str
    saes: dict[str, str]
    tokens: str
    dataset: str
    batch_rows: int
    threads: int
    jobs: list[Job]
    check: bool

    @classmethod
    def read(cls, file: str) -> Task:
        """The task of a JSON file."""
        raw = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(**{**raw, "jobs": [Job(**job) for job in raw["jobs"]]})

    def write(self, file: Path) -> None:
        """Put the task in a JSON file."""
        file.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


@dataclass
class Report:
    """What a process found: seconds by job, CPU seconds by job and part, and values by SAE and metric."""

    versions: dict[str, str]
    cpu: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)

    def run(self, task: Task, work: Callable[[Job], dict[str, dict[str, float]]]) -> None:
        """Run the jobs one after the other, keep their seconds, and the values of the last that has a SAE."""
        for job in task.jobs:
            self._parts = self.parts.setdefault(job.label, {})
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            values = work(job)
            self.cpu[job.label] = time.process_time() - cpu
            self.wall[job.label] = time.perf_counter() - wall
            if job.label != WARM_UP:
                self.values |= values

    def clocked(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its CPU seconds counted as a part of the job."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._parts[part] = self._parts.get(part, 0.0) + time.process_time() - began

        return counted

    def write(self) -> None:
        """Hand the report over, as the last line of standard output."""
        sys.stdout.write(json.dumps(dataclasses.asdict(self)) + "\n")


def main() -> None:
    """Do one task with the reference suite and report."""
    import torch

    logging.basicConfig(level=logging.ERROR)
    task = Task.read(sys.argv[1])
    torch.set_num_threads(task.threads)
    with redirect_stdout(sys.stderr):
        model = _model(task)
        saes = _saes(task)
        report = Report({name: version(name) for name in ("sae-bench", "sae-lens", "transformer-lens", "torch")})
        _clock_parts(report)
        report.run(task, lambda job: _evaluated(job, task, saes))
        if task.check:
            for name, sae in saes.items():
                report.values.setdefault(name, {}).update(_corrected(task, model, sae))
    report.write()


def _model(task: Task) -> Any:
    """The model as a HookedTransformer, put where the reference suite looks for it.

    The suite knows a model by its hub name only; everything else of its path stays as it is.

    Raises:
        AssertionError: The converted model does not give the logits of the Hugging Face model.
    """
    import torch
    from sae_lens.training import activations_store
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_neox_weights
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32).eval()
    c = source.config
    head = c.hidden_size // c.num_attention_heads
    rope = c.rope_parameters
    config = HookedTransformerConfig(
        model_name="saebench-world", original_architecture="GPTNeoXForCausalLM", device="cpu", dtype=torch.float32,
        n_layers=c.num_hidden_layers, n_ctx=c.max_position_embeddings, d_vocab=c.vocab_size, d_model=c.hidden_size,
        d_mlp=c.intermediate_size, n_heads=c.num_attention_heads, d_head=head, eps=c.layer_norm_eps,
        act_fn=c.hidden_act, normalization_type="LN", parallel_attn_mlp=c.use_parallel_residual,
        positional_embedding_type="rotary", rotary_adjacent_pairs=False,
        rotary_dim=int(head * rope["partial_rotary_factor"]), rotary_base=int(rope["rope_theta"]),
    )  # fmt: skip
    model = HookedTransformer(config, tokenizer=AutoTokenizer.from_pretrained(task.model))
    with torch.no_grad():
        model.load_state_dict(convert_neox_weights(source, config), strict=False)
        tokens = next(_batches(task))
        logits = source(tokens).logits
        gap = float((model(tokens) - logits).abs().max() / logits.abs().max())
    assert gap < 1e-4, f"the converted model's logits are off by {gap:.1e} of the largest"
    HookedTransformer.from_pretrained_no_processing = staticmethod(lambda *_, **__: model)  # type: ignore[assignment]
    # It would ask the hub how the rows were tokenised.
    activations_store.validate_pretokenized_dataset_tokenizer = lambda **_: None  # type: ignore[assignment]
    return model


def _clock_parts(report: Report) -> None:
    from sae_bench.evals.core import main as core

    for part in PARTS:
        setattr(core, part, report.clocked(part, getattr(core, part)))


def _saes(task: Task) -> dict[str, Any]:
    from sae_lens import SAE

    return {name: SAE.load_from_disk(folder, device="cpu") for name, folder in task.saes.items()}


def _evaluated(job: Job, task: Task, saes: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The core eval as its own command runs it, with as many tokens for sparsity as for reconstruction.

    Raises:
        RuntimeError: An SAE has no result; the suite only logs what went wrong.
    """
    from sae_bench.evals.core.main import multiple_evals

    batches = job.rows // task.batch_rows
    with TemporaryDirectory() as folder:
        found = multiple_evals(
            selected_saes=[(name, saes[name]) for name in job.saes],
            n_eval_reconstruction_batches=batches,
            n_eval_sparsity_variance_batches=batches,
            eval_batch_size_prompts=task.batch_rows,
            compute_featurewise_density_statistics=True,  # its command sets both; without them nothing is saved
            compute_featurewise_weight_based_metrics=True,
            exclude_special_tokens_from_reconstruction=True,
            dataset=task.dataset,
            context_size=_context(task),
            output_folder=folder,
            dtype="float32",
            device="cpu",
        )
    if len(found) != len(job.saes):
        raise RuntimeError(f"the reference suite gave {len(found)} results for {len(job.saes)} SAEs; see its log")
    return {result["sae_set"]: dict(_flat(result)) for result in found}


def _flat(result: Any) -> Iterator[tuple[str, float]]:
    for numbers in result["metrics"].values():
        yield from ((name, float(value)) for name, value in numbers.items())
    cosines = result["feature_metrics"]["encoder_decoder_cosine_sim"]
    yield "encoder_decoder_cosine_sim", sum(cosines) / len(cosines)


def _corrected(task: Task, model: Any, sae: Any) -> dict[str, float]:
    """Explained variance by SAELens' corrected calculator, on the activations that the reference suite scores."""
    import torch
    from sae_lens.evals import ExplainedVarianceCalculator

    hook, special = sae.cfg.metadata.hook_name, torch.tensor(_special(model.tokenizer))
    calculator = ExplainedVarianceCalculator()
    with torch.no_grad():
        for tokens in _batches(task):
            x = model.run_with_cache(tokens, names_filter=[hook], prepend_bos=False)[1][hook]
            valid = ~torch.isin(tokens, special)
            calculator.add_batch(sae.decode(sae.encode(x))[valid], x[valid])
    return {"explained_variance, corrected": calculator.compute()}


def _special(tokenizer: Any) -> list[int]:
    return [tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id]


def _context(task: Task) -> int:
    import numpy as np

    return int(np.load(task.tokens, mmap_mode="r").shape[1])


def _batches(task: Task) -> Iterator[Any]:
    """The rows that the jobs score, in the reference suite's batches."""
    import numpy as np
    import torch

    rows = np.load(task.tokens)[: max(job.rows for job in task.jobs)]
    yield from torch.from_numpy(rows.astype(np.int64)).split(task.batch_rows)


if __name__ == "__main__":
    main()
