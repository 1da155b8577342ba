"""One latent to look at, in the terminal and as a page; what a run's judge would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import saebench as sb
from saebench.cli import main
from saebench.engine.latent import look_at
from saebench.engine.prepare import prepare
from saebench.judges.judged import Judged
from saebench.judges.look import Look, context_text, pattern_text, text, wrong_first
from saebench.judges.look_html import file_name, page
from saebench.judges.ngram import NGramJudge
from saebench.judges.protocol import Answers, Context, Explanation
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows


@pytest.fixture(scope="module")
def look() -> Look:
    """The latent of a toy that fires in about half of the rows."""
    model, toy, rows = sb.load_model(tiny_llama()), ToySAE(), token_rows(200, 19)
    fires = toy.encode(model.forward(rows, [HOOK]).acts[HOOK][:, 1:]).ne(0).any(1).float().mean(0)
    return look_at(toy, int((fires - 0.5).abs().argmin()), model=model, text=rows, hook=HOOK)


def test_a_latent_is_shown_with_its_explanation_and_wrong_answers_first(look: Look) -> None:
    told = text(look)
    assert f"latent {look.detection.latent}" in told and look.sentence in told
    assert "detection" in told and "fuzzing" in told and "shown to the judge" in told
    right = [look.detection.right[place] for place in wrong_first(look.detection)]
    assert sorted(right) == right and len(right) == len(look.detection.contexts) > 10
    best = max(look.examples, key=lambda c: max(c.activations))
    assert context_text(best) in told and "\u00ab" in context_text(best)


def test_the_page_holds_every_context_and_needs_nothing_else(look: Look) -> None:
    made = page("<title>", [look])
    assert "<title>&lt;title&gt;</title>" in made
    assert look.fuzzing is not None
    shown = (*look.examples, *look.detection.contexts, *look.fuzzing.contexts)
    assert made.count("class='context") == len(shown)
    assert "http" not in made and "<script" not in made and "src=" not in made


def test_tokens_are_escaped() -> None:
    contexts = (Context(("<b>x", " &"), (1.0, 0.0), 0, "top"),)
    one = Judged(3, 0.1, "detection", Explanation("<i>"), contexts, (True,), answers=Answers((False,)))
    made = page("x", [Look("<u>", "ngram", one)])
    assert "&lt;b&gt;x" in made and " &amp;" in made and "&lt;i&gt;" in made
    assert not any(tag in made for tag in ("<b>x", "<i>", "<u>"))


def test_marks_and_spaces_on_one_line() -> None:
    context = Context((" the", " cat", "\n", " sat"), (0.0, 2.0, 0.5, 0.0), 0, "top")
    assert context_text(context, {1, 3}) == "the \u00ab[cat] 2\u00bb\u00ab\u21b5\u00bb [sat]"
    assert pattern_text(((0, " x"), (2, " the"))) == "the * x"


@pytest.mark.parametrize(("name", "file"), [("topk-mid", "topk-mid"), ("../a/<b>", "a-b-d626"), ("..", "sae-5ec1")])
def test_a_name_never_leaves_its_folder(name: str, file: str) -> None:
    assert file_name(name) == file


def test_no_two_names_are_one_file() -> None:
    assert len({file_name(name) for name in ("a/b", "a b", "a-b", "a.b", "/a-b", "sae", "..", "...")}) == 8


def test_latents_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("5000", "-1"):
        with pytest.raises(SystemExit) as stop:
            main(["show", "world:topk-mid", "--latent", number])
        assert stop.value.code == 2
        assert f"has no latent {number}: its 1024 are 0 to 1023" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["show", "world:topk-mid", "--html", "x.html"])
    assert "add --latent N" in capsys.readouterr().err


def test_a_dead_latent_is_shown_as_one(tmp_path: Path) -> None:
    toy = ToySAE()
    toy.b_enc.data[3] = -1e9
    dead = look_at(toy, 3, model=tiny_llama(), text=token_rows(60, 19), hook=HOOK)
    assert "too few contexts: it fires in 0 windows" in text(dead)
    assert "too few contexts" in page("dead", [dead])


class _Priced(NGramJudge):
    """Counts what it is asked to estimate."""

    def estimate(self, tasks: Any) -> Any:
        from saebench.judges.ledger import Estimate

        assert all(task.firing if hasattr(task, "firing") else task.contexts for task in tasks)
        return Estimate(len(tasks), 0, 100 * len(tasks), 10 * len(tasks), 0.5 * len(tasks))


def test_a_plan_says_what_the_judge_would_cost() -> None:
    settings = {"latents": 0, "window": 6}
    suite = {"metric": [{"detection": settings}, {"fuzzing": settings}, "l0"], "references": {"null": None}}
    given: dict[str, Any] = {"model": tiny_llama(), "data": {"text": token_rows(40, 19)}, "hook": HOOK}
    suite["references"] = {"null": None, "baseline": None}
    plan = prepare(ToySAE(), suite, judge=_Priced(), **given).describe()
    # An explanation, a question of detection and one of fuzzing for each of 24 latents.
    assert plan["judge"] == {"name": "ngram", "calls": 72, "tokens": 7920, "money": 36.0}
    assert prepare(ToySAE(), suite, **given).describe()["judge"]["calls"] is None
    assert prepare(ToySAE(), {**suite, "metric": ["l0"]}, **given).describe()["judge"] is None
    with pytest.raises(sb.UserError, match="Unknown judge"):
        prepare(ToySAE(), {**suite, "judge": "gpt"}, **given)
