"""Coders made to have split, absorbed, merged or missed a known share, and coders that have not."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment

import saebench as sb
from saebench.cli import main
from saebench.data.synthetic import Synthetic, recipe
from saebench.saes.ideal import Ideal
from tests.helpers.toys import ToySAE

REFERENCE = {kind: f"synthetic:{kind}?d=48&n=40&orthogonal=1&l0=3" for kind in ("flat", "hierarchical", "correlated")}
WEIGHTS = ["gt_mcc", "gt_coverage", "gt_recall", "gt_precision", "gt_uniqueness", "feature_splits"]


@cache
def truth(kind: str) -> Synthetic:
    return Synthetic(recipe(REFERENCE[kind]))


def scored(coder: object, kind: str, metrics: list[str]) -> dict[str, float]:
    """Values by metric and slice; NaN where a metric does not apply."""
    suite = {"name": "t", "metric": metrics, "references": {"null": None, "baseline": None}}
    data = {"text": {"tokens": 6000, "context": 50}} if set(metrics) - {*WEIGHTS, "gt_mcc_null", "true_hedging"} else {}
    frame = sb.evaluate(coder, suite=suite, model=REFERENCE[kind], data=data).frame()
    return {m if not s else f"{m}/{s}": v for m, s, v in zip(frame.metric, frame.slice, frame.value, strict=True)}


def random_coder(n: int = 40, d: int = 48, seed: int = 0) -> ToySAE:
    return ToySAE(n, d, hook="activations", seed=seed)


def test_the_ideal_coder_is_perfect() -> None:
    found = scored(Ideal(truth("flat")), "flat", [*WEIGHTS, "concept_coverage", "explained_variance"])
    for name in ("gt_mcc", "gt_coverage", "gt_recall/0.9", "gt_precision/0.9", "gt_uniqueness", "feature_splits"):
        assert found[name] == pytest.approx(1), name
    assert found["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert found["concept_coverage/f1"] > 0.999  # a threshold of 0.1 of the maximum is the best but for ties


def test_equals_the_assignment_by_scipy_and_the_calculators_of_saelens() -> None:
    from sae_lens.synthetic import feature_uniqueness, mean_correlation_coefficient

    coder, features = random_coder(70), torch.from_numpy(truth("flat").directions)
    found = scored(coder, "flat", [*WEIGHTS, "gt_mcc_null"])
    unit = torch.nn.functional.normalize(coder.W_dec.detach(), dim=1)
    cosine = (features.double() @ unit.double().T).abs().numpy()
    row, column = linear_sum_assignment(cosine, maximize=True)
    assert found["gt_mcc"] == pytest.approx(cosine[row, column].mean(), abs=1e-7)
    assert found["gt_mcc"] == pytest.approx(mean_correlation_coefficient(features, unit), abs=1e-5)
    assert found["gt_coverage"] == found["gt_mcc"]
    assert found["gt_uniqueness"] == pytest.approx(feature_uniqueness(unit, features), abs=1e-9)
    assert abs(found["gt_mcc"] - found["gt_mcc_null"]) < 0.03, "a random dictionary scores the null"


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_what_is_missed_is_counted_by_coverage_alone(share: float) -> None:
    found = scored(Ideal(truth("flat"), share=share), "flat", WEIGHTS)
    assert found["gt_mcc"] == pytest.approx(1) and found["gt_precision/0.8"] == pytest.approx(1)
    assert found["gt_coverage"] == pytest.approx(share) and found["gt_recall/0.8"] == pytest.approx(share)


@pytest.mark.parametrize("split", [1, 2, 4])
def test_splits_are_counted(split: int) -> None:
    found = scored(Ideal(truth("flat"), split=split), "flat", [*WEIGHTS, "concept_coverage"])
    assert found["feature_splits"] == pytest.approx(split)
    assert found["gt_uniqueness"] == pytest.approx(1 / split) and found["gt_precision/0.7"] == pytest.approx(1 / split)
    assert found["gt_recall/0.9"] == pytest.approx(1), "the directions are all there"
    assert found["concept_coverage/recall"] == pytest.approx(1 / split, abs=0.12), "no latent fires on all of a feature"


@pytest.mark.parametrize("absorb", [0.0, 0.3, 1.0])
def test_absorption_is_what_was_absorbed(absorb: float) -> None:
    found = scored(Ideal(truth("hierarchical"), absorb=absorb), "hierarchical", ["true_absorption"])
    assert found["true_absorption"] == pytest.approx(absorb, abs=0.03)
    assert found["true_absorption/alone"] == 0, "without a child the parent's latent fires"


def test_a_latent_that_misses_at_random_has_not_absorbed() -> None:
    """Silence alone is not absorption: no other latent holds the parent's direction."""

    class Forgetful(Ideal):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            codes = super().encode(x)
            return codes.where((codes * 777).frac().abs() < 0.6, 0)

    found = scored(Forgetful(truth("hierarchical")), "hierarchical", ["true_absorption"])
    assert found["true_absorption"] == 0
    assert found["true_absorption/alone"] == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("merge", [0.0, 0.5, 1.0])
def test_hedging_is_what_was_merged(merge: float) -> None:
    found = scored(Ideal(truth("correlated"), merge=merge), "correlated", ["true_hedging"])
    assert found["true_hedging"] == pytest.approx(merge / (1 + merge), abs=1e-5)
    assert found["true_hedging/stranger"] == pytest.approx(0, abs=1e-5)


def test_a_slanted_dictionary_does_not_count_as_hedging() -> None:
    """Cosines of true features with each other are taken out."""
    slanted = Synthetic(recipe("synthetic:correlated?d=12&n=10"))
    assert np.abs(slanted.directions @ slanted.directions.T - np.eye(10)).max() > 0.3
    suite = {"name": "t", "metric": ["true_hedging"], "references": {"null": None, "baseline": None}}
    frame = sb.evaluate(Ideal(slanted), suite=suite, model=slanted.recipe.name).frame()
    assert frame.value.max() < 1e-5


def test_says_not_applicable_where_the_question_makes_no_sense() -> None:
    suite = {
        "name": "t", "metric": ["gt_mcc", "true_absorption", "true_hedging", "loss_recovered", "l0"],
        "data": {"text": {"tokens": 2000}}, "references": {"null": None, "baseline": None},
    }  # fmt: skip
    frame = sb.evaluate(random_coder(), suite=suite, model=REFERENCE["flat"]).frame().drop_duplicates("metric")
    status = dict(zip(frame.metric, frame.status, strict=True))
    assert status["gt_mcc"] == status["l0"] == "ok"
    assert {status[m] for m in ("true_absorption", "true_hedging", "loss_recovered")} == {"not_applicable"}
    reasons = dict(zip(frame.metric, frame.reason, strict=True))
    assert "has no logits" in reasons["loss_recovered"] and "synthetic:correlated" in reasons["true_hedging"]


def test_what_needs_texts_is_not_applicable() -> None:
    suite = {
        "name": "t", "metric": ["gt_mcc", "sparse_probing", "false_feature_rate", "l0"],
        "data": {"text": {"tokens": 2000}}, "references": {"null": None, "baseline": None},
    }  # fmt: skip
    frame = sb.evaluate(random_coder(), suite=suite, model=REFERENCE["flat"]).frame().drop_duplicates("metric")
    status = dict(zip(frame.metric, frame.status, strict=True))
    assert status == {
        "gt_mcc": "ok",
        "l0": "ok",
        "sparse_probing": "not_applicable",
        "false_feature_rate": "not_applicable",
    }
    assert frame[frame.status != "ok"].reason.str.contains("no language model").all()


def test_on_a_language_model_the_truth_is_not_known() -> None:
    from tests.helpers.toys import tiny_llama, token_rows

    suite = {"name": "t", "metric": ["gt_mcc", "true_absorption"], "references": {"null": None, "baseline": None}}
    frame = sb.evaluate(ToySAE(), suite=suite, model=tiny_llama(), data={"text": token_rows()}).frame()
    assert set(frame.status) == {"not_applicable"} and frame.reason.str.contains("synthetic:flat").all()


@pytest.mark.parametrize(("n", "latents"), [(60, 20), (20, 60), (8, 8)])
def test_over_and_under_complete(n: int, latents: int) -> None:
    """More features than dimensions or fewer, more latents than features or fewer: m is the smaller number."""
    suite = {
        "name": "t",
        "metric": ["gt_mcc", "gt_coverage", "gt_precision"],
        "references": {"null": None, "baseline": None},
    }
    model = f"synthetic:flat?d=16&n={n}"
    coder = random_coder(latents, 16)
    with torch.no_grad():
        shared = min(n, latents)
        coder.W_dec[:shared] = torch.from_numpy(Synthetic(recipe(model)).directions[:shared])
    frame = sb.evaluate(coder, suite=suite, model=model).frame()
    found = {(m, s): v for m, s, v in zip(frame.metric, frame.slice, frame.value, strict=True)}
    assert found["gt_mcc", ""] == pytest.approx(1, abs=1e-6)
    assert found["gt_coverage", ""] == pytest.approx(shared / n, abs=1e-6)
    assert found["gt_precision", "0.9"] == pytest.approx(shared / latents, abs=1e-6)


def test_a_checkpoint_is_scored_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A SAE file that names another hook, or none, sees the activations that there are."""
    for name, metadata in (("none", {}), ("other", {"hook_name": "blocks.3.hook_resid_post"})):
        folder = tmp_path / name
        folder.mkdir()
        tensors = {key: value.detach().contiguous() for key, value in random_coder(32, 16).named_parameters()}
        save_file(tensors, folder / "sae_weights.safetensors")
        config = {
            "architecture": "standard", "d_in": 16, "d_sae": 32, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": False, "normalize_activations": "none", "metadata": metadata,
        }  # fmt: skip
        (folder / "cfg.json").write_text(json.dumps(config))
    words = [
        "run",
        "synthetic",
        "--model",
        "synthetic:organism",
        "--metric",
        "gt_mcc",
        "--metric",
        "gt_mcc_null",
        "--json",
    ]
    saes = [word for name in ("none", "other") for word in ("--sae", str(tmp_path / name))]
    with pytest.raises(SystemExit) as stop:
        main([*words, *saes, "--out", str(tmp_path / "run")])
    assert not stop.value.code
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    value = {(row["sae"], row["metric"]): row["value"] for row in rows}
    assert value["none", "gt_mcc"] == value["other", "gt_mcc"] == pytest.approx(value["none", "gt_mcc_null"], abs=0.05)


def test_features_that_two_saes_share_are_paired() -> None:
    suite = {"name": "t", "metric": ["gt_coverage"], "references": {"null": None, "baseline": None}}
    made = [
        sb.evaluate(coder, suite=suite, model=REFERENCE["flat"]) for coder in (Ideal(truth("flat")), random_coder())
    ]
    frame = made[0].frame()
    assert frame.n[0] == 40
    compared = sb.compare(*made).frame()
    assert len(compared) == 1


def test_the_order_of_latents_and_their_size_do_not_matter() -> None:
    coder = random_coder(60)
    before = scored(coder, "correlated", [*WEIGHTS, "true_hedging"])
    with torch.no_grad():
        order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
        coder.W_dec.copy_(coder.W_dec[order] * torch.linspace(-2, 3, 60)[:, None])
        coder.W_enc.copy_(coder.W_enc[:, order])
    after = scored(coder, "correlated", [*WEIGHTS, "true_hedging"])
    assert after == pytest.approx(before, abs=1e-6, nan_ok=True)
