"""What a suite needs from elsewhere: listed, found missing without a network, and got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from saebench.data import labelled_sae_probes
from saebench.data.labelled_hub import AMAZON, CODE, REVISIONS
from saebench.data.specs import LabelledSpec
from saebench.errors import UserError
from saebench.fetch import Need, fetch, missing, refuse_missing, wanted
from saebench.suite import TextSpec, load_suite
from tests.helpers.hub import COMMIT, serving


def suite(model: str | None = None, sae: tuple[str, ...] = (), **data: Any) -> Any:
    """A suite with this data."""
    return SimpleNamespace(name="mine", model=model, sae=list(sae), data=data, groups={})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no address but the loopback's."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with serving({}) as asked:
        yield tmp_path
        assert asked == []  # a test that is served by another hub never asks this one


def test_the_world_and_paths_need_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").touch()
    local = suite("world", ("world:a", "null:random-32"), text=TextSpec(), probing=LabelledSpec())
    assert wanted(local) == []
    assert wanted(suite(str(tmp_path), (str(tmp_path),), probing=LabelledSpec(source=str(tmp_path / "mine.csv")))) == []
    assert wanted(suite(None, ("world:a",), probing=LabelledSpec())) == []
    refuse_missing(local)


def test_needs_are_listed_once_with_their_pinned_revisions() -> None:
    needs = wanted(
        suite(
            "owner/model",
            ("hf:owner/saes/layer_3", "null:untrained@hf:owner/saes/layer_3", "a=saelens:release/id"),
            text=TextSpec(source="hf:owner/texts@v1"),
            probing=LabelledSpec(),
            last_token=LabelledSpec(protocol="last_token"),
        )
    )
    assert [(need.kind, need.reference) for need in needs[:3]] == [
        ("model", "owner/model"), ("sae", "hf:owner/saes/layer_3"), ("sae", "saelens:release/id"),
    ]  # fmt: skip
    assert needs[3] == Need("dataset", "hf:owner/texts", "v1", "data text", "first", split="train")
    assert {need.reference: need.revision for need in needs[4:-1]} == {f"hf:{r}": at for r, at in REVISIONS.items()}
    assert (needs[-1].reference, needs[-1].revision, needs[-1].way) == ("sae-probes", "0.4.2", "package")
    some = wanted(suite("owner/model", probing=LabelledSpec(tasks=["ag_news"])))
    assert [need.reference for need in some] == ["owner/model", "hf:fancyzhx/ag_news"]
    assert wanted(suite("world", probing=LabelledSpec()), model="owner/model")[1:] != []


def test_all_the_reference_suite_reads_is_pinned_but_what_nobody_could_confirm() -> None:
    needs = [need for need in wanted(load_suite("saebench"), model="gpt2") if need.kind == "dataset"]
    loose = {need.reference for need in needs if need.revision is None and need.way != "by hand"}
    assert loose == {"hf:Skylion007/openwebtext", f"hf:{AMAZON}", f"hf:{CODE}"}
    assert all(
        len(need.revision or "") == 40 for need in needs if need.reference not in loose and need.way == "library"
    )


def test_an_offline_run_is_refused_with_all_that_is_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled_sae_probes, "installed", lambda: None)
    given = suite(
        None,
        text=TextSpec(source="hf:owner/texts"),
        probing=LabelledSpec(tasks=["ag_news"]),
        last_token=LabelledSpec(protocol="last_token"),
    )
    with pytest.raises(UserError) as found:
        refuse_missing(given, model="owner/model", saes=["hf:owner/saes"])
    message = str(found.value)
    lacking = ("model owner/model", "sae hf:owner/saes", "hf:owner/texts", "hf:fancyzhx/ag_news@eb185aade064")
    for part in (*lacking, "sae-probes@0.4.2"):
        assert part in message
    assert "saebench fetch mine --model owner/model --sae hf:owner/saes" in message


def test_what_is_missing_is_got_and_then_no_longer_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    rows = b'{"text": "a", "label": "x"}\n'
    repos = {
        "models/owner/model": {
            "config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"1", "pytorch_model.bin": b"2",
        },
        "models/owner/saes": {
            "layer_3/cfg.json": b"{}", "layer_3/sae_weights.safetensors": b"1", "layer_9/cfg.json": b"{}",
        },
        "datasets/owner/texts": {f"plain/train-{i:05d}-of-00003.jsonl": rows for i in range(3)},
        "datasets/owner/labels": {"train.jsonl": rows, "test.jsonl": rows, "picture.png": b""},
    }  # fmt: skip
    given = suite(
        "owner/model",
        ("hf:owner/saes/layer_3",),
        text=TextSpec(source="hf:owner/texts"),
        probing=LabelledSpec(source=f"hf:owner/labels@{COMMIT}"),
    )
    needs = wanted(given)
    with serving(repos) as asked:
        assert missing(needs) == needs
        assert asked == []
        seen: list[Need] = []
        assert fetch(needs, seen.append) == needs == seen
        got = {path.partition("/resolve/")[2].partition("/")[2] for path in asked if "/resolve/" in path}
        assert got == {
            "config.json", "tokenizer.json", "model.safetensors", "layer_3/cfg.json",
            "layer_3/sae_weights.safetensors", "plain/train-00000-of-00003.jsonl", "train.jsonl", "test.jsonl",
        }  # fmt: skip
        asked.clear()
        assert missing(needs) == [] and fetch(needs) == []
        refuse_missing(given)
        assert asked == []
    folder = tmp_path / "models--owner--model" / "snapshots" / COMMIT
    (folder / "model.safetensors").unlink()
    assert missing(needs) == needs[:1]


def test_what_cannot_be_got_is_named_after_the_rest_was_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    needs = [
        Need("model", "owner/none", None, "the model"),
        Need("dataset", "the corpus", None, "data forget", "by hand", note="Ask its authors for it."),
        Need("dataset", "hf:owner/labels", None, "data probing"),
    ]
    with serving({"datasets/owner/labels": {"data.csv": b"text,label\na,b\n"}}):
        with pytest.raises(UserError, match=r"2 of 3 could not be got: .*'owner/none'.*Ask its authors for it."):
            fetch(needs)
        assert missing(needs) == needs[:2]


def test_a_need_reads_as_a_sentence() -> None:
    need = Need("dataset", "hf:owner/name", COMMIT, "data probing", config="en")
    assert str(need) == f"dataset hf:owner/name@{COMMIT[:12]} (en), for data probing"
    assert json.dumps(need.__dict__)
