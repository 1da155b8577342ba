from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from saebench.evals import scr, tpp
from saebench.evals._latent_ablation import Ablation, directions

from saebench.data.labelled import Binary, LabelledTexts, SpuriousPair, Task
from saebench.inputs import LabelledEffects
from saebench.inputs.labelled import Activations
from saebench.metric import Metric, NotApplicable
from saebench.saes import Codes
from tests.helpers import scr_tpp_by_hand as by_hand

WIDTH, LATENTS, CLASSES, SEED = 12, 40, 3, 5
SIZES = (2, 5, 50)
TPP = (tpp.tpp, tpp.tpp_intended, tpp.tpp_unintended)
SCR = (scr.scr, scr.scr_median)
PAIRS = ("law/art", "tea/rum", "cat/dog")


class Drawless(Task):
    """A task whose problems set a class against all texts of the others."""

    def binary(self, c: int, seed: int) -> Binary:
        """All texts, labelled."""
        return Binary(self.train, (self.train_label == c) * 1, self.test, (self.test_label == c) * 1)


class Case:
    """Texts with two tasks and three pairs, as tokens with activations and codes, all of which a test may change.

    Every text has a class in each task, and a class and an attribute in each pair, written into its tokens along
    directions of their own; noise hides some of it.
    """

    def __init__(self, texts: int = 240, seed: int = 0, noise: float = 1.2) -> None:
        rng = np.random.default_rng(seed)
        self.axes = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        labels = [rng.integers(0, CLASSES, texts) for _ in range(2)]
        pair = [np.arange(texts) % 2, np.arange(texts) // 2 % 2]
        tint = 0.9 * self.axes[labels[0]] + 0.9 * self.axes[3 + labels[1]]
        tint = tint + np.outer(pair[0] - 0.5, 0.6 * self.axes[6]) + np.outer(pair[1] - 0.5, 1.2 * self.axes[7])
        rows = rng.permutation(texts)
        train, test = rows[: texts // 2], rows[texts // 2 :]
        self.tasks = tuple(
            Task(name, classes, train, label[train], test, label[test], frozenset({"probing", "tpp"}))
            for name, classes, label in zip(
                ("topic", "tone"), (("law", "art", "war"), ("sad", "mild", "glad")), labels, strict=True
            )
        )
        self.pairs = tuple(
            SpuriousPair(
                name,
                ("a", "b"),
                ("m", "f"),
                *(part for at in parts for part in (at, (pair[0] ^ flip)[at], pair[1][at])),
            )
            for name, flip, parts in zip(
                PAIRS, (0, 1, 0), ((train, test), (train, test), (train[::-1], test[::2])), strict=True
            )
        )
        self.y = [tint[i] + noise * rng.normal(size=(rng.integers(3, 8), WIDTH)) for i in range(texts)]
        self.decoder = rng.normal(size=(LATENTS, WIDTH)) * rng.gamma(2.0, size=LATENTS)[:, None]
        encoder = rng.normal(size=(WIDTH, LATENTS))
        self.codes = [np.maximum(part @ encoder / 4 - 0.3, 0) for part in self.y]

    def aligned(self) -> Case:
        """The same texts with a SAE whose latents are the true directions."""
        self.decoder = np.concatenate([self.axes, -self.axes, np.zeros((LATENTS - 2 * WIDTH, WIDTH))])
        self.codes = [np.maximum(part @ self.decoder.T, 0) for part in self.y]
        return self

    def tokens(self) -> by_hand.Texts:
        return by_hand.Texts(self.y, self.codes, self.decoder)

    def given(self, *, linear: bool = True) -> LabelledEffects:
        tokens = self.tokens()

        def ablate(sets: list[torch.Tensor]) -> torch.Tensor:
            return torch.from_numpy(np.stack([tokens.ablated(part.tolist()) - tokens.pooled for part in sets]))

        texts = LabelledTexts(tuple(map(str, range(len(self.y)))), self.tasks, self.pairs, seed=SEED)
        return LabelledEffects(
            texts,
            Codes.from_dense(torch.from_numpy(tokens.mean_codes)),
            Activations({"mean": torch.from_numpy(tokens.pooled)}),
            torch.from_numpy(self.decoder) if linear else None,
            ablate,
        )


def values(metric: Metric, given: LabelledEffects, **settings: object) -> dict[str, float]:
    sizes = {"n": SIZES} if "n" in metric.settings else {}
    sums = metric.rows(given, **{**metric.settings, **sizes, **settings})
    totals = {name: field.sum(0).numpy() for name, field in sums.fields.items()}
    return dict(zip(sums.slices, metric.compute(totals), strict=True))


@pytest.mark.parametrize("linear", [True, False])
def test_tpp_is_that_of_explicit_ablation(linear: bool) -> None:
    case = Case()
    given = case.given(linear=linear)
    got = {metric.name: values(metric, given) for metric in TPP}
    moved = 0.0
    for n in SIZES:
        means = []
        for task in case.tasks:
            found = by_hand.tpp(case.tokens(), task, n, seed=SEED, codes_alone=not linear)
            intended, unintended = np.array(found["intended"]), np.array(found["unintended"])
            for k, name in enumerate(task.classes):
                assert got["tpp_intended"][f"n={n}/{task.name}={name}"] == pytest.approx(intended[k])
                assert got["tpp_unintended"][f"n={n}/{task.name}={name}"] == pytest.approx(unintended[k])
                assert got["tpp"][f"n={n}/{task.name}={name}"] == pytest.approx(intended[k] - unintended[k])
            means.append((intended - unintended).mean())
            assert got["tpp"][f"n={n}/{task.name}"] == pytest.approx(means[-1])
            moved += float(np.abs(intended).sum())
        assert got["tpp"][f"n={n}"] == pytest.approx(np.mean(means))
    assert moved > 0.5
    assert list(got["tpp"])[:4] == ["n=2", "n=5", "n=50", "n=2/topic"]


def test_scr_is_that_of_explicit_ablation() -> None:
    case = Case()
    got, median = values(scr.scr, case.given()), values(scr.scr_median, case.given())
    for n in SIZES:
        found = [by_hand.scr(case.tokens(), pair, n) for pair in case.pairs]
        for pair, scores in zip(case.pairs, found, strict=True):
            assert got[f"n={n}/{pair.name}"] == pytest.approx(scores["scr"], nan_ok=True)
        for key, slice_ in (("scr", f"n={n}"), ("dir1", f"n={n}/dir1"), ("dir2", f"n={n}/dir2")):
            scores = [one[key] for one in found]
            assert got[slice_] == pytest.approx(np.nanmean(scores))
            assert median[slice_] == pytest.approx(np.nanmedian(scores))
    undefined = values(scr.scr_undefined, case.given())
    assert undefined == {key: sum(np.isnan(one[key]) for one in found) for key in ("scr", "dir1", "dir2")}


def test_the_closed_form_is_the_slow_path() -> None:
    case = Case()
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, WIDTH))
    ranked, texts = rng.permutation(LATENTS)[:30], np.arange(0, 240, 3)
    given = [case.given(linear=linear) for linear in (True, False)]
    fast, slow = (Ablation(e, texts, weight, directions(e, weight)).falls(ranked, SIZES) for e in given)
    assert fast.shape == (3, 80, 4)
    np.testing.assert_allclose(fast, slow, atol=1e-5)
    assert np.abs(slow[0]).max() > 0.1


def _same(case: Case, changed: Case) -> None:
    before, after = case.given(), changed.given()
    for metric in (*TPP, *SCR):
        assert values(metric, after) == pytest.approx(values(metric, before), nan_ok=True), metric.name


def test_the_order_of_latents_does_not_matter() -> None:
    case, changed = Case(), Case()
    order = np.random.default_rng(0).permutation(LATENTS)
    changed.decoder, changed.codes = changed.decoder[order], [part[:, order] for part in changed.codes]
    _same(case, changed)


def test_the_scale_of_codes_against_decoder_rows_does_not_matter() -> None:
    case, changed = Case(), Case()
    scale = np.random.default_rng(0).gamma(2.0, size=LATENTS) * 7
    changed.decoder, changed.codes = changed.decoder / scale[:, None], [part * scale for part in changed.codes]
    _same(case, changed)


def test_the_true_directions_score_near_the_top_and_random_ones_near_zero() -> None:
    case = Case(noise=0.2)
    random = values(tpp.tpp, case.given())
    true = values(tpp.tpp, case.aligned().given())
    # Without its own direction a probe sees its class nowhere: accuracy falls from 1 to chance, 0.5.
    assert true["n=2"] > 0.45
    assert abs(random["n=2"]) < 0.15


def test_ablating_a_spurious_attribute_brings_the_class_back() -> None:
    case = Case(texts=1000, noise=0.3)
    random = values(scr.scr, case.given())["n=2"]
    true = values(scr.scr, case.aligned().given())
    assert true["n=2"] > 0.9 and true["n=2/law/art"] > 0.9
    assert abs(random) < 0.2


def test_only_positive_effects_are_ablated() -> None:
    case = Case()
    few, many = (values(tpp.tpp, case.given(), n=(size,)) for size in (LATENTS, 500))
    assert list(few.values()) == pytest.approx(list(many.values()))
    # One latent that grows with every class's probe; the rest only move against them.
    case.decoder = np.concatenate([case.axes[:1], np.zeros((LATENTS - 1, WIDTH))])
    one, all_ = (values(tpp.tpp, case.given(), n=(size,)) for size in (1, 10))
    assert list(one.values()) == pytest.approx(list(all_.values()))


@pytest.mark.parametrize(("metric", "slice_"), [(tpp.tpp, "n=5/topic"), (scr.scr, "n=5/law/art")])
def test_each_text_has_the_influence_that_leaving_it_out_shows(metric: Metric, slice_: str) -> None:
    case = Case(noise=0.8)
    case.tasks = (Drawless(**vars(case.tasks[0])),)
    sums = metric.rows(case.given(), **{**metric.settings, "n": (5,)})
    column = sums.slices.index(slice_)
    psi, n = (sums.fields[name][:, column].numpy() for name in ("psi", "n"))
    value = psi.sum() / n.sum()
    assert (psi - value).std() > 0.1
    shown = []
    for text in np.unique(case.pairs[0].test)[:15]:
        twin = Case(noise=0.8)
        twin.tasks, twin.pairs = (_without(case.tasks[0], text),), tuple(_without(p, text) for p in case.pairs)
        shown.append((len(psi) - 1) * (value - values(metric, twin.given(), n=(5,))[slice_]))
    expected = (psi - value)[: len(shown)]
    np.testing.assert_allclose(shown, expected, atol=0.15 * max(1, np.abs(expected).max()))


def _without(part: Task | SpuriousPair, text: int) -> Task | SpuriousPair:
    """A task or pair whose test part lacks a text."""
    kept = part.test != text
    return replace(part, **{f.name: getattr(part, f.name)[kept] for f in fields(part) if f.name.startswith("test")})


def test_pairs_without_a_score_are_counted_and_named() -> None:
    case = Case()
    first, *others = case.pairs
    flat = replace(first, name="flat", train_attribute=first.train_class, test_attribute=first.test_class)
    case.pairs = (flat, *others)
    given = case.given()
    got = values(scr.scr, given)
    assert np.isnan(got["n=5/flat"]) and np.isfinite(got["n=5"])
    assert values(scr.scr_undefined, given)["scr"] >= 1
    notes = scr.scr.rows(given, n=(5,), c=100.0).notes
    assert notes[0] == "flat has no score: the biased probe is as accurate on the class as on the attribute."


def test_without_tasks_or_pairs_they_do_not_apply() -> None:
    case = Case()
    case.tasks, case.pairs = (), ()
    for metric in (*TPP, *SCR, scr.scr_undefined):
        with pytest.raises(NotApplicable, match="the labelled texts hold no"):
            values(metric, case.given())
    case = Case()
    case.tasks = (replace(case.tasks[0], train_label=case.tasks[0].train_label * 0),)
    with pytest.raises(NotApplicable, match="no task for TPP has two classes"):
        values(tpp.tpp, case.given())


def test_scr_and_tpp_carry_the_audit_s_caution() -> None:
    for metric in (*TPP, *SCR):
        assert "2605.18229" in metric.caution


def test_the_presets_are_the_reference_protocol_by_torch() -> None:
    """Trained probes, the best epoch on test, latents without an effect ablated, nothing to win scoring zero."""
    case = Case(texts=120, noise=0.8)
    case.tasks, case.pairs = case.tasks[:1], case.pairs[:2]
    given, tokens = case.given(), case.tokens()
    got = values(scr.scr_saebench, given) | values(tpp.tpp_saebench, given)
    falls = by_hand.tpp_saebench(tokens, case.tasks[0], SIZES, seed=SEED)
    won = [by_hand.scr_saebench(tokens, pair, SIZES, seed=SEED) for pair in case.pairs]
    for place, n in enumerate(SIZES):
        for pair, scores in zip(case.pairs, won, strict=True):
            assert got[f"n={n}/{pair.name}"] == pytest.approx(scores[place]["scr"], nan_ok=True)
        for way in ("dir1", "dir2"):
            assert got[f"n={n}/{way}"] == pytest.approx(np.mean([scores[place][way] for scores in won]))
        assert [got[f"n={n}/topic={name}"] for name in case.tasks[0].classes] == pytest.approx(falls[place])
    plain = values(tpp.tpp, given) | values(scr.scr, given)
    assert any(abs(got[name] - plain[name]) > 0.01 for name in got if np.isfinite(got[name] + plain[name]))


def test_a_direction_with_nothing_to_win_is_zero_in_the_preset_and_undefined_in_the_metric() -> None:
    case = Case(noise=0.05)
    case.pairs = tuple(
        replace(pair, train_attribute=1 - pair.train_class, test_attribute=1 - pair.test_class) for pair in case.pairs
    )
    case.pairs = tuple(replace(pair, train_attribute=_half(pair.train_attribute)) for pair in case.pairs)
    got, plain = values(scr.scr_saebench, case.given()), values(scr.scr, case.given())
    assert got["n=2/dir1"] == 0.0 and np.isnan(plain["n=2/dir1"])


def _half(attribute: np.ndarray) -> np.ndarray:
    """The attribute turned over in half of the texts, so that every quadrant has some."""
    return np.where(np.arange(len(attribute)) // 4 % 2 == 0, 1 - attribute, attribute)


def test_presets_draw_nothing_from_the_global_generator() -> None:
    got = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        got.append(values(tpp.tpp_saebench, Case().given()))
    assert got[0] == got[1]
