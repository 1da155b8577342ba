"""Documents from every kind of source, and the corpus they become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

import saebench as sb
from saebench.data.corpus import BLOCKS, build_corpus
from saebench.data.texts import Text, default_source, read_texts
from saebench.suite import TextSpec
from tests.helpers.toys import BOS, VOCABULARY

WORDS = [f"w{i}" for i in range(3, VOCABULARY)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model with a word tokenizer that knows w3 ... w39."""
    from tests.helpers.toys import tiny_llama

    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2, **{word: i + 3 for i, word in enumerate(WORDS)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    return sb.load_model(tiny_llama(), tokenizer=tokenizer)


def _spec(**changes: Any) -> TextSpec:
    return TextSpec(**{"source": "x", "context": 6, **changes})


TEXTS = ["w3 w4 w5", "w6 w7 w8 w9 w10 w11 w12", "w13"]


def _write(folder: Path, form: str) -> Path:
    import pandas as pd

    frame = pd.DataFrame({"text": TEXTS, "domain": ["a", "b", "a"]})
    path = folder / f"texts.{form}"
    if form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif form == "json":
        path.write_text(json.dumps(frame.to_dict("records")))
    elif form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        path.write_text("\n\n".join(TEXTS))
    return path


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet", "txt"])
def test_every_file_form_gives_the_same_documents(tmp_path: Path, form: str) -> None:
    read = list(read_texts(_write(tmp_path, form), _spec()))
    assert [text.text for text in read] == TEXTS
    if form != "txt":
        assert [text.labels["domain"] for text in read] == ["a", "b", "a"]


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    _write(tmp_path, "csv")
    _write(tmp_path, "jsonl")
    assert [text.text for text in read_texts(tmp_path, _spec())] == TEXTS * 2
    (tmp_path / "none").mkdir()
    with pytest.raises(sb.UserError, match="no readable data"):
        list(read_texts(tmp_path / "none", _spec()))


@pytest.mark.parametrize("form", ["npy", "safetensors"])
def test_token_ids_are_taken_as_they_are(tmp_path: Path, form: str) -> None:
    from safetensors.numpy import save_file

    ids = np.array([[1, 5, 6], [1, 7, 8]])
    path = tmp_path / f"rows.{form}"
    np.save(path, ids) if form == "npy" else save_file({"tokens": ids}, path)
    assert [text.ids for text in read_texts(path, _spec())] == [(1, 5, 6), (1, 7, 8)]


def test_the_hub_is_refused_offline() -> None:
    with pytest.raises(sb.UserError, match="offline"):
        list(read_texts("hf:some/data", _spec(), offline=True))


def test_the_default_text_fits_the_model(model: Any) -> None:
    """The world's documents are for the world's model only; another model gets web text, or a clear sentence."""
    with pytest.raises(sb.UserError, match="openwebtext.*--data text="):
        build_corpus("text", "default", _spec(), model, offline=True)
    assert default_source("world") == "world" and default_source("gpt2").startswith("hf:")


def test_documents_become_rows_with_bos_in_front(model: Any) -> None:
    corpus = build_corpus("text", TEXTS, _spec(), model)
    rows = [corpus.row(i).tolist() for i in range(corpus.rows)]
    assert rows == [[1, 3, 4, 5], [1, 6, 7, 8, 9, 10], [1, 11, 12], [1, 13]]
    assert corpus.documents.tolist() == [0, 1, 1, 2] and corpus.content == 11
    assert corpus.blocks.tolist() == [0, 1, 1, 2]
    bare = build_corpus("text", TEXTS, _spec(prepend_bos=False), model)
    assert bare.row(1).tolist() == [6, 7, 8, 9, 10, 11]


def test_bos_is_not_doubled_and_special_text_is_not_content(model: Any) -> None:
    corpus = build_corpus("text", ["<bos> w3 w4", "w5 <eos> w6"], _spec(), model)
    assert corpus.row(0).tolist() == [1, 3, 4]
    assert corpus.content == 4


def test_the_budgets_stop_the_reading(model: Any) -> None:
    def endless() -> Any:
        while True:
            yield "w3 w4 w5"

    assert build_corpus("text", endless(), _spec(tokens=10), model).content == 12
    assert build_corpus("text", endless(), _spec(documents=3, tokens=None), model).content == 9


def test_documents_fall_into_at_most_so_many_blocks_in_order(model: Any) -> None:
    corpus = build_corpus("text", ["w3 w4"] * 1000, _spec(tokens=None), model)
    assert len(set(corpus.blocks)) == BLOCKS and (np.diff(corpus.blocks) >= 0).all()
    sizes = np.bincount(corpus.blocks)
    assert sizes.max() - sizes.min() <= 1


def test_the_hash_sees_tokens_rows_and_domains(model: Any) -> None:
    def hash_of(texts: list, **changes: Any) -> str:
        return build_corpus("text", texts, _spec(**changes), model).hash

    base = hash_of(TEXTS)
    assert hash_of(list(TEXTS)) == base
    others = [hash_of(TEXTS[:2]), hash_of(TEXTS, context=4), hash_of([Text(t, labels={"domain": "a"}) for t in TEXTS])]
    assert base not in others and len(set(others)) == 3


def test_domains_become_slices(model: Any, tmp_path: Path) -> None:
    from tests.helpers.toys import ToySAE

    results = sb.evaluate(ToySAE(), "core", model=model, data={"text": str(_write(tmp_path, "jsonl"))})
    slices = {r.slice for r in results.rows if r.metric == "nmse_by_domain"}
    assert slices == {"domain=a", "domain=b"}


def test_frequencies_are_shares_of_the_valid_tokens(model: Any) -> None:
    from saebench.engine.batches import frequencies

    corpus = build_corpus("text", ["w3 w3 w4", "w3"], _spec(), model)
    share = frequencies(corpus, VOCABULARY, torch.device("cpu"))
    assert share[3] == pytest.approx(0.75) and share[4] == pytest.approx(0.25) and share[BOS] == 0


def test_a_model_without_a_tokenizer_takes_ids_only(llama: nn.Module) -> None:
    model = sb.load_model(llama)
    assert build_corpus("text", torch.tensor([[1, 5, 6]]), _spec(), model).content == 2
    with pytest.raises(sb.UserError, match="tokenizer"):
        build_corpus("text", ["w3"], _spec(), model)


def test_the_row_that_meets_the_budget_is_the_last(model: Any) -> None:
    long = Text(text=" ".join(WORDS * 3), token_labels={"word": WORDS * 3})
    corpus = build_corpus("text", [long], _spec(tokens=12, context=6), model)
    assert (corpus.rows, corpus.content) == (3, 15)
    assert corpus.marks is not None
    assert len(corpus.marks.ids) == len(corpus.tokens)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"text": "w3 w4"}\r\n{"text": "w5"}\r\n'),
        ("bom.txt", b"\xef\xbb\xbfw3 w4\r\n\r\nw5\r\n"),
        ("bom.csv", b"\xef\xbb\xbftext\r\nw3 w4\r\nw5\r\n"),
        ("lines.json", b'{"text": "w3 w4"}\n{"text": "w5"}\n'),
        ("separator.jsonl", '{"text": "w3\u2028w4"}\n{"text": "w5"}\n'.encode()),
    ],
)
def test_marks_and_ends_of_lines_are_no_text(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert [text.text.split() for text in read_texts(tmp_path / name, _spec())] == [["w3", "w4"], ["w5"]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("latin.txt", "caf\u00e9".encode("latin-1"), "not UTF-8"),
        ("latin.jsonl", '{"text": "caf\u00e9"}'.encode("latin-1"), "not UTF-8"),
        ("wide.txt", "w3 w4".encode("utf-16"), "not UTF-8"),
        ("cut.json", b'[{"text": "w3"}, {"te', "not JSON"),
        ("parts.jsonl", b'{"text": ["w3", "w4"]}', "holds a list"),
        ("number.jsonl", b'{"text": 3.5}', "holds a float"),
        ("empty.csv", b"", "holds no row"),
        ("damaged.parquet", b"PAR1", "cannot be read"),
        ("damaged.npy", b"not numbers", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(sb.UserError, match=said):
        list(read_texts(tmp_path / name, _spec()))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_row_without_text_is_empty_and_none_is_a_word(form: str, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"text": ["w3", None, "None"]})
    path = tmp_path / f"texts.{form}"
    {"jsonl": lambda: frame.to_json(path, orient="records", lines=True), "csv": lambda: frame.to_csv(path, index=False),
     "parquet": lambda: frame.to_parquet(path)}[form]()  # fmt: skip
    assert [text.text for text in read_texts(path, _spec())] == ["w3", "", "None"]


def test_of_a_folder_with_splits_one_is_read_and_what_describes_it_is_not(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}-0.jsonl").write_text(json.dumps({"text": split}))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"text": "about it"}))
    assert [text.text for text in read_texts(tmp_path, _spec())] == ["train"]
    assert [text.text for text in read_texts(tmp_path, _spec(split="test"))] == ["test"]
    with pytest.raises(sb.UserError, match="no split 'dev'"):
        read_texts(tmp_path, _spec(split="dev"))


def test_a_text_file_is_a_document_a_paragraph_or_a_line(tmp_path: Path) -> None:
    spec = TextSpec()
    for name, said in (("parted", "w3 w4\nw5\n\nw6\n"), ("lines", "w3 w4\n  w5\nw6"), ("one", "w3 w4\n")):
        (tmp_path / f"{name}.txt").write_text(said)
    found = {
        name: [text.text for text in read_texts(tmp_path / f"{name}.txt", spec)] for name in ("parted", "lines", "one")
    }
    assert found == {"parted": ["w3 w4\nw5", "w6"], "lines": ["w3 w4", "w5", "w6"], "one": ["w3 w4"]}
    (tmp_path / "stray.txt").write_text("w3\n" * 60 + "\n" + "w4\n" * 60 + "\n\n")
    assert len(list(read_texts(tmp_path / "stray.txt", spec))) == 120, "one blank line in 120 parts no paragraphs"
    for name in ("parted", "stray"):
        (tmp_path / f"{name}.txt").unlink()
    assert [text.text for text in read_texts(tmp_path, spec)] == ["w3 w4\n  w5\nw6", "w3 w4"], "a file a document"


def test_a_model_with_a_short_context(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a corpus that it cannot take are refused with the option to change; a labelled text is cut."""
    from saebench.data.corpus import truncated
    from saebench.data.specs import LabelledSpec

    monkeypatch.setattr(model, "max_context", 4)
    with pytest.raises(sb.UserError, match="rows of 6 tokens, more than the 4 that .* accepts: give --context 4"):
        build_corpus("text", TEXTS, _spec(), model)
    assert build_corpus("text", ["w3 w4 w5"], _spec(), model).context == 6, "no row is that long"
    ids = np.arange(3, 12, dtype=np.int32)
    assert truncated(ids, LabelledSpec(), model).tolist() == [BOS, 3, 4, 5]
    assert truncated(ids, LabelledSpec(truncate="left"), model).tolist() == [BOS, 9, 10, 11]
