"""Datasets of the hub: the reference suite's and others, from a hub on the loopback and from the cache."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest

from saebench.data import labelled_sae_probes
from saebench.data.labelled import LabelledTexts
from saebench.data.labelled_hub import AMAZON, BIOS, CODE, EUROPARL, LANGUAGES, NEWS, PROFESSIONS, REVISIONS
from saebench.data.labelled_reader import read_labelled
from saebench.data.labelled_saebench import task_names
from saebench.data.specs import LabelledSpec
from saebench.errors import UserError
from tests.helpers.hub import COMMIT, serving

SPEC = LabelledSpec(train=8, test=4, min_train=8, min_test=4)


def parquet(rows: list[dict[str, object]]) -> bytes:
    """Rows as a Parquet file."""
    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


def reference() -> dict[str, dict[str, bytes]]:
    """The reference suite's datasets in small: columns, types and file names, and texts that say their labels."""
    repos: dict[str, dict[str, bytes]] = {}
    for part, count in (("train", 8), ("test", 4)):
        bios = [
            {"hard_text": f"{name} {gender} {part} {i}", "profession": number, "gender": gender}
            for number, name in enumerate(PROFESSIONS) for gender in (0, 1) for i in range(count)
        ]  # fmt: skip
        reviews = [
            {"text": f"{category} {rating} {part} {i}", "category": category, "rating": rating}
            for category in range(34) for rating in (1.0, 5.0) for i in range(count)
        ]  # fmt: skip
        news = [{"text": f"{label} {part} {i}", "label": label} for label in range(4) for i in range(count)]
        for repo, rows in ((BIOS, bios), (AMAZON, reviews), (NEWS, news)):
            hashed = "-0ab65b32c47407e8" if repo == BIOS else ""
            repos.setdefault(f"datasets/{repo}", {})[f"data/{part}-00000-of-00001{hashed}.parquet"] = parquet(rows)
    paths = {"C": "a.h", "Python": "b/c.py", "HTML": "d.html", "Java": "e.java", "PHP": "f.php5", "C++": "g.H"}
    code = [
        {"content": "licence" * 30 + f"{language} {i} " + "x" * 400, "path": path, "size": 1}
        for i in range(20) for language, path in paths.items()
    ]  # fmt: skip
    code.insert(0, {"content": "short", "path": "a.c", "size": 1})
    repos[f"datasets/{CODE}"] = {f"data/train-{i:05d}-of-01126.parquet": parquet(code) for i in range(2)}
    repos[f"datasets/{EUROPARL}"] = {
        f"{pair}/train-{i:05d}-of-00002.parquet": parquet(
            [{"translation": {side: f"{side} {pair} {j}" for side in pair.split("-")}} for j in range(20)]
        )
        for pair in LANGUAGES.values() for i in range(2)
    }  # fmt: skip
    return repos


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path) -> Iterator[list[str]]:
    """A hub with the reference's datasets; what it is asked."""
    with serving(reference()) as asked:
        yield asked


def test_the_reference_suite_reads_as_it_describes_itself(hub: list[str]) -> None:
    labelled = read_labelled("saebench", SPEC, seed=42)
    tasks = {task.name: task for task in labelled.tasks}
    assert {name: len(task.classes) for name, task in tasks.items()} == {
        "bias_in_bios_class_set1": 5, "bias_in_bios_class_set2": 5, "bias_in_bios_class_set3": 5,
        "amazon_reviews": 5, "amazon_reviews_sentiment": 2, "github-code": 5, "ag_news": 4, "europarl": 5,
    }  # fmt: skip
    assert sum(len(task.classes) for task in tasks.values()) == 36
    assert [name for name, task in tasks.items() if "tpp" in task.uses] == ["bias_in_bios_class_set1", "amazon_reviews"]
    assert [pair.name for pair in labelled.pairs] == [
        "bias_in_bios professor/nurse", "bias_in_bios architect/journalist", "bias_in_bios surgeon/psychologist",
        "bias_in_bios attorney/teacher", "amazon Books/CDs_and_Vinyl", "amazon Software/Electronics",
        "amazon Pet_Supplies/Office_Products", "amazon Industrial_and_Scientific/Toys_and_Games",
    ]  # fmt: skip
    assert tasks["bias_in_bios_class_set2"].classes == ("journalist", "nurse", "painter", "photographer", "physician")
    for task in tasks.values():
        assert Counter(task.train_label.tolist()) == dict.fromkeys(range(len(task.classes)), 8)
        assert Counter(task.test_label.tolist()) == dict.fromkeys(range(len(task.classes)), 4)
    assert len(set(labelled.texts)) == len(labelled.texts)
    assert labelled.left_out == ()


def words(labelled: LabelledTexts, name: str, c: int) -> list[list[str]]:
    """The texts of one class of a task, train and then test, in words."""
    task = next(task for task in labelled.tasks if task.name == name)
    return [labelled.texts[i].split() for i in (*task.train[task.train_label == c], *task.test[task.test_label == c])]


def test_labels_halves_and_parts_are_those_of_the_dataset(hub: list[str]) -> None:
    labelled = read_labelled("saebench", SPEC, seed=42)
    lawyers = words(labelled, "bias_in_bios_class_set1", 2)
    assert {text[0] for text in lawyers} == {"attorney"}
    assert [text[2] for text in lawyers] == ["train"] * 8 + ["test"] * 4
    assert Counter(text[1] for text in lawyers[:8]) == {"0": 4, "1": 4}  # as many men as women
    instruments = words(labelled, "amazon_reviews", 3)
    assert {text[0] for text in instruments} == {"5"} and Counter(t[1] for t in instruments) == {"1.0": 6, "5.0": 6}
    assert {text[1] for text in words(labelled, "amazon_reviews_sentiment", 1)} == {"5.0"}
    assert {text[0] for text in words(labelled, "ag_news", 3)} == {"3"}
    assert {tuple(text[:2]) for text in words(labelled, "europarl", 4)} == {("nl", "nl-pt")}
    code = [" ".join(text) for text in words(labelled, "github-code", 1)]
    assert all("Python" in text and text.startswith("licence" * 3) is False for text in code)
    assert all(len(text) > 384 for text in code)
    pair = labelled.pairs[0]
    for i, c, a in zip(pair.train, pair.train_class, pair.train_attribute, strict=True):
        assert labelled.texts[i].split()[:2] == [("professor", "nurse")[c], str(a)]


def test_reviews_are_found_wherever_the_dataset_keeps_them(cache: Path) -> None:
    rows = reference()[f"datasets/{AMAZON}"].items()
    with serving({f"datasets/{AMAZON}": {f"reviews/{name.removeprefix('data/')}": table for name, table in rows}}):
        labelled = read_labelled("saebench", SPEC.model_copy(update={"tasks": ["amazon_reviews"]}), seed=42)
    assert [text[2] for text in words(labelled, "amazon_reviews", 3)] == ["train"] * 8 + ["test"] * 4


def test_what_was_fetched_once_is_read_without_a_network(hub: list[str]) -> None:
    online = read_labelled("saebench", SPEC, seed=42)
    assert not any("train-00001-of" in path for path in hub)  # one shard is enough
    for repo, revision in REVISIONS.items():
        got = [path for path in hub if path.startswith(f"datasets/{repo}/resolve/")]
        assert got and all(f"/resolve/{revision or COMMIT}/" in path for path in got)
    hub.clear()
    offline = read_labelled("saebench", SPEC, seed=42, offline=True)
    assert offline.texts == online.texts and hub == []
    only = read_labelled("saebench", SPEC.model_copy(update={"tasks": ["ag_news"]}), seed=42, offline=True)
    assert [task.name for task in only.tasks] == ["ag_news"]
    assert words(only, "ag_news", 0) == words(online, "ag_news", 0)


def test_a_dataset_that_is_not_there_is_named(cache: Path) -> None:
    only = SPEC.model_copy(update={"tasks": ["europarl"]})
    with pytest.raises(UserError, match=r"hf:Helsinki-NLP/europarl@ab45.*--offline was given.*saebench fetch"):
        read_labelled("saebench", only, seed=0, offline=True)
    with serving({}), pytest.raises(UserError, match="hf:mine/none' cannot be read from the hub: .*404"):
        read_labelled("hf:mine/none", SPEC, seed=0)
    with pytest.raises(UserError, match="Did you mean 'europarl'"):
        read_labelled("saebench", SPEC.model_copy(update={"tasks": ["europarla"]}), seed=0)
    assert "bias_in_bios_class_set1" in task_names()


def test_any_dataset_of_the_hub_is_read_by_its_columns(cache: Path) -> None:
    rows = [{"body": f"{c} {i}", "topic": c} for c in ("x", "y") for i in range(20)]
    files = {"data/train-00000-of-00001.parquet": parquet(rows), "model.bin": b"not wanted"}
    with serving({"datasets/mine/topics": files}) as asked:
        spec = LabelledSpec(train=8, test=4, min_test=2, min_train=4, column="body", label="topic")
        labelled = read_labelled("hf:mine/topics", spec, seed=0)
        assert labelled.tasks[0].name == "topics" and labelled.tasks[0].classes == ("x", "y")
        assert not any("model.bin" in path for path in asked)
        pinned = read_labelled(f"hf:mine/topics@{COMMIT}", spec, seed=0, offline=True)
        assert pinned.texts == labelled.texts


def test_a_shard_that_is_missing_is_not_taken_for_the_whole(cache: Path) -> None:
    folder = cache / "datasets--mine--topics" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00002.parquet").write_bytes(parquet([{"text": "a", "label": "b"}]))
    with pytest.raises(UserError, match="not in the local cache"):
        read_labelled(f"hf:mine/topics@{COMMIT}", SPEC, seed=0, offline=True)


def test_the_113_datasets_of_sae_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = labelled_sae_probes.task_names()
    assert len(names) == len(set(names)) == 113
    spec = LabelledSpec(protocol="last_token", tasks=["87_glue_cola", "96_spam_is"], truncate="left")
    folder = tmp_path / "cleaned_data"
    folder.mkdir()
    frame = pd.DataFrame({"prompt": [f"None {i}" for i in range(400)], "target": [i % 2 for i in range(400)]})
    frame.to_csv(folder / "96_spam_is.csv.gz", index=False)
    import pyarrow as pa

    with pa.output_stream(str(folder / "87_glue_cola.csv.zst"), compression="zstd") as stream:
        stream.write(frame.to_csv(index=False).encode())
    labelled = read_labelled(f"sae-probes:{tmp_path}", spec, seed=0)
    assert [task.name for task in labelled.tasks] == ["87_glue_cola", "96_spam_is"]
    assert [(len(task.train), len(task.test)) for task in labelled.tasks] == [(300, 99), (300, 99)]
    assert len(labelled.texts) == 399  # both draw the same of the same texts
    with pytest.raises(UserError, match=r"holds no 5_hist_fig_ismale.csv and 110 more.*pip install"):
        read_labelled(f"sae-probes:{tmp_path}", LabelledSpec(protocol="last_token"), seed=0)
    monkeypatch.setattr(labelled_sae_probes, "installed", lambda: None)
    with pytest.raises(UserError, match="pip install --no-deps sae-probes==0.4.2"):
        read_labelled("sae-probes", spec, seed=0)
