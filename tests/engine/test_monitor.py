"""The monitor gives what `evaluate` gives, from the model's part computed once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.training.activation_scaler import ActivationScaler
from sae_lens.training.sae_trainer import SAETrainer

import saebench as sb
from saebench.errors import UserError
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

METRICS = ["l0", "explained_variance", "loss_recovered", "kl", "decoder_norm", "dead_fraction"]
SUITE = {"name": "small", "metric": METRICS, "references": {"null": None, "baseline": None}}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama()


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return token_rows(40, 9)


def watch(model: Any, ids: torch.Tensor, **more: Any) -> sb.Monitor:
    return sb.Monitor(model, {"text": ids}, **{"suite": SUITE, "every": 10, "hook": HOOK, **more})


def values(results: sb.Results) -> dict[str, tuple[float | None, float | None]]:
    return {row.metric: (row.value, row.stderr) for row in results}


@pytest.mark.parametrize("room", [0, 2**30])
def test_every_score_is_what_evaluate_gives(model: Any, ids: torch.Tensor, room: int) -> None:
    monitor = watch(model, ids, room=room)
    for step, seed in ((10, 1), (20, 2)):
        sae = ToySAE(seed=seed)
        fresh = sb.evaluate([sae], SUITE, model=model, data={"text": ids}, hook=HOOK)
        assert values(monitor.score(step, sae)) == values(fresh)


def test_layers_before_the_hook_run_once(model: Any, ids: torch.Tensor) -> None:
    monitor = watch(model, ids)
    monitor.score(10, ToySAE(seed=1))
    calls = {0: 0, 2: 0}
    handles = [
        model.model.layers[layer].mlp.register_forward_hook(
            lambda *_, layer=layer: calls.update({layer: calls[layer] + 1})
        )
        for layer in calls
    ]
    monitor.score(20, ToySAE(seed=2))
    for handle in handles:
        handle.remove()
    assert calls[0] == 0
    assert calls[2] > 0, "layers after the hook see the SAE"


def test_it_scores_when_its_turn_has_come_and_keeps_the_rows(model: Any, ids: torch.Tensor, tmp_path: Path) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    monitor = watch(model, ids, out=tmp_path, name="mine", log=lambda step, numbers: logged.append((step, numbers)))
    made = [step for step in range(25) if monitor(step, ToySAE(seed=step)) is not None]
    assert made == monitor.steps == [10, 20]
    stored = sb.Results.load(tmp_path)
    assert stored.saes == ("mine@10", "mine@20")
    assert {row.key: row for row in stored} == {row.key: row for row in monitor.results()}
    assert [step for step, _ in logged] == made
    assert logged[0][1]["l0"] == monitor.values("l0")[10]
    assert logged[0][1]["l0_stderr"] > 0


class Noisy(torch.nn.Module):
    """The identity, shrunk by a given share."""

    d_in = 16

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(size))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.relu(), (-x).relu()], -1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        plus, minus = codes.chunk(2, -1)
        return (plus - minus) * (1 - self.size)


def test_it_stops_when_nothing_gets_surely_better(model: Any, ids: torch.Tensor) -> None:
    monitor = watch(model, ids, metrics=["explained_variance", "l0"])
    told = []
    for step, size in enumerate((0.5, 0.3, 0.1, 0.0999999, 0.1, 0.2)):
        monitor.score(step, Noisy(size))
        told.append(monitor.should_stop("explained_variance", patience=2))
    assert told == [False, False, False, False, True, True]
    assert not monitor.should_stop("explained_variance", patience=5)
    assert monitor.should_stop("explained_variance", patience=4, least=0.5)


def test_a_training_sae_of_saelens_is_scored_as_what_it_would_be_saved_as(
    model: Any, ids: torch.Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = BatchTopKTrainingSAEConfig(d_in=16, d_sae=24, k=4, normalize_activations="expected_average_only_in")
    config.metadata.hook_name = HOOK
    sae = BatchTopKTrainingSAE(config)
    with torch.no_grad():
        sae.topk_threshold.fill_(0.3)
        sae.b_enc.normal_()
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    monitor = watch(model, ids)
    numbers = monitor.evaluator(sae, None, ActivationScaler(scaling_factor=0.5))
    assert all(torch.equal(before[name], tensor) for name, tensor in sae.state_dict().items())
    sae.fold_activation_norm_scaling_factor(0.5)
    sae.save_inference_model(tmp_path)
    saved = sb.evaluate([str(tmp_path)], SUITE, model=model, data={"text": ids})
    for row in saved:
        assert numbers[f"saebench/{row.metric}"] == pytest.approx(row.value, rel=1e-6), row.metric
    assert monitor.steps == [10]
    monitor.evaluator(sae)
    assert monitor.steps == [10, 20]


def test_saelens_trainer_calls_it_and_logs_what_it_returns(
    model: Any, ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr("sae_lens.training.sae_trainer.wandb.log", lambda numbers, **_: logged.append(numbers))
    monitor = watch(model, ids, metrics=["l0", "explained_variance"], every=20)
    x = monitor.model.forward(ids, [HOOK]).acts[HOOK][:, 1:].reshape(-1, 16)
    config = BatchTopKTrainingSAEConfig(d_in=16, d_sae=24, k=4, normalize_activations="expected_average_only_in")
    steps = SAETrainerConfig(
        total_training_samples=64 * 60, train_batch_size_samples=64, lr=1e-2, lr_end=1e-3, lr_warm_up_steps=0,
        lr_decay_steps=0, device="cpu",
        logger=LoggingConfig(log_to_wandb=True, wandb_log_frequency=10, eval_every_n_wandb_logs=2),
    )  # fmt: skip
    torch.manual_seed(0)
    batches = iter(lambda: x[torch.randint(len(x), (64,))], None)
    SAETrainer(steps, BatchTopKTrainingSAE(config), batches, evaluator=monitor.evaluator).fit()
    assert monitor.steps == [20, 40, 60]
    learnt = [value or 0.0 for value in monitor.values("explained_variance").values()]
    assert learnt[0] < learnt[1] < learnt[2]
    shown = [numbers["saebench/explained_variance"] for numbers in logged if "saebench/explained_variance" in numbers]
    assert shown == learnt


def test_mistakes_are_one_sentence(model: Any, ids: torch.Tensor) -> None:
    with pytest.raises(UserError, match="every is 0"):
        watch(model, ids, every=0)
    with pytest.raises(UserError, match="compares SAEs of several seeds"):
        watch(model, ids, suite={"name": "x", "metric": ["pw_mcc"]})
    monitor = watch(model, ids, metrics=["l0", "uniformity"], suite={"name": "x", "metric": ["l0", "uniformity"]})
    assert not monitor.should_stop("l0")
    monitor.score(10, ToySAE(seed=1))
    with pytest.raises(UserError, match="Choose from: l0, uniformity"):
        monitor.should_stop("lo")
    with pytest.raises(UserError, match="no direction"):
        monitor.should_stop("uniformity")
    with pytest.raises(UserError, match="patience is 0"):
        monitor.should_stop("l0", patience=0)
    with pytest.raises(UserError, match="32"):
        monitor.score(20, ToySAE(seed=1, d_in=32))


def test_the_example_trains_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    file = Path(__file__).parents[2] / "examples" / "monitor.py"
    spec = importlib.util.spec_from_file_location("monitor_example", file)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    words = "--steps 20 --every 10 --batch 256 --documents 32 --tokens 500"
    monkeypatch.setattr(sys, "argv", ["monitor.py", *words.split(), "--out", str(tmp_path)])
    example.main()
    told = capsys.readouterr().out
    assert "20 steps on" in told
    results = sb.Results.load(tmp_path)
    learnt = {row.sae: row.value or 0.0 for row in results if row.metric == "explained_variance"}
    assert learnt["topk@20"] > learnt["topk@10"]
