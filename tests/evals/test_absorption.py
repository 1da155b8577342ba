from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from saebench.evals import absorption

from saebench.data.words import Hierarchy, Words
from saebench.inputs import WordCodes
from saebench.inputs.labelled import Activations
from saebench.metric import Metric, NotApplicable
from saebench.saes import Codes
from tests.helpers import absorption_by_hand as by_hand

ALL = (
    absorption.mean_absorption_fraction,
    absorption.full_absorption_rate,
    absorption.num_split_features,
    absorption.absorption_main_f1,
    absorption.absorption_bias_share,
)
GROUPS, WORDS, PROMPTS, WIDTH = 4, 40, 3, 24
"""Groups, words of each, prompts of each word, and the width of the activation."""


class Case:
    """Words of a few groups, their activations, and a SAE's codes and decoder, all of which a test may change."""

    def __init__(self, seed: int = 0, groups: int = GROUPS, noise: float = 0.02) -> None:
        rng = np.random.default_rng(seed)
        label = np.repeat(np.arange(groups), WORDS * PROMPTS)
        word = np.repeat(np.arange(groups * WORDS), PROMPTS)
        test = word % 2 == 0
        items = rng.permutation(len(label))
        self.h = Hierarchy(
            "first_letter",
            tuple("abcdefgh"[:groups]),
            items,
            label,
            word,
            tuple(f"w{i}" for i in range(groups * WORDS)),
            test,
        )
        self.direction = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        self.group = np.empty(len(label), int)
        self.group[items] = label
        self.word = np.empty(len(label), int)
        self.word[items] = word
        self.y = self.direction[self.group] + noise * rng.normal(size=(len(label), WIDTH))
        self.codes = np.zeros((len(label), groups + 8))
        self.decoder = np.concatenate([self.direction[:groups], self.direction[groups : groups + 8]])
        self.b_dec: np.ndarray | None = np.zeros(WIDTH)

    def given(self) -> WordCodes:
        words = Words(tuple(np.zeros(1, int) for _ in self.y), (self.h,))
        codes = Codes.from_dense(torch.tensor(self.codes, dtype=torch.float32))
        decoder = torch.tensor(self.decoder, dtype=torch.float32)
        y = Activations({"last": torch.tensor(self.y, dtype=torch.float32)})
        bias = None if self.b_dec is None else torch.tensor(self.b_dec, dtype=torch.float32)
        return WordCodes(words, codes, codes, y, decoder, bias)


def values(metric: Metric, given: WordCodes, **settings: float) -> dict[str, float]:
    sums = metric.rows(given, **{**metric.settings, **settings})
    totals = {name: field.sum(0).numpy() for name, field in sums.fields.items()}
    return dict(zip(sums.slices, metric.compute(totals), strict=True))


def absorbing(share: float, fraction: float = 1.0, seed: int = 0) -> Case:
    """A SAE whose letter latent is silenced (or weakened by `fraction`) on a share of each group's words.

    Each of those words has a latent of its own, which brings what the letter latent does not.
    """
    case = Case(seed)
    count = round(share * WORDS)
    absorbed = np.array([i % WORDS in range(count) for i in case.word])
    own = np.eye(GROUPS * WORDS)[case.word]
    letters = np.eye(GROUPS)[case.group] * np.where(absorbed, 1 - fraction, 1.0)[:, None]
    case.codes = np.concatenate([letters, own * np.where(absorbed, fraction, 0.3)[:, None]], axis=1)
    toward = np.repeat(case.direction[:GROUPS], WORDS, axis=0)
    rng = np.random.default_rng(seed)
    away = np.linalg.qr(case.direction[:, GROUPS:] @ rng.normal(size=(WIDTH - GROUPS, WIDTH)))[0][:, :1].T
    letter_like = np.array([w % WORDS in range(count) for w in range(GROUPS * WORDS)])
    mine = np.where(letter_like[:, None], toward, 0.02 * toward) + away
    case.decoder = np.concatenate([case.direction[:GROUPS], mine])
    return case


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_sae_built_to_absorb_is_caught_with_its_share_of_words(share: float) -> None:
    given = absorbing(share).given()
    for metric in (absorption.mean_absorption_fraction, absorption.full_absorption_rate):
        got = values(metric, given)
        assert list(got) == ["first_letter", *(f"first_letter/{g}" for g in "abcd")]
        assert got["first_letter"] == pytest.approx(share, abs=0.05)
    assert values(absorption.num_split_features, given)["first_letter"] == 1


def test_a_sae_whose_decoder_holds_the_labels_directions_absorbs_nothing() -> None:
    case = Case()
    case.codes = np.maximum(case.y @ case.decoder.T, 0)
    given = case.given()
    assert values(absorption.mean_absorption_fraction, given)["first_letter"] == pytest.approx(0, abs=0.01)
    assert values(absorption.full_absorption_rate, given)["first_letter"] == 0
    assert values(absorption.absorption_main_f1, given)["first_letter"] == pytest.approx(1)
    assert values(absorption.num_split_features, given)["first_letter"] == 1


def test_partial_absorption_has_the_fraction_that_was_moved() -> None:
    got = values(absorption.mean_absorption_fraction, absorbing(0.3, fraction=0.5).given())
    assert got["first_letter"] == pytest.approx(0.3 * 0.5, abs=0.05)


def _random(seed: int = 3) -> Case:
    """Noisy groups, main latents that miss words, and latents that share their directions."""
    case = Case(seed, noise=0.12)
    rng = np.random.default_rng(seed)
    latents = 30
    case.decoder = rng.normal(size=(latents, WIDTH)) * rng.gamma(2.0, size=latents)[:, None]
    for i in range(12):
        case.decoder[i] = 2 * case.direction[i % GROUPS] + 0.15 * case.decoder[i]
    case.codes = np.maximum(case.y @ np.linalg.pinv(case.decoder) + 0.05 * rng.normal(size=(len(case.y), latents)), 0)
    case.codes[:, 12:] *= rng.random((len(case.y), latents - 12)) < 0.4
    case.codes[:, :GROUPS] *= rng.random(GROUPS * WORDS)[case.word][:, None] < 0.7
    case.b_dec = rng.normal(size=WIDTH) * 0.1
    return case


def test_every_value_is_that_of_a_loop_over_prompts_with_scikit_learn() -> None:
    case = _random()
    given = case.given()
    h, y, codes, decoder = case.h, *(a.astype(np.float32).astype(float) for a in (case.y, case.codes, case.decoder))
    expected: dict[str, list[float]] = {metric.name: [] for metric in ALL}
    biases, wholes = [], []
    for g in range(GROUPS):
        direction, logits, score = by_hand.true_probe(y, h, g, 10.0)
        assert score > 0.6
        main, f1 = by_hand.main_latents(codes, h, g, l1=0.05, max_k=10, f1_jump=0.03)
        hits = [i for i in range(len(h.items)) if h.test[i] and h.label[i] == g and logits[i] > 0]
        rows = h.items[hits]
        found = [by_hand.absorbed(y[row], codes[row], decoder, direction, main) for row in rows]
        expected["mean_absorption_fraction"].append(float(np.mean([fraction for fraction, _ in found])))
        expected["full_absorption_rate"].append(float(np.mean([full for _, full in found])))
        expected["num_split_features"].append(len(main))
        expected["absorption_main_f1"].append(f1)
        biases.append(float(np.float32(case.b_dec) @ direction))
        wholes.append(float(np.mean([y[row] @ direction for row in rows])))
        expected["absorption_bias_share"].append(biases[-1] / wholes[-1])
    for metric in ALL:
        got = values(metric, given)
        by_group = [got[f"first_letter/{g}"] for g in "abcd"]
        assert by_group == pytest.approx(expected[metric.name], abs=1e-6), metric.name
        mean = np.mean(biases) / np.mean(wholes) if "bias" in metric.name else np.mean(expected[metric.name])
        assert got["first_letter"] == pytest.approx(mean, abs=1e-6), metric.name
    assert len(set(expected["num_split_features"])) > 1 and np.mean(expected["mean_absorption_fraction"]) > 0.05


def _same(case: Case, changed: Case) -> None:
    before, after = case.given(), changed.given()
    for metric in ALL:
        assert values(metric, after) == pytest.approx(values(metric, before), abs=1e-6), metric.name


def test_the_order_of_latents_does_not_matter() -> None:
    case, changed = _random(), _random()
    order = np.random.default_rng(0).permutation(len(case.decoder))
    changed.codes, changed.decoder = changed.codes[:, order], changed.decoder[order]
    _same(case, changed)


def test_the_scale_of_codes_against_decoder_rows_does_not_matter() -> None:
    case, changed = _random(), _random()
    scale = np.random.default_rng(0).gamma(2.0, size=len(case.decoder)) * 7
    changed.codes, changed.decoder = changed.codes * scale, changed.decoder / scale[:, None]
    _same(case, changed)


def test_the_order_of_prompts_does_not_matter() -> None:
    case, changed = _random(), _random()
    order = np.random.default_rng(0).permutation(len(case.y))
    changed.y, changed.codes = changed.y[order], changed.codes[order]
    turned = np.argsort(order)[case.h.items]
    shuffle = np.random.default_rng(1).permutation(len(turned))
    changed.h = replace(
        case.h,
        items=turned[shuffle],
        label=case.h.label[shuffle],
        word=case.h.word[shuffle],
        test=case.h.test[shuffle],
    )
    _same(case, changed)


def test_all_prompts_of_a_word_are_one_item() -> None:
    given = _random().given()
    for metric in ALL:
        rows = 1 if metric.units == "none" else GROUPS * WORDS // 2
        fields = metric.rows(given, **metric.settings).fields
        assert {len(field) for field in fields.values()} == {rows}, metric.name


def test_a_group_that_the_activation_does_not_tell_is_undefined_and_named() -> None:
    case = _random()
    case.y[case.group > 0] = np.random.default_rng(0).normal(size=WIDTH)
    given = case.given()
    sums = absorption.mean_absorption_fraction.rows(given, **absorption.mean_absorption_fraction.settings)
    got = values(absorption.mean_absorption_fraction, given)
    undefined = [name for name, value in got.items() if np.isnan(value)]
    assert undefined == [f"first_letter/{g}" for g in "bcd"]
    assert [note.split(" ")[0] for note in sums.notes] == undefined and "with F1 0." in sums.notes[0]
    told = [value for name, value in got.items() if "/" in name and not np.isnan(value)]
    assert got["first_letter"] == pytest.approx(np.mean(told))


def test_without_a_group_that_the_activation_tells_it_does_not_apply() -> None:
    case = _random()
    case.y = np.random.default_rng(0).normal(size=case.y.shape)
    with pytest.raises(NotApplicable, match=r"F1 0\.9: the best is first_letter/. with 0\."):
        values(absorption.num_split_features, case.given(), min_probe_f1=0.9)


def test_a_useless_main_latent_is_shown_by_its_f1() -> None:
    case = Case()
    case.codes = np.abs(np.random.default_rng(0).normal(size=case.codes.shape))
    assert values(absorption.absorption_main_f1, case.given())["first_letter"] < 0.6


def test_a_sae_that_never_fires_has_nothing_to_absorb() -> None:
    """No absorption score, since 0 would be the best there is; the others say that it has no latents to look at."""
    case = Case()
    for metric in (absorption.mean_absorption_fraction, absorption.full_absorption_rate):
        with pytest.raises(NotApplicable, match="no latent fires"):
            values(metric, case.given())
    with pytest.raises(NotApplicable, match=r"with F1 0\.00, and naming every word scores 0\.40"):
        values(absorption.num_split_features, case.given())
    assert values(absorption.absorption_main_f1, case.given())["first_letter"] == 0
    assert values(absorption.absorption_bias_share, case.given())["first_letter"] == 0


SCORED = (absorption.mean_absorption_fraction, absorption.full_absorption_rate, absorption.num_split_features)


def test_a_group_without_a_main_latent_worth_the_name_is_undefined_and_named() -> None:
    """Latents of two groups are noise: their absorption would be 0, the best there is."""
    case = absorbing(0.3)
    noise = np.abs(np.random.default_rng(1).normal(size=case.codes.shape))
    of_both = np.isin(np.arange(case.codes.shape[1]), (2, 3)) | (np.arange(case.codes.shape[1]) >= GROUPS + 2 * WORDS)
    case.codes = np.where(of_both, noise, case.codes)
    given = case.given()
    for metric in SCORED:
        sums = metric.rows(given, **metric.settings)
        got = values(metric, given)
        assert [name for name, value in got.items() if np.isnan(value)] == ["first_letter/c", "first_letter/d"]
        assert [note.split(" ")[0] for note in sums.notes] == ["first_letter/c", "first_letter/d"]
        assert "too near to the 0.40 of naming every word" in sums.notes[0]
        assert got["first_letter"] == pytest.approx((got["first_letter/a"] + got["first_letter/b"]) / 2)
    shown = values(absorption.absorption_main_f1, given)
    assert shown["first_letter/a"] > 0.7 > 0.55 > shown["first_letter/c"]
    assert values(absorption.mean_absorption_fraction, given)["first_letter"] == pytest.approx(0.3, abs=0.05)


def test_a_sae_of_noise_has_no_absorption_score() -> None:
    case = Case()
    case.codes = np.abs(np.random.default_rng(0).normal(size=case.codes.shape))
    for metric in SCORED:
        with pytest.raises(NotApplicable, match="no group has latents that tell it"):
            values(metric, case.given())
        assert np.isfinite(values(metric, case.given(), min_main_skill=-1.0)["first_letter"])


PUBLISHED = (absorption.mean_absorption_fraction_saebench, absorption.full_absorption_rate_saebench)


def test_the_presets_are_the_reference_protocol_by_torch() -> None:
    case = _random()
    y, codes, decoder = (a.astype(np.float32).astype(float) for a in (case.y, case.codes, case.decoder))
    expected = by_hand.published(y, codes, decoder, case.h)
    scored = [pair for pair in expected if pair is not None]
    assert len(scored) > 1
    for place, metric in enumerate(PUBLISHED):
        got = values(metric, case.given(), min_groups=2)
        for group, pair in zip("abcd", expected, strict=True):
            wanted = float("nan") if pair is None else pair[place]
            assert got[f"first_letter/{group}"] == pytest.approx(wanted, abs=1e-6, nan_ok=True)
        assert got["first_letter"] == pytest.approx(np.mean([pair[place] for pair in scored]), abs=1e-6)
    assert max(fraction for fraction, _ in scored) > 0.05


def test_the_preset_depends_on_decoder_norms_and_the_metric_does_not() -> None:
    """Codes a fifth and decoder rows five times as large: the projections that the preset takes are a fifth."""
    case = absorbing(0.3)
    case.codes, case.decoder = case.codes * 0.2, case.decoder / 0.2
    assert values(absorption.mean_absorption_fraction, case.given())["first_letter"] == pytest.approx(0.3, abs=0.05)
    assert values(PUBLISHED[0], case.given(), min_groups=2)["first_letter"] == 0
    assert values(PUBLISHED[0], absorbing(0.3).given(), min_groups=2)["first_letter"] > 0.25


def test_the_preset_reports_nothing_for_few_groups_and_counts_useless_main_latents() -> None:
    with pytest.raises(NotApplicable, match="at most 4 groups of a hierarchy .* below 20"):
        values(PUBLISHED[0], absorbing(0.3).given())
    case = Case()
    case.codes = np.abs(np.random.default_rng(0).normal(size=case.codes.shape))
    assert np.isfinite(values(PUBLISHED[0], case.given(), min_groups=2)["first_letter"])
