"""Unlearning on questions whose answers hang on known latents, against loops over questions and settings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from saebench.evals import unlearning as evals
from saebench.evals._unlearning_runs import selected
from torch import Tensor

from saebench.inputs import QuestionRuns
from saebench.metric import Metric, NotApplicable
from saebench.results import bootstrap
from tests.helpers.unlearning_by_hand import DOMAINS, LATENTS, OPTIONS, by_hand, certain, noisy, toy_questions, toy_runs

SCORES = (evals.unlearning, evals.unlearning_held_out, evals.unlearning_held_out_retain)
EVERY = (*SCORES, evals.unlearning_forget_accuracy, evals.unlearning_retain_accuracy, evals.unlearning_side_effect)
THRESHOLDS, COUNTS, M, RELATIVE = (0.005, 0.015), (2, 6), (25.0, 100.0, 200.0), (1.0, 2.0)
SETTINGS = {"retain_thresholds": THRESHOLDS, "n": COUNTS, "multipliers": M, "relative": RELATIVE}


def _fields(metric: Metric, q: QuestionRuns, **settings: object) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    sums = metric.rows(q, **{**metric.settings, **settings})
    return sums.slices, {name: field.numpy() for name, field in sums.fields.items()}


def _values(metric: Metric, q: QuestionRuns, **settings: object) -> dict[str, float]:
    slices, fields = _fields(metric, q, **settings)
    value = metric.compute({name: field.sum(0) for name, field in fields.items()})
    return dict(zip(slices, value.tolist(), strict=True))


def _density(**latents: float) -> Tensor:
    """Shares of tokens `[LATENTS]`: `l3=0.1` is latent 3, the rest never fire."""
    share = torch.zeros(LATENTS, dtype=torch.float64)
    for name, value in latents.items():
        share[int(name[1:])] = value
    return share


def _forgets(questions, carrier: int, harmful: int | None = None):  # noqa: ANN001, ANN202
    """Answers to what is to be forgotten hang on one latent, everything on another."""
    forget = questions.forget[questions.domain][questions.question]

    def answer(latents: Tensor, values: Tensor) -> Tensor:
        chosen = latents[values < 0].tolist()
        return certain(questions, (forget & (carrier in chosen)) | (harmful in chosen))

    return answer


@pytest.mark.parametrize("least", [0.99, 0.97])
@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_what_loops_make_of_it(seed: int, least: float) -> None:
    questions = toy_questions(seed=seed)
    wrong = np.random.default_rng(seed).random(len(questions.question)) < 0.1
    q = toy_runs(questions, noisy(questions), clean=certain(questions, wrong), seed=seed)
    grids = {kind: list(itertools.product(THRESHOLDS, COUNTS, m)) for kind, m in ((False, M), (True, RELATIVE))}
    expected = {kind: by_hand(q, grid, least, relative=kind) for kind, grid in grids.items()}
    for metric, key in zip(SCORES, ("score", "held_out", "held_out_retain"), strict=True):
        found = _values(metric, q, **SETTINGS, least_retained=least)
        assert found == pytest.approx({"m=codes": expected[False][key], "m=maximum": expected[True][key]})
    for metric, key in ((evals.unlearning_forget_accuracy, "forget"), (evals.unlearning_retain_accuracy, "retain")):
        found = _values(metric, q, **SETTINGS)
        names = [f"retain={t:g},n={n},m={m:g}{'max' * kind}" for kind, grid in grids.items() for t, n, m in grid]
        assert found == pytest.approx(dict(zip(names, expected[False][key] + expected[True][key], strict=True)))
    weights = {kind: len(grid) / sum(map(len, grids.values())) for kind, grid in grids.items()}
    found = _values(evals.unlearning_side_effect, q, **SETTINGS)
    for name in DOMAINS[1:]:
        assert found[name] == pytest.approx(sum(w * expected[kind]["side"][name] for kind, w in weights.items()))
    assert 0 < found["all"] < 0.1


def test_a_setting_qualifies_in_some_of_the_random_cases() -> None:
    """So that the comparison with loops is not of zeros alone."""
    found = [
        _values(evals.unlearning, toy_runs(q, noisy(q), seed=seed), **SETTINGS)["m=codes"]
        for seed in range(3)
        if (q := toy_questions(seed=seed))
    ]
    assert max(found) > 0.3


def test_a_latent_that_carries_what_is_to_be_forgotten_scores_at_the_top() -> None:
    questions = toy_questions()
    q = toy_runs(questions, _forgets(questions, 7), forget=_density(l7=0.1, l2=0.05), retain=_density(l2=0.5))
    for metric in EVERY:
        kind = "unlearning_retain" in metric.name or "held_out_retain" in metric.name
        target = 1 if kind or metric in SCORES else 0
        assert set(_values(metric, q).values()) == {target}, metric.name


def test_a_latent_that_all_text_needs_is_not_clamped() -> None:
    """It fires most on the forget text, but as often on the other; a lax threshold lets it in and spoils the score."""
    questions = toy_questions()
    q = toy_runs(questions, _forgets(questions, 7, harmful=2), forget=_density(l2=0.4, l7=0.1), retain=_density(l2=0.4))
    assert _values(evals.unlearning, q)["m=codes"] == 1
    assert _values(evals.unlearning, q, retain_thresholds=(0.5,))["m=codes"] == 0
    curve = _values(evals.unlearning_retain_accuracy, q, retain_thresholds=(0.01, 0.5), multipliers=(25,), relative=())
    assert curve == {f"retain={t},n={n},m=25": float(t == 0.01) for t in (0.01, 0.5) for n in (10, 20)}


def test_latents_are_chosen_by_how_often_they_fire() -> None:
    forget = torch.tensor([0.2, 0.0, 0.5, 0.2, 0.9, 0.1], dtype=torch.float64)
    retain = torch.tensor([0.0, 0.0, 0.001, 0.0, 0.01, 0.0], dtype=torch.float64)
    assert selected(forget, retain, 0.01, 3).tolist() == [2, 0, 3]
    assert selected(forget, retain, 0.001, 9).tolist() == [0, 3, 5]
    assert selected(forget, retain, 0.02, 1).tolist() == [4]


def test_values_are_clamped_in_both_units_and_nothing_runs_twice() -> None:
    questions, asked = toy_questions(), []

    def answer(latents: Tensor, values: Tensor) -> Tensor:
        asked.append((latents.tolist(), values.tolist()))
        return certain(questions)

    q = toy_runs(questions, answer, forget=_density(l5=0.1, l9=0.2), retain=_density())
    for metric in EVERY:
        _values(metric, q, n=(1, 2, 20), multipliers=(25,), relative=(2,))
    top = q.maximum[[9, 5]]
    assert [latents for latents, _ in asked] == [[9], [9, 5], [9], [9, 5]]
    expected = [[-25.0], [-25.0, -25.0], [-2 * top[0]], [-2 * top[0], -2 * top[1]]]
    assert [values for _, values in asked] == [pytest.approx([float(x) for x in values]) for values in expected]


def test_the_order_of_latents_does_not_matter() -> None:
    questions = toy_questions()
    order = torch.randperm(LATENTS, generator=torch.Generator().manual_seed(1))
    first = toy_runs(questions, noisy(questions))

    def moved(latents: Tensor, values: Tensor) -> Tensor:
        return noisy(questions)(order[latents], values)

    second = toy_runs(questions, moved, forget=first.forget[order], retain=first.retain[order])
    second.maximum = first.maximum[order]
    for metric in EVERY:
        assert _values(metric, first, **SETTINGS) == pytest.approx(_values(metric, second, **SETTINGS))


def test_the_choice_does_not_see_the_questions_it_is_scored_on() -> None:
    """On noise, the best of many settings looks good where it was chosen, and like any other on new questions."""
    chosen, new = [], []
    for seed in range(10):
        questions = toy_questions(seed=seed)
        q = toy_runs(questions, noisy(questions, damage=0), seed=seed)
        mean = 1 - np.mean(list(_values(evals.unlearning_forget_accuracy, q, relative=()).values()))
        chosen.append(_values(evals.unlearning, q)["m=codes"] - mean)
        new.append(_values(evals.unlearning_held_out, q)["m=codes"] - mean)
    assert np.mean(chosen) > 0.05
    assert abs(np.mean(new)) < 0.03


def test_what_is_held_out_changes_the_score_and_not_the_choice() -> None:
    questions = toy_questions()
    later = questions.held_out[questions.question]
    forget = questions.forget[questions.domain][questions.question]

    def answer(latents: Tensor, values: Tensor) -> Tensor:
        """With n = 1 the choosing half is forgotten, with n = 2 the other half."""
        return certain(questions, forget & (~later if len(latents) == 1 else later))

    q = toy_runs(questions, answer, forget=_density(l5=0.1, l9=0.2), retain=_density())
    found = _values(evals.unlearning_held_out, q, n=(1, 2))
    assert found == {"m=codes": 0, "m=maximum": 0}
    turned = replace(questions, held_out=~questions.held_out)
    q = toy_runs(turned, answer, forget=_density(l5=0.1, l9=0.2), retain=_density())
    assert _values(evals.unlearning_held_out, q, n=(1, 2)) == {"m=codes": 0, "m=maximum": 0}
    assert _values(evals.unlearning, q, n=(1, 2)) == pytest.approx({"m=codes": 0.5, "m=maximum": 0.5})


def test_no_latent_to_clamp_is_no_change_and_is_said() -> None:
    questions = toy_questions()
    q = toy_runs(questions, noisy(questions), forget=_density(l5=0.1), retain=_density(l5=0.1))
    for metric in EVERY:
        sums = metric.rows(q, **metric.settings)
        assert any("with retain=0.001 nothing is clamped" in note for note in sums.notes)
    assert set(_values(evals.unlearning, q).values()) == {0}
    assert set(_values(evals.unlearning_held_out, q).values()) == {0}


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("toxins", r"22\.2% of 30 questions about what is to be forgotten, and chance is 25\.0%"),
        ("others", "about what is to be retained, and chance"),
        ("orders", "none of them in every order"),
    ],
)
def test_a_model_that_guesses_gets_no_score(lost: str, why: str) -> None:
    questions = toy_questions()
    domain = questions.domain[questions.question]
    at = np.arange(len(domain))
    wrong = {"toxins": domain == 0, "others": domain > 0, "orders": np.zeros(len(domain), bool)}[lost]
    wrong &= np.arange(len(domain)) % OPTIONS > 0
    if lost == "orders":
        wrong = np.array([i == at[questions.question == questions.question[i]].min() for i in at])
    q = toy_runs(questions, noisy(questions), clean=certain(questions, wrong))
    for metric in EVERY:
        with pytest.raises(NotApplicable, match=why):
            metric.rows(q, **metric.settings)


def test_logits_that_are_not_numbers_answer_nothing() -> None:
    questions = toy_questions()

    def answer(latents: Tensor, values: Tensor) -> Tensor:
        return torch.full((len(questions.question), OPTIONS), torch.nan)

    found = _values(evals.unlearning_retain_accuracy, toy_runs(questions, answer), **SETTINGS)
    assert set(found.values()) == {0}


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.name)
def test_values_of_many_totals_and_of_one_slice_alone(metric: Metric) -> None:
    """As the bootstrap and the stored rows take them."""
    questions = toy_questions(seed=1)
    slices, fields = _fields(metric, toy_runs(questions, noisy(questions), seed=1), **SETTINGS)
    weights = np.random.default_rng(0).multinomial(90, np.ones(90) / 90, size=20).astype(float)
    many = metric.compute({name: np.tensordot(weights, field, 1) for name, field in fields.items()})
    for row, weight in zip(many, weights, strict=True):
        np.testing.assert_allclose(row, metric.compute({k: np.tensordot(weight, f, 1) for k, f in fields.items()}))
    for place in range(len(slices)):
        alone = {name: field[:, place] if field.ndim > 1 else field for name, field in fields.items()}
        estimate = bootstrap(metric, alone, seed=0)
        assert estimate.value == pytest.approx(metric.compute({k: f.sum(0) for k, f in fields.items()})[place])
        assert estimate.ci_low <= estimate.value <= estimate.ci_high
