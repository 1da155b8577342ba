"""A user's own labelled texts: tables, folders, splits by hash, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saebench.data.labelled import LabelledTexts
from saebench.data.labelled_reader import read_labelled
from saebench.data.specs import LabelledSpec
from saebench.errors import UserError

SPEC = LabelledSpec(train=20, test=5, min_train=4, min_test=1)


def rows(sizes: dict[str, int], **more: Any) -> list[dict[str, Any]]:
    """Rows with texts of their own, so many of each label."""
    return [{"text": f"{label} text {i}", "label": label, **more} for label, n in sizes.items() for i in range(n)]


def csv(path: Path, found: list[dict[str, Any]]) -> Path:
    """The rows as a CSV file."""
    pd.DataFrame(found).to_csv(path, index=False)
    return path


def parts(labelled: LabelledTexts, number: int = 0) -> tuple[dict[str, str], dict[str, str]]:
    """Text to class, for train and for test."""
    task = labelled.tasks[number]
    return tuple(
        {labelled.texts[i]: task.classes[c] for i, c in zip(texts, label, strict=True)}
        for texts, label in ((task.train, task.train_label), (task.test, task.test_label))
    )  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_every_kind_of_table_gives_the_same_task(tmp_path: Path, kind: str) -> None:
    found = rows({"a": 20, "b": 20, "c": 20})
    file = tmp_path / f"mine.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, found)))
    elif kind == "json":
        file.write_text(json.dumps(found))
    elif kind == "parquet":
        pd.DataFrame(found).to_parquet(file)
    else:
        csv(file, found)
    labelled = read_labelled(str(file), SPEC, seed=0)
    (task,) = labelled.tasks
    assert (task.name, task.classes, len(task.train), len(task.test)) == ("mine", ("a", "b", "c"), 48, 12)
    assert task.uses == {"probing", "tpp"}
    assert parts(labelled) == parts(read_labelled(found, SPEC, seed=0))
    train, test = parts(labelled)
    assert not set(train) & set(test)
    assert {**train, **test} == {row["text"]: row["label"] for row in found}


def test_the_split_depends_on_seed_and_texts_alone(tmp_path: Path) -> None:
    found = rows({"a": 30, "b": 25})
    one = csv(tmp_path / "one.csv", found)
    before = parts(read_labelled(str(one), SPEC, seed=0))
    shuffled = [found[i] for i in np.random.default_rng(0).permutation(len(found))]
    assert parts(read_labelled(str(csv(tmp_path / "two.csv", shuffled)), SPEC, seed=0)) == before
    assert parts(read_labelled(str(one), SPEC, seed=1)) != before
    csv(tmp_path / "another.csv", rows({"x": 30, "y": 30}))
    together = read_labelled(str(tmp_path), SPEC, seed=0)
    assert [task.name for task in together.tasks] == ["another", "one", "two"]
    assert parts(together, 1) == before
    assert len(set(together.texts)) == len(together.texts) <= 115  # those of one and two are the same


def test_a_column_of_splits_is_honoured(tmp_path: Path) -> None:
    fitted = rows({"a": 6, "b": 6}, split="train")
    scored = [{**row, "text": f"new {row['text']}", "split": "Test"} for row in rows({"a": 3, "b": 2})]
    unused = {"text": "of no use", "label": "b", "split": "validation"}
    labelled = read_labelled(str(csv(tmp_path / "mine.csv", [*scored, *fitted, unused])), SPEC, seed=0)
    train, test = parts(labelled)
    assert set(train) == {row["text"] for row in fitted} and set(test) == {row["text"] for row in scored}
    assert "of no use" not in labelled.texts
    wrong = csv(tmp_path / "wrong.csv", [*fitted, {**fitted[0], "split": "tets"}])
    with pytest.raises(UserError, match="Row 13 of .*split 'tets'.*train or test"):
        read_labelled(str(wrong), SPEC, seed=0)


def test_several_columns_of_labels_are_several_tasks(tmp_path: Path) -> None:
    found = [{"body": f"text {i}", "kind": "ab"[i % 2], "size": str(i % 3)} for i in range(60)]
    file = csv(tmp_path / "mine.csv", found)
    spec = SPEC.model_copy(update={"column": "body", "label": ["kind", "size"]})
    labelled = read_labelled(str(file), spec, seed=0)
    assert [(task.name, task.classes) for task in labelled.tasks] == [
        ("mine kind", ("a", "b")),
        ("mine size", ("0", "1", "2")),
    ]
    only = read_labelled(str(file), spec.model_copy(update={"tasks": ["mine size"]}), seed=0)
    assert [task.name for task in only.tasks] == ["mine size"]
    with pytest.raises(UserError, match="Did you mean 'mine size'"):
        read_labelled(str(file), spec.model_copy(update={"tasks": ["mine sizes"]}), seed=0)


def test_an_attribute_makes_pairs_for_scr(tmp_path: Path) -> None:
    found = [
        {"text": f"{c} {a} {i}", "label": c, "attribute": a}
        for c, a, n in (("x", "m", 30), ("x", "f", 12), ("y", "m", 30), ("y", "f", 30))
        for i in range(n)
    ]
    (pair,) = read_labelled(str(csv(tmp_path / "mine.csv", found)), SPEC, seed=0).pairs
    assert (pair.name, pair.classes, pair.attribute) == ("mine x/y", ("x", "y"), ("f", "m"))
    labelled = read_labelled(found, SPEC, seed=0)
    for texts, classes, values in (
        (pair.train, pair.train_class, pair.train_attribute),
        (pair.test, pair.test_class, pair.test_attribute),
    ):
        counts = np.bincount(2 * classes + values)
        assert len(set(counts.tolist())) == 1 and len(counts) == 4
        for text, c, a in zip(texts, classes, values, strict=True):
            assert labelled.texts[text].split()[:2] == [pair.classes[c], pair.attribute[a]]
    few = [row for row in found if row["text"][:3] != "x f"] + found[30:31]
    left_out = read_labelled(few, SPEC, seed=0).left_out
    assert "pair 'rows x/y': 1 texts of 'x' and 'f' in train, and 2 are needed" in left_out


def test_a_folder_in_the_layout_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pd.DataFrame(rows({"a": 8, "b": 8})).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    pd.DataFrame([{**row, "text": f"new {row['text']}"} for row in rows({"a": 4, "b": 4})]).to_parquet(
        tmp_path / "data" / "test-00000-of-00001.parquet"
    )
    (tmp_path / "dataset_infos.json").write_text("{}")
    labelled = read_labelled(str(tmp_path), SPEC, seed=0)
    train, test = parts(labelled)
    assert len(train) == 16 and len(test) == 8 and all(text.startswith("new") for text in test)
    assert labelled.tasks[0].name == tmp_path.name
    divided = parts(read_labelled(str(tmp_path), SPEC.model_copy(update={"split": "train"}), seed=0))
    assert not any(text.startswith("new") for text in (*divided[0], *divided[1]))
    with pytest.raises(UserError, match="has no split 'dev': it has 'test', 'train'"):
        read_labelled(str(tmp_path), SPEC.model_copy(update={"split": "dev"}), seed=0)


def test_the_dataset_card_says_which_files_belong_to_a_configuration(tmp_path: Path) -> None:
    csv(tmp_path / "one.csv", rows({"a": 10, "b": 10}))
    csv(tmp_path / "two.csv", rows({"x": 10, "y": 10}))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: first\n  data_files: one.csv\n"
        "- config_name: second\n  data_files:\n  - split: train\n    path: two*\n---\n# Mine\n"
    )
    spec = SPEC.model_copy(update={"config": "second"})
    assert read_labelled(str(tmp_path), spec, seed=0).tasks[0].classes == ("x", "y")
    with pytest.raises(UserError, match="Did you mean 'second'"):
        read_labelled(str(tmp_path), spec.model_copy(update={"config": "seconds"}), seed=0)


def test_what_is_left_out_is_named_and_counted() -> None:
    found = [
        *rows({"a": 10, "b": 10, "rare": 3}),
        {"text": "  ", "label": "a"},
        {"text": "no label", "label": None},
        {"text": "a text 0", "label": "a"},
        {"text": "b text 0", "label": "a"},
    ]
    labelled = read_labelled(found, SPEC, seed=0)
    assert labelled.tasks[0].classes == ("a", "b")
    said = " | ".join(labelled.left_out)
    assert "1 rows without a text" in said and "1 rows without a label" in said
    assert "1 rows that say what another says" in said
    assert "1 texts with more than one label: 'b text 0'" in said and "b text 0" not in labelled.texts
    assert "class 'rare' has 2 texts to fit on and 1 to score on, and 4 and 1 are needed" in said
    assert "rare text 0" not in labelled.texts


def test_a_text_in_train_and_in_test_is_kept_in_train() -> None:
    found = [*rows({"a": 6, "b": 6}, split="train"), {"text": "a text 0", "label": "a", "split": "test"}]
    found += [{"text": f"{label} new", "label": label, "split": "test"} for label in "ab"]
    labelled = read_labelled(found, SPEC, seed=0)
    train, test = parts(labelled)
    assert "a text 0" in train and "a text 0" not in test
    assert any("in train and in test, kept in train" in sentence for sentence in labelled.left_out)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (rows({"a": 30}), r"one class only \('a', 30 texts\)"),
        (rows({"a": 30, "b": 2}), r"class 'b' has 1 texts to fit on and 1 to score on.*two are needed"),
        ([{"text": " ", "label": "a"}], "1 rows without a text.*no labelled text"),
    ],
)
def test_too_little_to_probe_is_an_error_that_says_why(found: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_labelled(found, SPEC, seed=0)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    found = rows({"a": 10, "b": 10})
    with pytest.raises(UserError, match=r"No data at .*mine.csv.*Did you mean 'min.csv'"):
        csv(tmp_path / "min.csv", found)
        read_labelled(str(tmp_path / "mine.csv"), SPEC, seed=0)
    renamed = csv(tmp_path / "renamed.csv", [{"text": row["text"], "labels": row["label"]} for row in found])
    with pytest.raises(UserError, match=r"no column 'label'. Did you mean 'labels'"):
        read_labelled(str(renamed), SPEC, seed=0)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"broken.parquet.*cannot be read"):
        read_labelled(str(broken), SPEC, seed=0)
    with pytest.raises(UserError, match="of type int is not understood"):
        read_labelled(3, SPEC, seed=0)
    with pytest.raises(UserError, match="write hf:OWNER/NAME"):
        read_labelled("hf:nobody", SPEC, seed=0, offline=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it holds no row"),
        (b"text;label\na 1;x\nb 2;y\n", "no column 'text'. Its cells are parted by ';': part them by commas"),
        (b"text,label\nso, they said,x\nand, then,y\n", "more cells than there are columns: put cells that hold"),
        ("text,label\nma\u00f1ana,x\n".encode("latin-1"), "it is not UTF-8; save it as that"),
    ],
)
def test_a_csv_that_is_none_is_refused_with_the_fix(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "mine.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_labelled(str(file), SPEC, seed=0)


def test_a_cell_that_holds_several_values_is_refused() -> None:
    """Several labels of a text are several columns, not one class named after a list."""
    several = [{**row, "label": [row["label"], "all"]} for row in rows({"a": 9, "b": 9})]
    with pytest.raises(
        UserError, match=r"Row 1 of .* has a list in column 'label'.*'all'.*Several labels of a text are"
    ):
        read_labelled(several, SPEC, seed=0)


def test_an_attribute_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    file = csv(tmp_path / "mine.csv", rows({"a": 9, "b": 9}, sex="f"))
    with pytest.raises(UserError, match="no column 'sexe'. Did you mean 'sex'"):
        read_labelled(str(file), SPEC.model_copy(update={"attribute": "sexe"}), seed=0)


def test_a_long_label_does_not_fill_the_screen() -> None:
    with pytest.raises(UserError) as error:
        read_labelled(rows({"a" * 9999: 30}), SPEC, seed=0)
    assert len(str(error.value)) < 300


def test_the_sizes_of_sae_probes(tmp_path: Path) -> None:
    spec = LabelledSpec(protocol="last_token")
    (task,) = read_labelled(csv(tmp_path / "small.csv", rows({"0": 300, "1": 500})), spec, seed=0).tasks
    # 600 balanced texts: 500 to fit on, 99 to score on, the odd one of class 1
    assert np.bincount(task.train_label).tolist() == [250, 250]
    assert np.bincount(task.test_label).tolist() == [49, 50]
    (task,) = read_labelled(rows({"0": 2600, "1": 2600}), spec, seed=0).tasks
    assert np.bincount(task.train_label).tolist() == [512, 512]
    assert np.bincount(task.test_label).tolist() == [1987, 1988]  # 5000 - 1024 - 1
    with pytest.raises(UserError, match="no more than the 100 texts that are kept for scoring"):
        read_labelled(rows({"0": 45, "1": 45}), spec, seed=0)
