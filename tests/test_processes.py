"""Labelled data through the real command: odd tokenizers, NaN, kill -9, two processes, coders that are dead or odd."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import saebench as sb
from saebench.cli import main
from saebench.engine.checkpoint import Checkpoint
from saebench.engine.stream import Pass
from tests.helpers import tokenizers
from tests.helpers.toys import HOOK, WIDTH, ToySAE, tiny_llama

NOUNS = tuple(a + b for a in "abcd" for b in ("el", "in", "or", "up", "ay", "um", "ix", "ob", "ut", "er"))
WORDS = (*NOUNS, "the", "is", "here", "red", "blue", "man", "woman", "child", "broken", "and")
SUITE = """\
name: labelled
metric:
  - sparse_probing: {k: [1, 3]}
  - full_code_probing
  - tpp: {n: [2, 5]}
  - scr: {n: [2, 5]}
  - mean_absorption_fraction: {min_probe_f1: 0.0, min_main_skill: -10.0}
  - absorption_main_f1: {min_probe_f1: 0.0}
references: {null: null, baseline: null}
data: {probing: {train: 100, test: 25}}
"""
SMALL = """\
import sys
from saebench.engine import execute
execute.token_budget = lambda *_: 64
from saebench.cli import main
main(sys.argv[1:])
"""
"""The command in small batches."""


def _model(folder: Path, tokenizer: object, broken: str = "") -> None:
    model = tiny_llama(vocabulary=len(tokenizer.get_vocab()))  # pyright: ignore[reportAttributeAccessIssue]
    if broken:
        with torch.no_grad():
            model.model.embed_tokens.weight[tokenizer.get_vocab()[broken]] = float("nan")  # pyright: ignore
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)  # pyright: ignore[reportAttributeAccessIssue]


def _sae(folder: Path, seed: int, *, dead: bool = False) -> None:
    toy = ToySAE(seed=seed)
    if dead:
        toy.b_enc.data.fill_(-1e6)
    folder.mkdir()
    save_file({k: v.detach().contiguous() for k, v in toy.named_parameters()}, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": WIDTH, "d_sae": 24, "dtype": "float32", "device": "cpu",
              "apply_b_dec_to_input": False, "normalize_activations": "none",
              "metadata": {"hook_name": HOOK}}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))


def _texts() -> list[dict[str, str]]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(150):
        nouns = " ".join(NOUNS[int(n)] for n in torch.randint(len(NOUNS), (2 + i % 5,), generator=generator))
        who, colour = ("man", "woman", "child")[i % 3], ("red", "blue")[(i + i // 6) % 2]
        rows.append({"text": f"the {who} is {colour} and {nouns}", "label": who, "attribute": colour})
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with several tokenizers, SAEs, labelled texts and words."""
    folder = tmp_path_factory.mktemp("labelled")
    _model(folder / "model", tokenizers.word_level(WORDS))
    _model(folder / "no-bos", tokenizers.word_level(WORDS, bos=False))
    _model(folder / "nan", tokenizers.word_level(WORDS), broken="broken")
    _model(folder / "pieces", tokenizers.byte_level())
    for seed, name in enumerate(("one", "two", "dead")):
        _sae(folder / name, seed + 1, dead=name == "dead")
    texts = _texts()
    spoilt = [{**row, "text": row["text"] + " broken"} if i % 30 == 7 else row for i, row in enumerate(texts)]
    for name, rows in (("texts", texts), ("spoilt", spoilt)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "words.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("word", "group"), *((noun, noun[0]) for noun in NOUNS)])
    (folder / "labelled.yaml").write_text(SUITE)
    return folder


def _words(place: Path, out: Path, *saes: str, model: str = "model", texts: str = "texts") -> list[str]:
    named = [word for name in saes for word in ("--sae", str(place / name))]
    data = [f"probing={place / texts}.jsonl", f"words={place / 'words.csv'}"]
    given = ["--data", data[0], "--data", data[1], "--model", str(place / model), "--out", str(out)]
    return ["run", str(place / "labelled.yaml"), *given, *named, "--json"]


def _start(*words: str, hashes: int = 1) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hashes)}
    return subprocess.Popen(
        [sys.executable, *words], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _main(words: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(words)
    return int(stop.value.code or 0)


def _killed(data: str, words: list[str]) -> None:
    """The command, killed from within the pass of a data name, with sums of 20 rows or more on disk."""
    current: list[str] = []
    begin, save = Pass.__init__, Checkpoint.save

    def known(self: Pass, model: Any, corpus: Any, *given: Any, **more: Any) -> None:
        current.append(corpus.name)
        begin(self, model, corpus, *given, **more)

    def often(self: Checkpoint, start: int, *given: Any, last: bool) -> None:
        self._every = 0.0
        save(self, start, *given, last=last)
        if start >= 20 and current[-1] == data and not last:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pass, "__init__", known)
        patch.setattr(Checkpoint, "save", often)
        main(words)


Rows = dict[tuple[str, str, str], dict]


def _rows(*folders: Path) -> Rows:
    lines = [line for folder in folders for line in (folder / "rows.jsonl").read_text().splitlines()]
    return {(row["sae"], row["metric"], row["slice"]): row for row in map(json.loads, lines)}


NUMBERS = ("value", "stderr", "ci_low", "ci_high", "n", "status", "reason", "signature", "sums")


def _numbers(rows: Rows) -> dict[tuple[str, str, str], tuple]:
    return {key: tuple(json.dumps(row.get(name)) for name in NUMBERS) for key, row in rows.items()}


@pytest.fixture(scope="module")
def whole(place: Path) -> Rows:
    """One process, two SAEs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saebench.engine.execute.token_budget", lambda *_: 64)
        assert _main(_words(place, place / "whole", "one", "two")) == 0
    return _rows(place / "whole")


def test_two_processes_with_half_of_the_saes_each_make_the_same_rows(place: Path, whole: Rows, tmp_path: Path) -> None:
    """At the same time, each in a folder of its own, with hashes of its own; once more after one's rows are gone."""
    shards = [
        _start("-c", SMALL, *_words(place, tmp_path / name, name), hashes=seed)
        for seed, name in enumerate(("one", "two"), 1)
    ]
    for shard in shards:
        _, error = shard.communicate(timeout=120)
        assert shard.returncode == 0, error
    merged = _numbers(_rows(tmp_path / "one", tmp_path / "two"))
    assert merged == _numbers(whole) and len(merged) > 40
    for file in (tmp_path / "two").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saebench.engine.execute.token_budget", lambda *_: 64)
        assert _main(_words(place, tmp_path / "two", "two")) == 0
    assert _numbers(_rows(tmp_path / "one", tmp_path / "two")) == merged


@pytest.mark.parametrize("data", ["probing", "words"])
def test_killed_inside_an_items_pass_it_ends_with_the_same_rows(
    place: Path, whole: Rows, tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saebench.engine.execute.token_budget", lambda *_: 64)
    words = _words(place, tmp_path, "one", "two")
    child = multiprocessing.get_context("fork").Process(target=_killed, args=(data, words))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert list(tmp_path.rglob("pass-*.npz")), "it was to be killed with sums on disk"
    assert _main(words) == 0
    assert _numbers(_rows(tmp_path)) == _numbers(whole)
    assert not list(tmp_path.rglob("pass-*.npz"))


def test_a_tokenizer_without_bos_scores_every_token(place: Path, tmp_path: Path) -> None:
    assert _main(_words(place, tmp_path, "one", model="no-bos")) == 0
    rows = _rows(tmp_path)
    assert {row["status"] for row in rows.values()} == {"ok"}
    tokens = sum(len(row["text"].split()) for row in _texts())
    assert rows["one", "sparse_probing", "k=1"]["tokens"] <= tokens
    assert rows["one", "sparse_probing", "k=1"]["tokens"] > 0.9 * tokens
    assert rows["one", "sparse_probing", "k=3"]["value"] > 0.8


def test_a_tokenizer_that_splits_the_words_is_read_at_their_last_token(place: Path, tmp_path: Path) -> None:
    assert _main(_words(place, tmp_path, "one", model="pieces")) == 0
    row = _rows(tmp_path)["one", "absorption_main_f1", "words"]
    assert row["status"] == "ok" and row["n"] > 1
    pieces = tokenizers.byte_level()(list(NOUNS), add_special_tokens=False)["input_ids"]
    assert max(map(len, pieces)) > 1, "the case is to split some"
    assert row["tokens"] == len(NOUNS), "one token of each word is looked at"


def test_activations_that_are_not_finite_on_some_texts_are_an_error_that_counts_them(
    place: Path, tmp_path: Path
) -> None:
    """A ReLU SAE fires on no NaN, so that such a text would look like one without any latent."""
    code = _main(_words(place, tmp_path, "one", model="nan", texts="spoilt"))
    rows = _rows(tmp_path)
    labelled = [row for (_, metric, _), row in rows.items() if "absorption" not in metric]
    assert {row["status"] for row in labelled} == {"error"} and code != 0
    for row in labelled:
        assert (
            f"the model's activations at {HOOK} are not finite on 5 of 150 items of the probing data" in row["reason"]
        )
    assert rows["one", "absorption_main_f1", "words"]["status"] == "ok", "no word of these is broken"


class Squared(ToySAE):
    """A coder whose decode is not linear."""

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstructions of squared codes."""
        return codes.square() @ self.W_dec + self.b_dec


class Overflowing(ToySAE):
    """A coder some of whose codes are infinite, once it has been loaded."""

    armed = False

    def encode(self, x: Tensor) -> Tensor:
        """Codes, of the last token infinite ones."""
        codes = super().encode(x)
        return torch.cat([codes[:-1], codes[-1:] + torch.inf]) if self.armed else codes


def _evaluated(place: Path, sae: object) -> dict[str, list]:
    found: dict[str, list] = {}
    data = {"probing": str(place / "texts.jsonl"), "words": str(place / "words.csv")}
    for row in sb.evaluate(sae, str(place / "labelled.yaml"), model=str(place / "model"), data=data).rows:
        found.setdefault(row.metric, []).append(row)
    return found


def test_a_dead_sae_moves_nothing_and_absorbs_nothing(place: Path) -> None:
    rows = _evaluated(place, str(place / "dead"))
    for metric in ("tpp", "scr"):
        assert {row.value for row in rows[metric] if row.value is not None} == {0.0}, metric
    [row] = rows["mean_absorption_fraction"]
    assert row.status == "not_applicable" and "no latent fires" in row.reason


def test_a_coder_whose_decode_is_not_linear_is_decoded_for_tpp_and_scr_and_has_no_absorption(place: Path) -> None:
    rows, linear = _evaluated(place, Squared(seed=1)), _evaluated(place, ToySAE(seed=1))
    for metric in ("tpp", "scr"):
        assert {row.status for row in rows[metric]} == {"ok"}, metric
    assert [row.value for row in rows["tpp"]] != [row.value for row in linear["tpp"]]
    [row] = rows["mean_absorption_fraction"]
    assert row.status == "not_applicable" and "not linear" in row.reason


def test_codes_that_are_not_finite_are_an_error_that_counts_the_texts(place: Path) -> None:
    toy = Overflowing(seed=1)
    sae = sb.load_sae(toy, hook=HOOK)
    toy.armed = True
    rows = _evaluated(place, sae)
    for metric in ("sparse_probing", "full_code_probing", "tpp", "scr"):
        [row] = rows[metric]
        assert row.status == "error" and "the SAE's codes are not finite on " in row.reason, metric
