"""docs/architectures.md says what a run says: taken again, on less, of coders that are more than a dictionary."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.architectures import OUT, page, scored, small
from benchmarks.architectures_saes import one_of_each
from saebench.saes.styles import STYLES

PAGE = OUT.read_text(encoding="utf-8")
TAKEN = ("crosscoder", "temporal", "cross_layer_transcoder", "boosted", "object, decoder not linear")


def cells(text: str) -> dict[str, list[tuple[str, set[str]]]]:
    """Rows of a page by their first name: of each family how many have a value, and why the others have none."""
    reasons = dict(re.findall(r"^(\d+)\. .*?: (.*)\.$", text, re.MULTILINE))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    return {
        row[0].replace("`", ""): [
            (cell.partition(" (")[0], {reasons[told] for told in re.findall(r"\d+(?=[,)])", cell)}) for cell in row[1:]
        ]
        for row in rows
    }


def test_every_architecture_is_in_the_table() -> None:
    named = {name for row in cells(PAGE) for name in row.split(", ")}
    assert set(STYLES) <= named, "run `python -m benchmarks.architectures`"
    assert {"temporal", "cross_layer_transcoder", "bagged", "boosted"} <= named


def test_a_run_gives_what_the_table_says(tmp_path: Path) -> None:
    suite = small(400)
    suite.data["probing"] = suite.data["probing"].model_copy(
        update={"source": "world:dialect", "train": 8, "test": 4, "min_test": 4, "min_train": 8}
    )
    suite.data["words"] = suite.data["words"].model_copy(update={"words": 100})
    first, second = (one_of_each(tmp_path / f"seed{seed}", seed) for seed in ("", "-seed1"))
    frame = scored({name: first[name] for name in TAKEN}, second, suite)
    stored, found = cells(PAGE), cells(page(frame))
    assert not set(frame.status) - {"ok", "not_applicable"}
    assert {name.split(", ")[0] for name in found} == {name.split(", ")[0] for name in TAKEN}
    for name, row in found.items():
        assert row == stored[name], name
