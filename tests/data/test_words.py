"""Words in groups: found in their prompts whatever the tokenizer, split, and the same whatever else is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from saebench.data.prompt_specs import WordSpec
from saebench.data.words import Words
from saebench.data.words_reader import read_words
from saebench.errors import UserError
from tests.helpers.tokenizers import (
    NoOffsets,
    byte_level,
    sentence_piece,
    subject,
    word_level,
    world_tokenizer,
)

COLOURS = ["red", "blue", "green", "grey"]
BIRDS = ["owl", "wren", "gull", "kite"]
ROWS = [(w, "colour") for w in COLOURS] + [(w, "bird") for w in BIRDS]


def _file(path: Path, rows: list[tuple[str, ...]], columns: str = "word group") -> Path:
    frame = pd.DataFrame(rows, columns=columns.split())
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_json(path, orient="records", lines=True)
    return path


def _by_word(words: Words, hierarchy: int = 0) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    h = words.hierarchies[hierarchy]
    for item, word in zip(h.items, h.word, strict=True):
        found.setdefault(h.words[word], []).append(tuple(words.rows[item].tolist()))
    return found


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_level(bos=False), sentence_piece(), NoOffsets(byte_level())])
def test_each_row_ends_with_its_word(tmp_path: Path, tokenizer: Any) -> None:
    path = _file(tmp_path / "kinds.csv", [(w, g, f"I saw a {{word}}, and {w}s again") for w, g in ROWS],
                 "word group prompt")  # fmt: skip
    words = read_words(str(path), WordSpec(), subject(tokenizer), seed=0)
    for word, rows in _by_word(words).items():
        assert tokenizer.decode(rows[0], skip_special_tokens=True).strip() == f"I saw a {word}"
        assert (rows[0][0] == tokenizer.bos_token_id) == (tokenizer.bos_token is not None)
    assert words.hierarchies[0].name == "kinds"
    assert words.hierarchies[0].groups == ("bird", "colour")


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_level(bos=False), sentence_piece()])
def test_vocabulary_words_are_single_tokens_in_the_reference_prompt(tokenizer: Any) -> None:
    spec = WordSpec(examples=4, min_words=2, single_token=True)
    words = read_words("vocabulary", spec, subject(tokenizer), seed=0)
    h = words.hierarchies[0]
    assert any(word.startswith(" ") for word in h.words)
    assert len({word.strip().lower() for word in h.words}) == len(h.words)
    for item, label, number in zip(h.items, h.label, h.word, strict=True):
        word = h.words[number]
        text = tokenizer.decode(words.rows[item], skip_special_tokens=True)
        lines = text.split("\n")
        assert lines[-1] == word and lines[0].strip() == "" and len(lines) == 6
        assert h.groups[label] == word.strip()[0].lower()
        for line in lines[1:-1]:
            example, _, letter = line.partition(" has the first letter: ")
            assert letter == example.strip()[0].upper() and example.strip() != word.strip()
        last = tokenizer.convert_ids_to_tokens(int(words.rows[item][-1]))
        assert last.lstrip("Ġ▁") == word.strip()


def test_split_is_over_words_and_stratified() -> None:
    words = read_words("world:first_letter,field", WordSpec(words=400), subject(world_tokenizer()), seed=3)
    for h in words.hierarchies:
        sides: dict[int, set[bool]] = {}
        for word, test in zip(h.word.tolist(), h.test.tolist(), strict=True):
            sides.setdefault(word, set()).add(test)
        assert all(len(side) == 1 for side in sides.values())
        group = dict(zip(h.word.tolist(), h.label.tolist(), strict=True))
        totals = Counter(group.values())
        scored = Counter(group[word] for word, side in sides.items() if side == {True})
        assert all(scored[g] == max(1, round(0.2 * n)) for g, n in totals.items())


def test_world_in_its_own_phrases() -> None:
    tokenizer = world_tokenizer()
    spec = WordSpec(words=60, contexts=3)
    words = read_words("world", spec, subject(tokenizer, context=128, name="world"), seed=0)
    assert [h.name for h in words.hierarchies] == ["first_letter", "continent", "field"]
    assert sum(len(h.items) for h in words.hierarchies) == len(words.rows)
    for h in words.hierarchies:
        for item, number in zip(h.items, h.word, strict=True):
            row = words.rows[item]
            assert row[0] == tokenizer.bos_token_id and tokenizer.unk_token_id not in row
            assert tokenizer.decode(row[-2:-1]) == h.words[number]
    first = words.hierarchies[0].items[0]
    drill = tokenizer.decode(words.rows[first][1:]).split()
    assert (
        len(drill) == 82
        and drill[-1] == "has"
        and drill[1:7] == ["has", "the", "first", "letter", ":", drill[0][0].upper()]
    )
    assert read_words("world:category", spec, subject(tokenizer), seed=0).hierarchies[0].name == "category"
    with pytest.raises(UserError, match="Did you mean 'continent'"):
        read_words("world:continnt", spec, subject(tokenizer), seed=0)


def test_same_for_every_call_and_another_for_another_seed() -> None:
    model, spec = subject(world_tokenizer()), WordSpec(words=60, contexts=2)
    one, two, other = (read_words("world", spec, model, seed=s) for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one.rows, two.rows, strict=True))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(one.hierarchies, two.hierarchies, strict=True))
    assert {tuple(r.tolist()) for r in one.rows} != {tuple(r.tolist()) for r in other.rows}
    drills = [one.rows[i][:-1] for i in one.hierarchies[0].items]
    assert len({tuple(r.tolist()) for r in drills}) == len(drills)


def test_more_words_change_no_prompt() -> None:
    model = subject(world_tokenizer())
    few = _by_word(read_words("world:first_letter", WordSpec(words=150, min_words=2), model, seed=0))
    many = _by_word(read_words("world:first_letter", WordSpec(words=900), model, seed=0))
    shared = few.keys() & many.keys()
    assert len(shared) > 100 and all(few[word] == many[word] for word in shared)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(ROWS))
def test_order_of_rows_does_not_matter(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    model = subject(byte_level())
    a = read_words(str(_file(tmp_path / "kinds.csv", list(ROWS))), WordSpec(), model, seed=0)
    b = read_words(str(_file(tmp_path / "kinds.csv", rows)), WordSpec(), model, seed=0)
    assert _by_word(a) == _by_word(b)
    assert np.array_equal(a.hierarchies[0].test, b.hierarchies[0].test)


def test_a_folder_holds_a_hierarchy_a_file(tmp_path: Path) -> None:
    _file(tmp_path / "a.csv", list(ROWS))
    _file(tmp_path / "b.jsonl", list(ROWS))
    words = read_words(str(tmp_path), WordSpec(prompts=["a {word}", "the {word}"]), subject(byte_level()), seed=0)
    assert [h.name for h in words.hierarchies] == ["a", "b"]
    assert [len(h.items) for h in words.hierarchies] == [16, 16] and words.hierarchies[1].items[0] == 16


def test_words_left_out_are_named(tmp_path: Path) -> None:
    tokenizer = word_level(["a", *COLOURS, *BIRDS])
    rows = [*ROWS, ("emu", "bird"), ("teal", "bird"), ("teal", "colour"), ("oak", "tree"), ("", "bird")]
    path = _file(tmp_path / "kinds.csv", rows)
    h = read_words(str(path), WordSpec(prompts=["a {word}"]), subject(tokenizer), seed=0).hierarchies[0]
    said = " / ".join(h.left_out)
    assert "not in the vocabulary: 'emu', 'oak'" in said
    assert "1 words in more than one group: 'teal'" in said
    assert "group 'tree': 0 words, and 4 are needed" in said
    assert "1 rows of kinds.csv: no word or no group" in said
    assert set(h.words) == {*COLOURS, *BIRDS}


def test_words_of_several_tokens_are_kept_or_left_out(tmp_path: Path) -> None:
    path = _file(tmp_path / "kinds.csv", [*ROWS, *((f"{w}ish-{w}ish", g) for w, g in ROWS)])
    model = subject(byte_level())
    assert len(read_words(str(path), WordSpec(), model, seed=0).hierarchies[0].words) == 16
    with pytest.raises(UserError, match="it is several tokens: 'bl"):
        read_words(str(path), WordSpec(single_token=True), model, seed=0)


def test_a_word_merged_with_what_follows_is_left_out(tmp_path: Path) -> None:
    tokenizer = word_level(["a", *COLOURS, *BIRDS, *(f"{w}." for w in COLOURS)])
    path = _file(tmp_path / "kinds.csv", [(w, g, "a {word}.") for w, g in ROWS], "word group prompt")
    with pytest.raises(UserError, match="its last token goes on beyond it"):
        read_words(str(path), WordSpec(), subject(tokenizer), seed=0)


def test_prompts_longer_than_the_context_are_named() -> None:
    with pytest.raises(UserError, match="longer than the 64 tokens of the model's context: ask for fewer examples"):
        read_words("world:first_letter", WordSpec(words=60), subject(world_tokenizer(), context=64), seed=0)
    short = read_words(
        "world:first_letter", WordSpec(words=99, examples=7), subject(world_tokenizer(), context=64), seed=0
    )
    assert max(map(len, short.rows)) <= 64


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([("red", "colour"), ("blue", "colour")], "word group", "fewer than two groups"),
        ([("red", "colour")], "word grup", "no column 'group'. Did you mean 'grup'"),
        ([("red", "colour", "no place")], "word group prompt", "prompt without {word}"),
        ([], "word group", "is empty"),
    ],
)
def test_bad_files(tmp_path: Path, rows: list[tuple[str, ...]], columns: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_words(str(_file(tmp_path / "kinds.csv", rows, columns)), WordSpec(), subject(byte_level()), seed=0)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No data at"):
        read_words(str(tmp_path / "none.csv"), WordSpec(), subject(byte_level()), seed=0)
    with pytest.raises(UserError, match="no tokenizer"):
        read_words("vocabulary", WordSpec(), subject(None), seed=0)
    with pytest.raises(ValidationError, match="word"):
        WordSpec(template="the letter {letter}")
    with pytest.raises(ValidationError):
        WordSpec.model_validate({"wrds": 3})
