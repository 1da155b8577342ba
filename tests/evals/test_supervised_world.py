"""Probing, TPP, absorption, RAVEL and unlearning on the shipped world: known order, hand-built SAEs, independence."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saebench as sb
from saebench.data.datasets import load_dataset, spec_types
from saebench.engine import execute
from saebench.engine.batches import Batcher
from saebench.models import Subject, load_model
from saebench.results import Results, Row
from saebench.saes import Codes, SparseCoder
from saebench.saes.architectures import ReLU

HOOK = "blocks.1.hook_resid_post"
PROBING = {"source": "world:profession,gender,dialect", "train": 40, "test": 30}
LARGER = {**PROBING, "train": 60, "test": 120}
WORDS = {"source": "world:first_letter", "words": 1000}
SETTINGS: dict[str, dict] = {
    "sparse_probing": {"k": [1, 5]},
    "tpp": {"n": [10]},
    "scr": {"n": [10]},
    "mean_absorption_fraction": {},
    "full_absorption_rate": {},
}


@pytest.fixture(scope="module")
def model() -> Subject:
    return load_model("world")


def _scored(saes: list, model: Subject, *names: str, out: Path | None = None, data: dict | None = None) -> Results:
    from saebench import registry

    suite = {"metric": [{name: SETTINGS[name]} for name in names], "references": {"null": None, "baseline": None}}
    used = {registry.get(name).data for name in names}
    suite["data"] = {k: v for k, v in {"probing": PROBING, "words": WORDS, **(data or {})}.items() if k in used}
    return sb.evaluate(saes, suite, model=model, out=out)


def _row(results: Results, sae: str, metric: str, slice_: str) -> Row:
    [row] = [r for r in results.rows if (r.sae, r.metric, r.slice) == (sae, metric, slice_)]
    return row


@pytest.fixture(scope="module")
def twins(model: Subject) -> Results:
    names = ("topk-mid", "relu-mid", "gated-mid", "topk-mid-untrained", "topk-mid-shuffled", "topk-mid-half-dead")
    return _scored([f"world:{name}" for name in names], model, "sparse_probing", "tpp", data={"probing": LARGER})


@pytest.mark.parametrize(
    ("metric", "slice_", "better", "worse"),
    [
        ("sparse_probing", "k=1", "relu-mid", "topk-mid-untrained"),
        ("sparse_probing", "k=1", "gated-mid", "topk-mid-untrained"),
        ("sparse_probing", "k=5", "topk-mid", "topk-mid-half-dead"),
        ("tpp", "n=10", "topk-mid", "topk-mid-untrained"),
        ("tpp", "n=10", "topk-mid", "topk-mid-shuffled"),
        ("tpp", "n=10", "topk-mid", "topk-mid-half-dead"),
    ],
)
def test_a_trained_sae_beats_a_damaged_one_by_more_than_the_interval(
    twins: Results, metric: str, slice_: str, better: str, worse: str
) -> None:
    """Paired on the same texts.

    Shuffling the decoder leaves the codes, so probing cannot see it. One latent of the trained TopK SAE tells these
    classes no better than one of its untrained twin, whose thousand random directions are many to choose from.
    """
    good, bad = (_row(twins, name, metric, slice_) for name in (better, worse))
    assert good.sums is not None and bad.sums is not None
    gain = good.sums["psi"] / good.sums["n"] - bad.sums["psi"] / bad.sums["n"]
    weights = good.sums["n"] / good.sums["n"].sum()
    mean = float((weights * gain).sum())
    stderr = math.sqrt(float((weights**2 * (gain - mean) ** 2).sum()))
    assert mean > 1.96 * stderr > 0


def test_ravel_tells_a_trained_sae_from_its_damaged_twins(model: Subject) -> None:
    """By more than the intervals: the untrained, and the one whose decoder is shuffled."""
    settings = {"error": ["dropped"], "steps": 20, "rate": 0.2, "pairs": 32}
    results = sb.evaluate(
        [f"world:topk-mid{x}" for x in ("", "-untrained", "-shuffled")],
        {
            "metric": [{"ravel_disentanglement": settings}],
            "data": {"entities": {"source": "world", "types": ["city", "beast"], "templates": 3}},
            "references": {"null": None, "baseline": None},
        },
        model=model,
    )
    whole, *damaged = (
        _row(results, f"topk-mid{x}", "ravel_disentanglement", "error=dropped") for x in ("", "-untrained", "-shuffled")
    )
    assert all(whole.ci_low > twin.ci_high for twin in damaged)


def test_probing_cannot_see_the_decoder(twins: Results) -> None:
    values = {_row(twins, f"topk-mid{x}", "sparse_probing", "k=1").value for x in ("", "-shuffled")}
    assert len(values) == 1


# ---------------------------------------------------------------- SAEs built by hand


def _pooled(model: Subject, name: str, spec: dict, at_last: bool) -> tuple[Tensor, object]:
    """Activations of a dataset's items, pooled over valid tokens, and the items."""
    data = load_dataset(name, spec["source"], spec_types()[name](**spec), model, seed=0)
    rows = torch.zeros(data.corpus.rows, model.d_model, dtype=torch.float64)
    with torch.no_grad():
        for batch in Batcher(data.corpus, model.device).all(4096):
            acts = model.forward(batch.tokens, [HOOK], final=False).acts[HOOK].double()
            for place, row in enumerate(batch.rows):
                own = acts[place][batch.valid[place]]
                rows[row] = own[-1] if at_last else own.mean(0)
    return rows, data.items


def _directions(x: Tensor, label: Tensor, classes: int) -> Tensor:
    """Unit directions `[classes, d]` of a linear discriminant, each against the rest."""
    centred = x - x.mean(0)
    means = torch.stack([centred[label == c].mean(0) for c in range(classes)])
    within = centred - means[label]
    spread = within.T @ within / len(x) + 1e-3 * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.linalg.solve(spread, means.T).T
    return torch.nn.functional.normalize(found, dim=1).float()


def _dictionary(
    directions: Tensor, offset: Tensor, scale: Tensor, name: str, write: Tensor | None = None
) -> SparseCoder:
    """A ReLU SAE of given directions: code relu(d . x - offset) / scale, decoded to `write`, or else to scale d."""
    return ReLU(
        W_dec=directions * scale[:, None] if write is None else write,
        W_enc=(directions / scale[:, None]).T.contiguous(),
        b_enc=-offset / scale,
        b_dec=torch.zeros(directions.shape[1]),
        hook_in=HOOK,
        hook_out=HOOK,
        name=name,
        ref="by hand",
    )


@pytest.fixture(scope="module")
def labels(model: Subject) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of all classes `[classes, d]`, and the mean and deviation of pooled texts along each."""
    x, items = _pooled(model, "probing", LARGER, at_last=False)
    parts = []
    for task in items.tasks:
        train = x[task.train]
        found = _directions(train, torch.from_numpy(task.train_label), len(task.classes))
        along = train.float() @ found.T
        label = torch.from_numpy(task.train_label)
        means = torch.stack([train[label == c].mean(0) for c in range(len(task.classes))]) - train.mean(0)
        parts.append((found, along.mean(0), along.std(0), means.float()))
    directions, mean, spread, means = (torch.cat(column) for column in zip(*parts, strict=True))
    return directions, mean, spread, means


def test_a_dictionary_of_label_directions_probes_as_well_as_the_residual(model: Subject, labels: tuple) -> None:
    """Read far above zero its codes are linear in the activation: one latent does what a full probe does."""
    directions, mean, spread, _ = labels
    given = _dictionary(directions, mean - 100 * spread, spread, "labels")
    results = _scored([given], model, "sparse_probing", data={"probing": LARGER})
    value = _row(results, "labels", "sparse_probing", "k=1").value
    assert value > 0.95


def test_a_dictionary_of_label_directions_beats_the_trained_on_tpp(
    model: Subject, twins: Results, labels: tuple
) -> None:
    """A latent for each class that reads its discriminant and writes its mean: taking it away takes the class."""
    directions, mean, spread, means = labels
    given = _dictionary(directions, mean, spread, "labels", 0.5 * means)
    found = _row(_scored([given], model, "tpp", data={"probing": LARGER}), "labels", "tpp", "n=10")
    assert found.ci_low > _row(twins, "topk-mid", "tpp", "n=10").ci_high


def test_a_dictionary_of_letter_directions_does_not_absorb(model: Subject) -> None:
    x, items = _pooled(model, "words", WORDS, at_last=True)
    [letters] = items.hierarchies
    label = torch.from_numpy(letters.label)
    directions = _directions(x[letters.items], label, len(letters.groups))
    projected = x[letters.items].float() @ directions.T
    middle = torch.stack([projected[label == c, c].quantile(0.05) for c in range(len(letters.groups))])
    given = _dictionary(directions, middle - 1.0, torch.ones(len(directions)), "letters")
    results = _scored([given], model, "mean_absorption_fraction")
    assert _row(results, "letters", "mean_absorption_fraction", "first_letter").value < 0.05


# ---------------------------------------------------------------- what must not matter


ALL = ("sparse_probing", "tpp", "scr", "mean_absorption_fraction", "full_absorption_rate")


def _numbers(results: Results, sae: str) -> dict[tuple[str, str], tuple]:
    return {
        (r.metric, r.slice): (r.value, r.stderr, r.ci_low, r.ci_high, r.n, r.status)
        for r in results.rows
        if r.sae == sae
    }


def test_rows_do_not_depend_on_order_caches_or_company(model: Subject, tmp_path: Path) -> None:
    """Permuted, alone (as another process would score it), from scratch and from a folder with rows: identical."""
    a, b = "world:topk-mid", "world:relu-mid"
    together = _scored([a, b], model, *ALL, out=tmp_path / "run")
    again = _scored([b, a], model, *ALL, out=tmp_path / "run")
    turned = _scored([b, a], model, *ALL)
    alone = _scored([a], model, *ALL)
    wanted = _numbers(together, "topk-mid")
    assert len(wanted) > 40
    for other in (again, turned, alone):
        assert _numbers(other, "topk-mid") == wanted


def test_rows_do_not_depend_on_the_batch(model: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _numbers(_scored(["world:relu-mid"], model, *ALL), "relu-mid")
    monkeypatch.setattr(execute, "token_budget", lambda *_: 700)
    small = _numbers(_scored(["world:relu-mid"], model, *ALL), "relu-mid")
    for key, (value, stderr, *_rest) in whole.items():
        if value is None:
            assert small[key][0] is None
            continue
        assert small[key][0] == pytest.approx(value, abs=2e-3), key
        assert small[key][1] == pytest.approx(stderr, abs=2e-3), key


def test_longer_company_does_not_move_a_text(model: Subject) -> None:
    """The same texts beside one that is four times as long: the padding it brings changes nothing."""
    from saebench.data.corpus import item_corpus
    from saebench.engine.pooling import Means, Pool

    sae = sb.load_sae("world:topk-mid")
    data = load_dataset("probing", "world:gender", spec_types()["probing"](train=10, test=5), model, seed=0)
    rows = [data.corpus.row(i) for i in range(data.corpus.rows)]
    longer = [*rows, np.concatenate([rows[0], *[row[1:] for row in rows[1:4]]])[:127]]
    found = []
    for texts in (rows, longer):
        corpus = item_corpus("probing", texts, model.special_ids, source="t")
        from saebench.engine.items import document_lengths

        pool = Pool("mean", document_lengths(corpus), sae.d_sae)
        means = Means("mean", document_lengths(corpus), model.d_model)
        with torch.no_grad():
            for batch in Batcher(corpus, model.device).all(10**6):
                acts = model.forward(batch.tokens, [HOOK], final=False).acts[HOOK][batch.valid]
                pool.adder(sae.encode(acts), batch)()
                means.adder(acts, batch)()
        found.append((pool.pooled().dense()[: len(rows)], means.pooled()[: len(rows)]))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


class _Squared(ReLU):
    """A coder whose decode is not linear: of its codes' squares."""

    linear_decoder = False

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        return super().decode((codes.dense() if isinstance(codes, Codes) else codes).square(), ctx)


def test_ravel_of_coders_that_are_dead_or_not_linear(model: Subject) -> None:
    """With its error kept a dead one moves nothing: cause 0, isolation 1. One that is not linear is decoded."""
    directions = torch.nn.functional.normalize(
        torch.randn(32, model.d_model, generator=torch.Generator().manual_seed(0))
    )
    dead = _dictionary(directions, torch.full((32,), 1e6), torch.ones(32), "dead")
    squared = _Squared(
        W_dec=0.1 * directions, W_enc=directions.T.contiguous(), b_enc=torch.zeros(32),
        b_dec=torch.zeros(model.d_model),
        hook_in=HOOK, hook_out=HOOK, name="squared", ref="by hand",
    )  # fmt: skip
    metrics = ("ravel_cause", "ravel_isolation", "ravel_disentanglement", "ravel_random_mask")
    results = sb.evaluate(
        [dead, squared],
        {
            "metric": [{name: {"steps": 3, "batch": 8, "pairs": 12}} for name in metrics],
            "data": {"entities": {"source": "world", "types": ["city"], "templates": 1}},
            "references": {"null": None, "baseline": None},
        },
        model=model,
    )
    assert {row.status for row in results.rows} == {"ok"}
    value = {(row.sae, row.metric, row.slice): row.value for row in results.rows}
    assert value["dead", "ravel_cause", "error=kept"] == 0.0
    assert value["dead", "ravel_isolation", "error=kept"] == 1.0
    assert value["dead", "ravel_cause", "error=dropped"] < 0.3, "the same answer to all, right by chance"
    assert value["dead", "ravel_isolation", "error=dropped"] < 0.6
    assert (
        value["dead", "ravel_random_mask", "error=kept"] == value["dead", "ravel_disentanglement", "error=kept"] == 0.5
    )
    assert 0 < value["squared", "ravel_disentanglement", "error=kept"] < 1


def test_a_dead_sae_never_looks_good(model: Subject) -> None:
    """Chance on probing, nothing on TPP, and no absorption score at all: it has nothing to absorb with."""
    directions = torch.nn.functional.normalize(
        torch.randn(32, model.d_model, generator=torch.Generator().manual_seed(0))
    )
    dead = _dictionary(directions, torch.full((32,), 1e6), torch.ones(32), "dead")
    results = _scored([dead], model, *ALL)
    assert _row(results, "dead", "sparse_probing", "k=1").value == pytest.approx(0.5, abs=0.05)
    assert _row(results, "dead", "tpp", "n=10").value == 0.0
    absorbed = [r for r in results.rows if "absorption" in r.metric]
    assert len(absorbed) == 2
    assert all(r.status == "not_applicable" and "no latent fires" in r.reason for r in absorbed)


# ---------------------------------------------------------------- the same for what runs the model on


GRID = {"n": [10], "retain_thresholds": [0.01], "multipliers": [20.0], "relative": [2.0]}
CAUSAL: dict[str, Any] = {
    "metric": [
        {"ravel_disentanglement": {"steps": 4, "batch": 8, "pairs": 8}},
        {"ravel_skyline": {"steps": 4, "batch": 8, "pairs": 8}},
        {"unlearning": GRID},
        {"unlearning_retain_accuracy": GRID},
        {"sparse_probing_last_token": {"k": [1, 3]}},
    ],
    "data": {
        "entities": {"source": "world", "types": ["mineral"], "templates": 1},
        "questions": {"source": "world", "questions": 10, "orders": 1},
        "forget": {"source": "world:forget", "tokens": 2000},
        "retain": {"source": "world:retain", "tokens": 2000},
        "last_token": {"source": "world:gender,dialect", "protocol": "last_token", "train": 30, "test": 20},
    },
    "references": {"null": None, "baseline": None},
}


def _causal(saes: list[str], model: Subject | str, out: Path | None = None) -> Results:
    return sb.evaluate(saes, CAUSAL, model=model, out=out)


@pytest.fixture(scope="module")
def causal(model: Subject) -> dict[tuple[str, str], tuple]:
    return _numbers(_causal(["world:topk-mid"], model), "topk-mid")


def test_rows_that_run_the_model_on_depend_on_no_company_and_no_cache(
    model: Subject, causal: dict[tuple[str, str], tuple], tmp_path: Path
) -> None:
    assert len(causal) > 20 and {numbers[-1] for numbers in causal.values()} == {"ok"}
    both = ["world:relu-mid", "world:topk-mid"]
    assert _numbers(_causal(both, model, tmp_path), "topk-mid") == causal
    assert _numbers(_causal(both[::-1], model, tmp_path), "topk-mid") == causal, "read from the rows of the first run"


def test_rows_that_run_the_model_on_are_those_of_another_process(causal: dict[tuple[str, str], tuple]) -> None:
    """With other hashes of strings, as a shard on another machine has."""
    scored = "t._numbers(t._causal(['world:topk-mid'], 'world'), 'topk-mid')"
    code = f"import sys, {__name__} as t; sys.stdout.write(repr({scored}))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == repr(causal)


def test_rows_that_run_the_model_on_do_not_depend_on_the_batch(
    model: Subject, causal: dict[tuple[str, str], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of a few prompts there is less padding; an answer is right or wrong, and rounding turns few."""
    monkeypatch.setattr(execute, "token_budget", lambda *_: 150)
    small = _numbers(_causal(["world:topk-mid"], model), "topk-mid")
    assert small.keys() == causal.keys()
    for key, (value, *_) in causal.items():
        assert small[key][0] == pytest.approx(value, abs=0.02), key
