"""Auto-interp on coders whose latents are known: exact detectors of words, latents that know nothing, dense ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saebench.evals.detection import detection, detection_auroc, detection_saebench
from saebench.evals.sensitivity import sensitivity
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

import saebench as sb
from saebench.engine import judged as engine
from saebench.inputs import DrawnLatents
from saebench.judges.judged import Judged
from saebench.judges.ngram import NGramJudge
from saebench.judges.protocol import Answers, Context, Explanation, ScoreTask, Unanswered
from saebench.results import Results
from tests.helpers.hand_coders import Coins, WordDetectors, words, world_model
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

LEXICAL = ("pos=symbol", "first_letter=U", "pos=adverb")
DENSE = ("pos=letter", "first_letter=I")
ALL = {"latents": 0}
NONE: dict[str, Any] = {"null": None, "baseline": None}


@pytest.fixture(scope="module")
def known() -> tuple[Results, list[DrawnLatents]]:
    """Rows and latents of exact word detectors on the world."""
    return _kept(WordDetectors([*LEXICAL, *DENSE]))


def _kept(sae: Any, **more: Any) -> tuple[Results, list[DrawnLatents]]:
    """Rows, and the latents they are about in the order of the samplings."""
    names = (
        "detection", "fuzzing", "detection_auroc", "fuzzing_auroc", "detection@saebench", "ngram_explainability",
        "sensitivity", "input_score",
    )  # fmt: skip
    suite = {
        "metric": [{name: ALL} for name in names],
        "data": {"text": {"source": "world", "tokens": 20_000}},
        "references": NONE,
    }
    made: list[DrawnLatents] = []
    drawn_latents = engine.drawn_latents

    def spy(*args: Any, **kwargs: Any) -> DrawnLatents:
        made.append(drawn_latents(*args, **kwargs))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "drawn_latents", spy)
        results = sb.evaluate(sae, suite, model=world_model(), **more)
    assert not results.errors()
    return results, made


def _value(results: Results, metric: str, name: str = "") -> Any:
    return next(row for row in results.rows if row.metric == metric and row.slice == name)


def test_a_detector_of_words_is_explained_by_its_words(known: tuple[Results, list[DrawnLatents]]) -> None:
    results, (drawn, *_) = known
    for judged, label in zip(drawn.detection(), LEXICAL, strict=False):
        assert judged.explanation is not None
        patterns = judged.explanation.details.patterns
        named = {token.strip() for p in patterns for distance, token in p.tokens if distance == 0}
        assert named <= words(label) | {"*"}
        assert judged.balanced_accuracy is not None and judged.balanced_accuracy >= 0.9
    assert _value(results, "detection").value > 0.95
    assert _value(results, "fuzzing").value > 0.95
    assert _value(results, "detection_auroc").value > 0.95
    assert _value(results, "ngram_explainability", "precision").value > 0.9
    assert _value(results, "sensitivity", "before=0").value == 1.0


def test_a_dense_latent_is_not_scored_down_for_being_dense(known: tuple[Results, list[DrawnLatents]]) -> None:
    """By SAEBench's labels it is: windows drawn at random in which it fires count as silent."""
    _, (drawn, published) = known
    densest = drawn.detection()[len(LEXICAL) :]
    assert all(one.density > 0.05 and (one.balanced_accuracy or 0) >= 0.9 for one in densest)
    assert any((one.accuracy or 0) < 0.7 for one in published.published()[len(LEXICAL) :])


def test_trained_latents_are_easier_to_explain_than_untrained_and_random_ones() -> None:
    """By more than the intervals; what an undertrained SAE's latents are is another matter (see the caution)."""
    suite = {
        "metric": [{name: {"latents": 120}} for name in ("detection", "fuzzing", "ngram_explainability")],
        "data": {"text": {"source": "world", "tokens": 20_000}},
        "references": {"null": "null:random-32", "baseline": None},
    }
    results = sb.evaluate(["world:topk-mid", "world:topk-mid-untrained"], suite, model=world_model())
    for metric in ("detection", "fuzzing", "ngram_explainability"):
        trained, *others = (row for row in results.rows if row.metric == metric and not row.slice)
        assert trained.sae == "topk-mid" and len(others) == 2
        assert all(trained.ci_low > other.ci_high for other in others), metric


def test_latents_that_know_nothing_score_one_half() -> None:
    results, _ = _kept(Coins(80, 0.02))
    for metric in ("detection", "fuzzing", "detection_auroc"):
        row = _value(results, metric)
        assert row.value == pytest.approx(0.5, abs=3 * row.stderr) and row.stderr < 0.02
    assert _value(results, "ngram_explainability").value < 0.1
    flat = _value(results, "sensitivity", "before=1").value - _value(results, "sensitivity", "random").value
    assert abs(flat) < 0.05


def test_scores_equal_scikit_learns_latent_by_latent(known: tuple[Results, list[DrawnLatents]]) -> None:
    results, (drawn, *_) = known
    scores, areas = [], []
    for one in drawn.detection():
        assert one.answers is not None
        truth = np.array(one.truth)
        scores.append(balanced_accuracy_score(truth, np.array(one.says, dtype=bool)))
        areas.append(roc_auc_score(truth, np.array(one.answers.confidence)))
    assert _value(results, "detection").value == pytest.approx(np.mean(scores))
    assert _value(results, "detection_auroc").value == pytest.approx(np.mean(areas))
    fuzzed = [one for one in drawn.fuzzing() if one.answers is not None]
    areas = [roc_auc_score(np.array(one.truth), np.array(one.answers.confidence)) for one in fuzzed if one.answers]
    assert _value(results, "fuzzing_auroc").value == pytest.approx(np.mean(areas))


def test_input_score_equals_a_count_over_the_model_s_own_modules(known: tuple[Results, list[DrawnLatents]]) -> None:
    """The head and final norm are called as modules; peaks are looked up window by window."""
    results, (drawn, *_) = known
    sae, model = WordDetectors([*LEXICAL, *DENSE]), world_model().model
    norm = model.gpt_neox.final_layer_norm
    scores = []
    for latent in drawn.latents:
        with torch.no_grad():
            logits = model.get_output_embeddings()(norm(sae.W_dec[latent.latent] * sae.W_dec.shape[1] ** 0.5))
        promoted = set(np.argsort(-logits.numpy(), kind="stable")[:20].tolist())
        hits = []
        for half in (latent.shown, latent.held_out):
            for window, acts in zip(half.top.windows, half.top.acts, strict=True):
                hits.append(int(half.top.ids(int(window))[np.abs(acts).argmax()]) in promoted)
        scores.append(np.mean(hits))
    assert _value(results, "input_score").value == pytest.approx(np.mean(scores))
    assert min(scores) < max(scores), "latents that all score alike show little"


@pytest.mark.parametrize("before", [0, 1, 2])
def test_sensitivity_equals_a_search_token_by_token(before: int, known: tuple[Results, list[DrawnLatents]]) -> None:
    results, (drawn, *_) = known
    shares = []
    for latent in drawn.latents:
        like = set()
        for kept in (latent.shown.top, latent.shown.weighted):
            for window, acts in zip(kept.windows, kept.acts, strict=True):
                ids, at = [int(i) for i in kept.ids(int(window))], int(np.abs(acts).argmax())
                like |= {tuple(ids[at - before : at + 1])} if at >= before else set()
        pool = latent.held_out.pool
        found = []
        for window, acts in zip(pool.windows, pool.acts, strict=True):
            ids = [int(i) for i in pool.ids(int(window)) if i >= 0]
            if any(tuple(ids[at - before : at + 1]) in like for at in range(before, len(ids))):
                found.append(bool(np.any(acts != 0)))
        if found:
            shares.append(np.mean(found))
    assert _value(results, "sensitivity", f"before={before}").value == pytest.approx(np.mean(shares))


def test_explainability_equals_a_search_of_the_whole_held_out_half(known: tuple[Results, list[DrawnLatents]]) -> None:
    """It is estimated from samples of windows; here all of them are looked at."""
    results, (drawn, *_) = known
    scores = []
    for latent, told in zip(drawn.latents, drawn.explained(), strict=True):
        assert isinstance(told, Explanation)
        contexts = latent.held_out.pool.contexts
        said = told.details.confidences(contexts) >= told.details.threshold
        size = said.shape[1]
        fires = latent.held_out.pool.acts[:, :size] != 0
        scores.append(2 * (said & fires).sum() / max(1, said.sum() + fires.sum()))
    row = _value(results, "ngram_explainability")
    assert row.value == pytest.approx(np.mean(scores), abs=0.06)


class _Same(NGramJudge):
    """Says the same of every context, or nothing at all."""

    def __init__(self, says: bool | None, *, refuses: bool = False) -> None:
        super().__init__()
        object.__setattr__(self, "_says", says)
        object.__setattr__(self, "_refuses", refuses)

    def score(self, tasks: Any, progress: Any = None) -> list[Answers | Unanswered]:
        if self._refuses:
            return [Unanswered("refused") for _ in tasks]
        return [Answers((self._says,) * len(task.contexts)) for task in tasks]

    @property
    def name(self) -> str:
        return "same"


@pytest.mark.parametrize("says", [True, False])
def test_the_same_answer_always_is_chance(says: bool) -> None:
    results = _toy(_Same(says))
    assert _value(results, "detection").value == pytest.approx(0.5)
    assert np.isnan(_value(results, "detection_auroc").value or np.nan)
    published = _value(results, "detection@saebench")
    assert published.value == pytest.approx(4 / 14 if says else 10 / 14)


def test_a_judge_without_answers_is_counted_and_says_why() -> None:
    for judge, why in ((_Same(None), ""), (_Same(True, refuses=True), "not scored: refused")):
        results = _toy(judge)
        assert _value(results, "detection").value is None or np.isnan(_value(results, "detection").value)
        assert _value(results, "detection_unscored", "judge").value > 0.5
        assert why in " ".join(_value(results, "detection").warnings)


def _toy(judge: Any = None, rows: int = 150, **settings: Any) -> Results:
    names = ("detection", "detection_auroc", "detection@saebench", "detection_unscored", "fuzzing", "sensitivity")
    settings = {"latents": 0, "window": 6, **settings}
    suite = {"metric": [{name: settings} for name in names], "references": NONE}
    return sb.evaluate(ToySAE(), suite, model=tiny_llama(), data={"text": token_rows(rows, 19)}, hook=HOOK, judge=judge)


def test_rows_are_equal_for_all_batch_sizes_and_carry_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for budget in (90, 3000):
        monkeypatch.setattr("saebench.engine.execute.token_budget", lambda *_, b=budget: b)
        rows.append({(row.metric, row.slice): row for row in _toy().rows})
    assert {key: row.value for key, row in rows[0].items()} == pytest.approx(
        {key: row.value for key, row in rows[1].items()}, nan_ok=True
    )
    row = rows[0]["detection", ""]
    assert "judge:" in row.signature and "judge=ngram" in row.signature and row.settings["judge"] == "ngram"
    assert "judge:" not in rows[0]["sensitivity", "before=1"].signature
    assert _value(_toy(_Same(True)), "detection").signature != row.signature


def test_latents_with_too_few_contexts_are_counted() -> None:
    results = _toy(rows=12, dead=1)
    assert _value(results, "detection_unscored", "contexts").value > 0.2
    assert "latents unscored, too few contexts" in " ".join(_value(results, "detection").warnings)


def test_settings_that_make_no_sense_and_unknown_judges_are_refused() -> None:
    with pytest.raises(sb.UserError, match="'window' of metric 'detection' must be a whole number of at least 2"):
        _toy(window=1)
    with pytest.raises(sb.UserError, match="Unknown judge 'ngrams'. Did you mean 'ngram'"):
        _toy("ngrams")
    with pytest.raises(sb.UserError, match="setting of the judge"):
        _toy({"ngram": {"dept": 3}})


def test_a_run_leaves_pages_that_escape_what_they_show(tmp_path: Path) -> None:
    suite = {"metric": [{"detection": {"latents": 0, "window": 6}}], "references": NONE}
    data = {"text": token_rows(150, 19)}
    sae = sb.load_sae(ToySAE(), hook=HOOK, name="a/<b>")
    sb.evaluate(sae, suite, model=tiny_llama(), data=data, out=tmp_path / "run", repeats=2)
    index = (tmp_path / "run" / "autointerp.html").read_text(encoding="utf-8")
    assert "-seed0.html" in index and "-seed1.html" in index
    page, other = sorted((tmp_path / "run" / "autointerp").glob("*.html"))
    assert page.stem.endswith("-seed0") and other.stem.endswith("-seed1"), "a page for each seed"
    text = page.read_text(encoding="utf-8")
    assert "a/&lt;b&gt;" in text and "<b>" not in text.replace("<b>WRONG", "").replace("<b>right", "")
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text and "<script" not in text


def test_metrics_say_what_they_are() -> None:
    assert detection.units == detection_auroc.units == sensitivity.units == "latents"
    assert "0.714" in detection_saebench.caution


def test_one_latent_is_judged_by_hand() -> None:
    contexts = tuple(Context((" a",), (v,), 0, s) for v, s in ((1.0, "top"), (2.0, "mid"), (0.0, "random")))
    truth, answers = (True, True, False), Answers((True, None, True), (0.9, 0.2, 0.9))
    one = Judged(3, 0.1, "detection", Explanation("x"), contexts, truth, answers=answers)
    assert one.right == (True, None, False) and one.accuracy == 0.5 and one.balanced_accuracy == 0.5
    assert one.auroc == pytest.approx((0.5 + 0) / 2)
    assert one.share(stratum="mid") is None and one.share(stratum="random") == 0.0
    assert isinstance(ScoreTask("detection", 3, Explanation("x"), contexts), ScoreTask)
