"""Facts: the entity's place, the values' tokens, the split over entities, and what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from saebench.data.boundaries import word_boundaries
from saebench.data.facts import EntityPrompts
from saebench.data.facts_file import HUB_TYPES
from saebench.data.facts_reader import read_facts
from saebench.data.prompt_specs import EntitySpec
from saebench.errors import UserError
from tests.helpers.tokenizers import NoOffsets, byte_level, sentence_piece, subject, word_level, world_tokenizer

CITIES = {
    "Paris": ("France", "Europe"),
    "Berlin": ("Germany", "Europe"),
    "New Tokyo": ("Japan", "Asia"),
    "Osaka": ("Japan", "Asia"),
    "Lyon": ("France", "Europe"),
}
TEMPLATES = {
    "Country": ["%s is in the country of", "Not %s! I mean %s, a city of ", '{"city": "%s", "country": "'],
    "Continent": ["%s is on the continent of", "The continent of %s is"],
    "Timezone": ["%s keeps the time of"],
}


def _ravel(folder: Path, type_: str = "city") -> Path:
    facts = {city: {"Country": a, "Continent": b, "Mayor": "x"} for city, (a, b) in CITIES.items()}
    folder.mkdir(exist_ok=True)
    (folder / f"ravel_{type_}_entity_attributes.json").write_text(json.dumps(facts))
    (folder / f"ravel_{type_}_attribute_to_prompts.json").write_text(json.dumps(TEMPLATES))
    return folder


def _rows() -> list[tuple[str, str, str]]:
    pairs = [(city, attribute, value) for city, both in CITIES.items()
             for attribute, value in zip(("country", "continent"), both, strict=True)]  # fmt: skip
    return pairs


def _csv(path: Path, rows: list[tuple[str, ...]], columns: str = "entity attribute value") -> Path:
    pd.DataFrame(rows, columns=columns.split()).to_csv(path, index=False)
    return path


def _by_prompt(prompts: EntityPrompts) -> dict[tuple[str, str, int], tuple[tuple[int, ...], int]]:
    found = {}
    for i, row in enumerate(prompts.rows):
        kind = prompts.types[prompts.type[i]]
        key = (kind.entities[prompts.entity[i]], list(kind.attributes)[prompts.attribute[i]], int(prompts.template[i]))
        found[key] = (tuple(row.tolist()), int(prompts.position[i]))
    return found


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_level(bos=False), sentence_piece(), NoOffsets(byte_level())])
def test_ravel_layout(tmp_path: Path, tokenizer: Any) -> None:
    prompts = read_facts(str(_ravel(tmp_path / "base")), EntitySpec(), subject(tokenizer), seed=0)
    (city,) = prompts.types
    assert city.name == "city" and list(city.attributes) == ["Continent", "Country"]
    assert len(prompts.rows) == 5 * 4
    assert any("value would follow without a space" in x and '"country": "' in x for x in prompts.left_out)
    for i, row in enumerate(prompts.rows):
        name = city.entities[prompts.entity[i]]
        text = tokenizer.decode(row, skip_special_tokens=True)
        upto = tokenizer.decode(row[: prompts.position[i] + 1], skip_special_tokens=True)
        assert upto.endswith(name) and text.count(name) == upto.count(name)
        assert not text.endswith(" ")
        assert (row[0] == tokenizer.bos_token_id) == (tokenizer.bos_token is not None)
        attribute = list(city.attributes)[prompts.attribute[i]]
        value = city.attributes[attribute][prompts.entity[i]]
        whole = tokenizer.decode([*row, *prompts.labels[value]], skip_special_tokens=True)
        assert whole == f"{text} {value}"


def test_the_last_mention_counts(tmp_path: Path) -> None:
    tokenizer = byte_level()
    prompts = read_facts(str(_ravel(tmp_path / "x")), EntitySpec(), subject(tokenizer), seed=0)
    texts = [tokenizer.decode(row[: p + 1], skip_special_tokens=True) for row, p in
             zip(prompts.rows, prompts.position, strict=True)]  # fmt: skip
    assert "Not New Tokyo! I mean New Tokyo" in texts


def test_world() -> None:
    tokenizer = world_tokenizer()
    prompts = read_facts("world", EntitySpec(), subject(tokenizer, context=128, name="world"), seed=0)
    assert {t.name for t in prompts.types} == {"person", "city", "beast", "mineral", "country"}
    assert prompts.left_out == () and prompts.boundary.all() and len(prompts.boundary) == len(tokenizer)
    for kind in prompts.types:
        assert int(kind.test.sum()) == round(0.3 * len(kind.entities))
        assert all(len(values) == len(kind.entities) for values in kind.attributes.values())
    for i, row in enumerate(prompts.rows):
        kind = prompts.types[prompts.type[i]]
        name = kind.entities[prompts.entity[i]]
        before = tokenizer.decode(row[1 : prompts.position[i] + 1])
        assert before.endswith(f"{name} ,") and name not in tokenizer.decode(row[prompts.position[i] + 1 :])
        assert all(len(prompts.labels[values[prompts.entity[i]]]) == 1 for values in kind.attributes.values())
    only = read_facts("world", EntitySpec(types={"blight": ["carrier", "symptom"]}), subject(tokenizer), seed=0)
    assert list(only.types[0].attributes) == ["carrier", "symptom"]


def test_same_for_every_call_and_more_entities_change_no_prompt() -> None:
    model = subject(world_tokenizer())
    few = read_facts("world", EntitySpec(entities=20), model, seed=0)
    again = read_facts("world", EntitySpec(entities=20), model, seed=0)
    many = _by_prompt(read_facts("world", EntitySpec(), model, seed=0))
    assert _by_prompt(few) == _by_prompt(again)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(few.types, again.types, strict=True))
    assert all(many[key] == value for key, value in _by_prompt(few).items())
    assert any(
        not np.array_equal(a.test, b.test)
        for a, b in zip(few.types, read_facts("world", EntitySpec(entities=20), model, seed=1).types, strict=True)
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(_rows()))
def test_order_of_rows_does_not_matter(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    model = subject(byte_level())
    a = read_facts(str(_csv(tmp_path / "city.csv", list(_rows()))), EntitySpec(), model, seed=0)
    b = read_facts(str(_csv(tmp_path / "city.csv", rows)), EntitySpec(), model, seed=0)
    assert _by_prompt(a) == _by_prompt(b) and a.labels == b.labels
    assert np.array_equal(a.types[0].test, b.types[0].test)
    assert a.types[0].name == "city"


def test_unknown_entities_and_values_are_named(tmp_path: Path) -> None:
    words = ["The", "country", "continent", "of", "is", *["Paris", "Berlin", "Osaka", "Lyon", "New", "Tokyo"]]
    tokenizer = word_level([*words, "France", "Germany", "Japan", "Europe", "Asia"])
    rows = [*_rows(), ("Atlantis", "country", "Sea"), ("Atlantis", "continent", "Sea"), ("Lima", "country", "Peru"),
            ("Berlin", "language", "German")]  # fmt: skip
    path = _csv(tmp_path / "city.csv", rows)
    spec = EntitySpec(types={"city": ["country", "continent"]})
    prompts = read_facts(str(path), spec, subject(tokenizer), seed=0)
    said = " / ".join(prompts.left_out)
    assert "the entity cannot be placed (it is not in the vocabulary): 'Atlantis'" in said
    assert "entities without all attributes: 'Lima'" in said
    assert prompts.types[0].entities == ("Berlin", "Lyon", "New Tokyo", "Osaka", "Paris")
    no_asia = word_level([*words, "France", "Germany", "Japan", "Europe"])
    short = read_facts(str(path), spec, subject(no_asia), seed=0)
    assert any("value is not in the vocabulary" in x and "'Asia'" in x for x in short.left_out)
    assert "Asia" not in short.labels


def test_limits_are_drawn_and_long_prompts_named(tmp_path: Path) -> None:
    path = str(_ravel(tmp_path / "x"))
    prompts = read_facts(path, EntitySpec(entities=4, templates=1), subject(byte_level()), seed=0)
    assert len(prompts.types[0].entities) == 4 and len(prompts.rows) == 8
    with pytest.raises(UserError, match="longer than the 4 tokens"):
        read_facts(path, EntitySpec(), subject(byte_level(), context=4), seed=0)


@pytest.mark.parametrize("tokenizer", [byte_level(), sentence_piece()])
def test_boundaries_are_what_does_not_go_on_with_a_word(tokenizer: Any) -> None:
    boundary = word_boundaries(subject(tokenizer))
    ids = tokenizer.get_vocab()
    mark = "Ġ" if "Ġ" in ids else "▁"
    for token, follows in {"a": False, "7": False, mark: True, mark + "a": True, ".": True, "<eos>": True}.items():
        if token in ids:
            assert boundary[ids[token]] == follows, token
    for token in ("Ċ", "\n"):
        assert token not in ids or boundary[ids[token]]
    for first, second in (("Par", "is"), ("Paris", " is"), ("Paris", "."), ("Paris", "\n")):
        whole = tokenizer(first + second, add_special_tokens=False)["input_ids"]
        alone = tokenizer(first, add_special_tokens=False)["input_ids"]
        if whole[: len(alone)] == alone:
            assert boundary[whole[len(alone)]] == (not second[0].isalnum())


def test_bad_input(tmp_path: Path) -> None:
    model, spec = subject(byte_level()), EntitySpec()
    with pytest.raises(UserError, match="no column 'value'"):
        read_facts(str(_csv(tmp_path / "a.csv", [("x", "y", "z")], "entity attribute valve")), spec, model, seed=0)
    with pytest.raises(UserError, match="two values of 'country'"):
        read_facts(str(_csv(tmp_path / "b.csv", [*_rows(), ("Paris", "country", "Texas")])), spec, model, seed=0)
    with pytest.raises(UserError, match="lacks an entity"):
        read_facts(str(_csv(tmp_path / "c.csv", [*_rows(), ("Paris", "", "Texas")])), spec, model, seed=0)
    with pytest.raises(UserError, match="isolation needs 2"):
        one = [row for row in _rows() if row[1] == "country"]
        read_facts(str(_csv(tmp_path / "d.csv", one)), spec, model, seed=0)
    with pytest.raises(UserError, match="Did you mean 'city'"):
        read_facts("world", EntitySpec(types=["cty"]), model, seed=0)
    folder = _ravel(tmp_path / "e")
    (folder / "ravel_city_attribute_to_prompts.json").unlink()
    with pytest.raises(UserError, match="'ravel_city_attribute_to_prompts.json' is missing"):
        read_facts(str(folder), spec, model, seed=0)
    with pytest.raises(ValidationError):
        EntitySpec(prompts=["where?"])


def test_the_hub_is_refused_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not in the local cache.*ravel_city_entity_attributes.json"):
        read_facts("saebench", EntitySpec(), subject(byte_level()), seed=0, offline=True)
    assert HUB_TYPES["city"] == ["Country", "Continent", "Language"]
