"""Questions: every order of the options, the answers' tokens, the halves, and what cannot be asked."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saebench.data import wmdp, world
from saebench.data.prompt_specs import QuestionSpec
from saebench.data.questions import Questions
from saebench.data.questions_prompts import letter_forms
from saebench.data.questions_reader import read_questions
from saebench.data.tokens import Encoder
from saebench.errors import UserError
from tests.helpers.tokenizers import byte_level, sentence_piece, subject, word_level, world_tokenizer

Row = dict[str, Any]


def _rows(count: int = 6) -> list[Row]:
    options = ["Paris", "Berlin", "Tokyo", "Osaka"]
    return [
        {"question": f"Which city is number {i}?", "choices": options, "answer": i % 4, "subject": subject}
        for subject in ("wmdp-bio", "human_aging")
        for i in range(count)
    ]


def _jsonl(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _texts(questions: Questions, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(row, skip_special_tokens=True) for row in questions.rows]


def _prompts(questions: Questions) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row, q, answer in zip(questions.rows, questions.question, questions.answer, strict=True):
        found.setdefault(questions.names[q], []).append((tuple(row.tolist()), int(answer)))
    return found


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_level(bos=False), sentence_piece()])
@pytest.mark.parametrize("style", ["auto", "text"])
def test_the_right_option_is_where_the_answer_says(tmp_path: Path, tokenizer: Any, style: str) -> None:
    path = _jsonl(tmp_path / "q.jsonl", _rows())
    spec = QuestionSpec(style=style, orders=24)  # type: ignore[arg-type]
    questions = read_questions(str(path), spec, subject(tokenizer), seed=0)
    assert questions.style == ("letter" if style == "auto" else "text")
    assert len(questions.rows) == 12 * 24 and questions.left_out == ()
    seen: dict[int, set[tuple[str, ...]]] = {}
    for i, text in enumerate(_texts(questions, tokenizer)):
        head, *options, end = text.split("\n")
        subject_name = "biology" if questions.forget[questions.domain[questions.question[i]]] else "human aging"
        assert head.endswith(f"about {subject_name}.") and end.startswith("Answer")
        asked, *options = options
        plain = tuple(option[3:] for option in options)
        seen.setdefault(int(questions.question[i]), set()).add(plain)
        number = int(asked.rpartition(" ")[2].rstrip("?"))
        assert plain[questions.answer[i]] == ["Paris", "Berlin", "Tokyo", "Osaka"][number % 4]
        for option, letter, ids in zip(plain, "ABCD", questions.candidates[i], strict=True):
            forms = {tokenizer.decode([k]).strip() for k in ids if k >= 0}
            whole = option if style == "text" else letter
            assert forms and all(whole.startswith(form) for form in forms)
            assert style == "text" or forms == {letter}
    assert all(orders == set(permutations(["Paris", "Berlin", "Tokyo", "Osaka"])) for orders in seen.values())


def test_letters_have_two_forms_where_the_vocabulary_has() -> None:
    tokenizer = word_level(["A", "B", "ĠA", "ĠB", "which", "?"])
    ids = tokenizer.get_vocab()
    encoder = Encoder(subject(tokenizer))
    assert letter_forms("A", encoder) == (ids["A"], ids["ĠA"])
    with pytest.raises(UserError, match="no token for the letter 'C'.*style: text"):
        letter_forms("C", encoder)


def test_world() -> None:
    tokenizer = world_tokenizer()
    model = subject(tokenizer, context=128, name="world")
    questions = read_questions("world", QuestionSpec(), model, seed=0)
    assert len(questions.names) == len(world.quizzes()) and questions.left_out == ()
    assert [questions.domains[i] for i in np.flatnonzero(questions.forget)] == [world.FORGET_DOMAIN]
    assert np.bincount(questions.answer).tolist() == [len(questions.names)] * 4
    known = {quiz.prompt for quiz in world.quizzes()}
    full = read_questions("world", QuestionSpec(orders=24, questions=10), model, seed=0)
    texts = _texts(full, tokenizer)
    assert sum(text in known for text in texts) == len(full.names) == 50
    text = read_questions("world", QuestionSpec(style="text", questions=10), model, seed=0)
    right = {quiz.prompt.partition(" A ")[0]: quiz.answer for quiz in world.quizzes()}
    for i, said in enumerate(_texts(text, tokenizer)):
        assert said.endswith(" in full :")
        assert tokenizer.decode([text.candidates[i, text.answer[i], 0]]) == right[said.partition(" A ")[0]]


def test_halves_are_of_each_domain_and_frozen() -> None:
    model = subject(world_tokenizer())
    one, again, other = (read_questions("world", QuestionSpec(orders=1), model, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one.held_out, again.held_out) and _prompts(one) == _prompts(again)
    assert not np.array_equal(one.held_out, other.held_out)
    assert _prompts(one) != _prompts(other)
    assert np.bincount(one.answer, minlength=4).min() > len(one.rows) / 8
    for domain in range(len(one.domains)):
        here = one.held_out[one.domain == domain]
        assert abs(2 * int(here.sum()) - len(here)) <= 1


def test_more_questions_change_no_prompt(tmp_path: Path) -> None:
    model, spec = subject(byte_level()), QuestionSpec(orders=2)
    few = _prompts(read_questions(str(_jsonl(tmp_path / "a.jsonl", _rows(3))), spec, model, seed=0))
    many = _prompts(read_questions(str(_jsonl(tmp_path / "b.jsonl", _rows(9))), spec, model, seed=0))
    assert len(few) == 6 and all(many[name] == prompts for name, prompts in few.items())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(_rows()))
def test_order_of_rows_does_not_matter(tmp_path: Path, rows: list[Row]) -> None:
    model, spec = subject(byte_level()), QuestionSpec(orders=3)
    a = read_questions(str(_jsonl(tmp_path / "a.jsonl", _rows())), spec, model, seed=0)
    b = read_questions(str(_jsonl(tmp_path / "b.jsonl", rows)), spec, model, seed=0)
    assert _prompts(a) == _prompts(b) and np.array_equal(a.held_out, b.held_out)


def test_layouts_and_forms_of_tables(tmp_path: Path) -> None:
    plain = [{k: v for k, v in row.items() if k != "subject"} for row in _rows()[:6]]
    for domain in ("wmdp-bio", "human_aging"):
        (tmp_path / "hub" / domain).mkdir(parents=True)
        pd.DataFrame(plain).to_parquet(tmp_path / "hub" / domain / "test-00000-of-00001.parquet")
        pd.DataFrame([{**plain[0], "question": "dev?"}]).to_parquet(tmp_path / "hub" / domain / "dev-0.parquet")
    flat = pd.DataFrame(_rows())
    flat[list("ABCD")] = flat.pop("choices").tolist()
    flat["answer"] = ["ABCD"[i] for i in flat["answer"]]
    flat.to_csv(tmp_path / "flat.csv", index=False)
    texts = pd.DataFrame(_rows())
    texts["choices"] = [json.dumps(x) for x in texts["choices"]]
    texts.to_csv(tmp_path / "lists.csv", index=False)
    found = [
        _prompts(read_questions(str(tmp_path / name), QuestionSpec(), subject(byte_level()), seed=0))
        for name in ("hub", "flat.csv", "lists.csv")
    ]
    assert len(found[0]) == 12 and found[0] == found[1] == found[2]


def test_chat_format(tmp_path: Path) -> None:
    path, tokenizer = _jsonl(tmp_path / "q.jsonl", _rows()), byte_level(430)
    with pytest.raises(UserError, match="no chat template"):
        read_questions(str(path), QuestionSpec(format="chat"), subject(tokenizer), seed=0)
    tokenizer.chat_template = "<bos>[{% for m in messages %}{{ m['content'] }}{% endfor %}]{{ '\\n' }}"
    row = read_questions(str(path), QuestionSpec(format="chat"), subject(tokenizer), seed=0).rows[0]
    text = tokenizer.decode(row)
    assert text.startswith("<bos>[The following") and text.endswith("]\nAnswer: (") and text.count("<bos>") == 1


def test_questions_left_out_are_named(tmp_path: Path) -> None:
    tokenizer = byte_level()
    odd = [
        {"question": "twice?", "choices": ["x", "x", "y", "z"], "answer": 0, "subject": "human_aging"},
        {"question": "three?", "choices": ["x", "y", "z"], "answer": 0, "subject": "human_aging"},
        {"question": "long? " * 99, "choices": ["k", "x", "y", "z"], "answer": 0, "subject": "human_aging"},
        {"question": "same start?", "choices": ["x 1", "x 2", "y", "z"], "answer": 0, "subject": "human_aging"},
    ]
    path = _jsonl(tmp_path / "q.jsonl", [*_rows(), *odd])
    spec = QuestionSpec(style="text", header="")
    questions = read_questions(str(path), spec, subject(tokenizer, context=90), seed=0)
    said = " / ".join(questions.left_out)
    assert "1 questions with two equal options" in said
    assert "1 questions with another number of options than 4" in said
    assert "1 questions longer than the 90 tokens" in said
    assert "1 questions whose options do not begin with different tokens" in said
    assert len(questions.names) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": 4}, r"Row 1 of .* answer 4 is none of its 4 options \(0 to 3, A to D, or"),
        ({"answer": -1}, "none of its 4 options"),
        ({"choices": "a, b"}, "must be a JSON list"),
        ({"choices": ["a"]}, "list of 2 to 26"),
    ],
)
def test_bad_rows(tmp_path: Path, change: Row, said: str) -> None:
    first, *rest = _rows()
    path = _jsonl(tmp_path / "q.jsonl", [{**first, **change}, *rest])
    with pytest.raises(UserError, match=said):
        read_questions(str(path), QuestionSpec(), subject(byte_level()), seed=0)


def test_an_answer_may_be_the_words_of_its_option(tmp_path: Path) -> None:
    told = [{**row, "answer": row["choices"][int(row["answer"])]} for row in _rows()]
    read = [
        read_questions(str(_jsonl(tmp_path / name, made)), QuestionSpec(), subject(byte_level()), seed=0)
        for name, made in (("told.jsonl", told), ("numbered.jsonl", _rows()))
    ]
    assert [*read[0].answer] == [*read[1].answer]


def test_bad_input(tmp_path: Path) -> None:
    model, spec = subject(byte_level()), QuestionSpec()
    no_choices = [{k: v for k, v in row.items() if k != "choices"} for row in _rows()]
    with pytest.raises(UserError, match="no column 'choices'"):
        read_questions(str(_jsonl(tmp_path / "a.jsonl", no_choices)), spec, model, seed=0)
    with pytest.raises(UserError, match="no column 'answer'. Did you mean 'anser'"):
        read_questions(str(_jsonl(tmp_path / "b.jsonl", [{"question": "?", "anser": 1}])), spec, model, seed=0)
    retain = [row for row in _rows() if row["subject"] == "human_aging"]
    with pytest.raises(UserError, match="to be forgotten: set forget to some of 'human_aging'"):
        read_questions(str(_jsonl(tmp_path / "c.jsonl", retain)), spec, model, seed=0)
    with pytest.raises(UserError, match="No question to retain"):
        read_questions(str(tmp_path / "c.jsonl"), QuestionSpec(forget=["human_aging"]), model, seed=0)
    with pytest.raises(UserError, match="Did you mean 'human_aging'"):
        read_questions(str(tmp_path / "c.jsonl"), QuestionSpec(forget=["human_ageing"]), model, seed=0)
    with pytest.raises(UserError, match="no token for the letter"):
        words = word_level(["which", "city"])
        read_questions(str(_jsonl(tmp_path / "d.jsonl", _rows())), spec, subject(words), seed=0)


def test_the_gated_corpus_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist.*wmdp-bio-forget-corpus"):
        wmdp.forget_corpus(tmp_path / "none")
    with pytest.raises(UserError, match="holds no bio-forget-corpus.jsonl"):
        wmdp.forget_corpus(tmp_path)
    file = tmp_path / "bio-forget-corpus.jsonl"
    file.write_text("{}")
    assert wmdp.forget_corpus(tmp_path) == wmdp.forget_corpus(file) == file
    (tmp_path / "hub" / "data").mkdir(parents=True)
    (tmp_path / "hub" / "data" / "train-00000-of-00002.parquet").touch()
    assert wmdp.forget_corpus(tmp_path / "hub") == tmp_path / "hub"
