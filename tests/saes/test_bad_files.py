"""Broken checkpoints through the command line: exit code 2, one sentence that names the file and the fix."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saebench.cli import main
from saebench.errors import UserError
from saebench.saes import load_sae
from tests.saes import foreign
from tests.saes.checkpoints import HOOK, D, F, config, draw, weights, write

WEIGHTS = "sae_weights.safetensors"


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `saebench show` says of a file that it refuses."""
    with pytest.raises(SystemExit) as left:
        main(["show", str(path), "--hook", HOOK])
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.startswith("saebench: ") and error.count("\n") == 1, error
    return error


def _replaced(content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (write(folder) / WEIGHTS).write_bytes(content)

    return change


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any], **config: Any) -> Callable[[Path], None]:
    def made(folder: Path) -> None:
        tensors = weights()
        change(tensors)
        write(folder, tensors=tensors, **config)

    return made


def _two_formats(folder: Path) -> None:
    write(folder)
    arrays = {name: tensor.numpy() for name, tensor in weights().items()}
    np.savez(folder / "params.npz", threshold=np.ones(F, np.float32), **arrays)


def _missing_shard(folder: Path) -> None:
    folder.mkdir()
    save_file(weights(), folder / "m-00001-of-00002.safetensors")
    placed = {"W_enc": "m-00001-of-00002.safetensors", "W_dec": "m-00002-of-00002.safetensors"}
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


def _hundred_gigabytes(folder: Path) -> None:
    """A header and a hole: as long as it claims, with hardly a block on the disk."""
    width, latents = 4096, 3_000_000
    write(folder, d_in=width, d_sae=latents)
    shapes, offset, described = {"W_enc": (width, latents), "W_dec": (latents, width)}, 0, {}
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        described[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(described).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + offset)


def _linked(target: str) -> Callable[[Path], None]:
    def made(folder: Path) -> None:
        (write(folder) / WEIGHTS).unlink()
        (folder / WEIGHTS).symlink_to(target)

    return made


def _configured(text: str) -> Callable[[Path], None]:
    def made(folder: Path) -> None:
        (write(folder) / "cfg.json").write_text(text)

    return made


def _class_of_its_own(folder: Path) -> None:
    inside, _ = foreign.batch_topk(folder)
    told = json.loads((inside / "config.json").read_text())
    told["trainer"]["dict_class"] = "BatchTopkSAE"
    (inside / "config.json").write_text(json.dumps(told))
    for file in inside.iterdir():
        file.rename(folder / file.name)


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "two formats": (_two_formats, "looks like saelens and gemma_scope at once. Keep the files of one format in it"),
    "missing shard": (_missing_shard, "00002-of-00002.safetensors is missing: .* it holds 'W_dec'. Download the shard"),
    "100 GB": (_hundred_gigabytes, r"was not read: its 24,5.* numbers need about 147.5 GB .* are free. Load it on"),
    "empty file": (_replaced(b""), f"Cannot read .*{WEIGHTS}: it has no header. .* download or save it again"),
    "header of a pebibyte": (_replaced(struct.pack("<Q", 2**50) + b"{}"), "it has no header"),
    "Git LFS": (_replaced(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Run `git lfs pull` there"),
    "web page": (_replaced(b"\n<!DOCTYPE html><html></html>"), f"{WEIGHTS} is a web page, not weights"),
    "no JSON": (_configured("architecture: standard"), "Cannot read .*cfg.json: Expecting value.* Download or save"),
    "deep JSON": (_configured("[" * 100_000), "Cannot read .*cfg.json: .* Download or save the checkpoint again"),
    "size that is a word": (lambda at: write(at, d_in="sixteen"), f"says d_in is 'sixteen', but its tensors have {D}"),
    "metadata that is a word": (lambda at: write(at, metadata="x"), "metadata in its configuration must be an object"),
    "k without end": (lambda at: write(at, "topk", k=float("inf")), "needs a whole number k of at least 1, found inf"),
    "unknown architecture": (
        _configured(json.dumps(config() | {"architecture": "gate"})),
        r"'gate'. Did you mean 'gated'\? For one of your own, register a loader, or pass an object \(docs/formats.md\)",
    ),
    "unknown class": (_class_of_its_own, r"dict_class .* 'BatchTopkSAE'. Did you mean 'BatchTopKSAE'"),
    "NaN": (_tensors(lambda t: t["W_dec"].view(-1)[3:5].fill_(torch.nan)), "2 of 1024 entries of 'W_dec' are NaN"),
    "no latents": (
        _tensors(lambda t: t.update(W_enc=torch.zeros(D, 0), W_dec=torch.zeros(0, D), b_enc=torch.zeros(0)), d_sae=0),
        f"there is nothing in it: d_in {D}, d_out {D}, 0 latents",
    ),
    "whole numbers": (
        _tensors(lambda t: t.update({name: (100 * one).to(torch.int8) for name, one in t.items()})),
        "'W_.*' holds int8 numbers, and a quantised SAE cannot be read without its scales. Save it in float32",
    ),
    "matrix that is none": (
        _tensors(lambda t: t.update(W_enc=t["W_enc"].reshape(-1))), rf"W_enc' must be \[width, .* shape \[{D * F}\]"
    ),
    "precisions that differ": (
        _tensors(lambda t: t.update(W_enc=t["W_enc"].double(), b_enc=t["b_enc"][:-1].half())),
        rf"'b_enc' has shape \[{F - 1}\], but the other tensors ask for \[{F}\]",
    ),
    "link in a loop": (_linked(WEIGHTS), f"{WEIGHTS} is a link to {WEIGHTS}, which leads nowhere. Copy or download"),
    "link to nothing": (_linked("blobs/0a"), f"{WEIGHTS} is a link to blobs/0a, which leads nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = CASES[name]
    make(tmp_path / "sae")
    assert re.search(words, told(tmp_path / "sae", capsys))


def test_folder_that_links_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sae").symlink_to("sae")
    assert "sae is a link to sae, which leads nowhere" in told(tmp_path / "sae", capsys)


@pytest.mark.parametrize("shut", [".", "cfg.json", WEIGHTS])
def test_what_may_not_be_read(shut: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "sae")
    load_sae(folder)  # imports all that another user may not
    (folder / shut).chmod(0)
    as_root = os.geteuid() == 0
    if as_root:  # for whom nothing is shut
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        error = told(folder, capsys)
    finally:
        if as_root:
            os.seteuid(0)
        (folder / shut).chmod(0o755)
    assert "Permission denied" in error and str(folder) in error


def test_weights_of_a_crosscoder_are_answered_with_its_description(tmp_path: Path) -> None:
    """What the answer says to write beside them loads."""
    layers = ("encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias")
    for names in (("W_enc", "W_dec", "b_enc", "b_dec"), layers):
        folder = tmp_path / names[0]
        folder.mkdir()
        tensors = (draw(2, D, F, seed=1), draw(2, F, D, seed=2), draw(F, seed=3), draw(2, D, seed=4))
        save_file(dict(zip(names, tensors, strict=True)), folder / "model.safetensors")
        with pytest.raises(
            UserError, match="looks like a crosscoder.*compares two models, it cannot be scored"
        ) as said:
            load_sae(folder)
        (folder / "saebench.yaml").write_text(str(said.value).split("`")[1])
        assert load_sae(folder, hook="blocks.1.hook_resid_post").d_in == 2 * D
