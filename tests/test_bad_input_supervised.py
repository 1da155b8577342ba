"""Labels, settings and data that are not as they should be: said in a sentence or on the row, never passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import saebench as sb

SMALL = {"source": "world:field", "train": 20, "test": 10}


def _evaluate(metric: list[Any], data: dict[str, Any]) -> sb.Results:
    suite = {"name": "q", "metric": metric, "references": {"null": None, "baseline": None}}
    return sb.evaluate("world:topk-mid", suite, model="world", data=data)


def _rows(folder: Path, rows: list[tuple[str, str]], name: str = "mine.jsonl") -> str:
    file = folder / name
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return str(file)


def _two(count: int = 40) -> list[tuple[str, str]]:
    words = ("the man", "the woman")
    return [(f"{words[i % 2]} {i} is here", "ab"[i % 2]) for i in range(2 * count)]


def test_a_row_names_the_classes_that_were_left_out_with_their_counts(tmp_path: Path) -> None:
    few = _rows(tmp_path, [*_two(), ("x 1 y", "c"), ("x 2 y", "c"), ("x 3 y", ""), ("", "a")])
    rows = _evaluate(["sparse_probing"], {"probing": few}).rows
    for row in rows:
        said = " ".join(row.warnings)
        assert "'c' has 1 texts to fit on and 1 to score on" in said
        assert "without a label" in said
        assert "without a text" in said
        assert len(set(row.warnings)) == len(row.warnings)


def test_texts_of_special_tokens_alone_are_left_out(tmp_path: Path) -> None:
    hollow = [("<bos>" * (i + 1), "ab"[i % 2]) for i in range(30)]
    rows = _evaluate(["sparse_probing"], {"probing": _rows(tmp_path, [*_two(), *hollow])}).rows
    alone = _evaluate(["sparse_probing"], {"probing": _rows(tmp_path, _two(), "alone.jsonl")}).rows
    assert any("30 rows whose text is special tokens alone" in warning for warning in rows[0].warnings)
    assert rows[0].value == alone[0].value


@pytest.mark.parametrize(
    ("metric", "data", "words"),
    [
        ({"sparse_probing": {"pooling": "median"}}, {"probing": SMALL}, ["median", "mean"]),
        ({"sparse_probing": {"k": [0]}}, {"probing": SMALL}, ["'k'", "at least 1", "[0]"]),
        ({"tpp": {"n": [-1]}}, {"probing": SMALL}, ["'n'", "at least 1", "[-1]"]),
        ({"tpp": {"c": 0}}, {"probing": SMALL}, ["'c'", "above 0", "100.0"]),
        ("sparse_probing", {"nonsense": "x"}, ["nonsense", "probing"]),
        ("sparse_probing", {"probing": "no_such_file.csv"}, ["no_such_file.csv"]),
    ],
)
def test_refused_in_a_sentence(metric: Any, data: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(sb.UserError) as error:
        _evaluate([metric], data)
    for word in words:
        assert word in str(error.value)
    assert ".git" not in str(error.value)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"text": "a", "label": 1}\n\n{nope\n')
    with pytest.raises(sb.UserError, match="Line 3 of "):
        _evaluate(["sparse_probing"], {"probing": str(file)})


def test_labels_that_are_numbers_do_not_fill_the_screen(tmp_path: Path) -> None:
    many = _rows(tmp_path, [(f"the man {i} is here", str(i / 7)) for i in range(90)])
    with pytest.raises(sb.UserError) as error:
        _evaluate(["sparse_probing"], {"probing": many})
    assert "more like these" in str(error.value)
    assert len(str(error.value)) < 900


def test_fetch_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client's own kind of error must not come through as a traceback."""
    import huggingface_hub

    from saebench import local_caches
    from saebench.data import hub_data

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(sb.UserError, match=r"Cannot get model 'a/b': the hub cannot be reached"):
        local_caches.get_model("a/b", None)
    with pytest.raises(sb.UserError, match="cannot be read from the hub"):
        hub_data.download(hub_data.parse("hf:a/b"))
