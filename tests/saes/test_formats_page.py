"""docs/formats.md says what the code does: its tables are complete and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from saebench.saes.formats import formats
from saebench.saes.plain import Description
from saebench.saes.styles import STYLES
from tests.saes.checkpoints import D, F, activations, draw

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found.group(1)


def first_cells(after: str) -> str:
    table = PAGE.partition(after)[2].split("\n\n")[0]
    return " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))


def test_every_format_and_architecture_is_listed() -> None:
    assert set(re.findall(r"`(\w+)`", first_cells("## Formats\n\n"))) == set(formats())
    table = PAGE[PAGE.index("| architecture | equations") :].split("\n\n")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(STYLES)


def test_every_key_of_a_description_is_shown_and_valid() -> None:
    shown = yaml.safe_load(block("yaml"))
    Description.model_validate(shown)
    assert set(Description.model_fields) - set(shown) == {"delta"}, "delta is of archetypal dictionaries alone"


def test_loader_of_one_s_own_runs_as_written(tmp_path: Path) -> None:
    made: dict = {}
    exec(block("python"), made)
    tensors = {"enc": draw(D, F, seed=1), "dec": draw(F, D, seed=2), "b": draw(F, seed=3), "c": draw(D, seed=4)}
    save_file(tensors, tmp_path / "weights.safetensors")
    assert not made["FORMAT"].detect(tmp_path)
    (tmp_path / "my_config.toml").touch()
    assert made["FORMAT"].detect(tmp_path)
    codes = made["FORMAT"].load(tmp_path).encode(activations())
    pre = (activations() - tensors["c"]) @ tensors["enc"] + tensors["b"]
    torch.testing.assert_close(codes.dense().max(1).values, pre.max(1).values)
