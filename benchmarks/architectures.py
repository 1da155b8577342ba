"""Which metrics of the demo suite can be taken of which architecture: docs/architectures.md.

    python -m benchmarks.architectures [--tokens 4000] [--out docs/architectures.md]

One small SAE of every architecture is written to disk, loaded and scored on the world's model; a cell of the table is
the share of a family's metrics that have a value, and each reason for none stands below it.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import saebench as sb
from benchmarks.architectures_saes import SAME, one_of_each
from saebench.suite import Suite, load_suite

OUT = Path(__file__).resolve().parent.parent / "docs" / "architectures.md"

FAMILIES = {
    "loss": "loss", "reconstruction": "reconstruction", "stratified": "reconstruction", "error": "error",
    "sparsity": "sparsity", "density": "density", "geometry": "geometry", "concept_coverage": "concepts",
    "sparse_probing": "probing", "absorption": "absorption", "tpp": "TPP", "consistency": "consistency",
}  # fmt: skip
"""Families by the module that a metric is written in."""

NOTE = "<!-- Made by `python -m benchmarks.architectures`: run that, do not edit this page. -->"


def small(tokens: int = 4000) -> Suite:
    """The demo suite on little text, without references and groups of its own."""
    demo = load_suite("demo")
    probing = demo.data["probing"].model_copy(update={"source": "world:profession,gender", "train": 20, "test": 12})
    data = {
        "text": demo.data["text"].model_copy(update={"tokens": tokens, "context": 64}),
        "probing": probing,
        "words": demo.data["words"].model_copy(update={"words": 300}),
    }
    none = demo.references.model_copy(update={"null": None, "baseline": None})
    return demo.model_copy(update={"data": data, "references": none, "groups": {}, "sae": []})


def scored(saes: Mapping[str, Any], others: Mapping[str, Any], suite: Suite) -> pd.DataFrame:
    """A row for each architecture and metric, with a value if any slice has one; consistency is that of two seeds.

    Args:
        saes: References by architecture; at the last hook of one that is scored at several.
        others: The same of another seed.
        suite: What is taken of them.
    """
    pairs = [one for one in suite.metric if families()[_name(one)] == "consistency"]
    alone = suite.model_copy(update={"metric": [one for one in suite.metric if one not in pairs]})
    members = {name: [_last(name, ref), _last(f"{name}, other seed", others[name])] for name, ref in saes.items()}
    frames = [sb.evaluate([own for own, _ in members.values()], alone, model="world").frame()]
    if pairs:
        both = suite.model_copy(update={"metric": pairs, "data": {}})
        every = [one for pair in members.values() for one in pair]
        frames.append(sb.evaluate(every, both, model="world", groups=members).frame())
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame.sae.isin(list(saes))].assign(lacks=lambda rows: rows.status != "ok")
    return frame.sort_values("lacks", kind="stable").drop_duplicates(["sae", "metric"]).sort_index(kind="stable")


def _last(name: str, ref: Any) -> Any:
    from saebench.saes import resolve

    coder = resolve([ref])[-1]
    return coder.replace(name=name)


def _name(one: Any) -> str:
    return one if isinstance(one, str) else next(iter(one))


@functools.cache
def families() -> dict[str, str]:
    """The family of each metric by name."""
    found: dict[str, str] = {}
    for module, family in FAMILIES.items():
        held = vars(importlib.import_module(f"saebench.evals.{module}")).values()
        found |= {one.name: family for one in held if isinstance(one, sb.Metric)}
    return found


def page(frame: pd.DataFrame) -> str:
    """The page: a row an architecture, a column a family, and the reasons."""
    rows: list[dict[Any, Any]] = frame.to_dict("records")
    columns = list(dict.fromkeys(FAMILIES.values()))
    reasons: dict[str, list[str]] = {}
    lines = [f"| architecture | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name in dict.fromkeys(row["sae"] for row in rows):
        own = [row for row in rows if row["sae"] == name]
        cells = [_cell([row for row in own if families()[row["metric"]] == column], reasons) for column in columns]
        label = ", ".join(f"`{one}`" if " " not in one else one for one in (name, *SAME.get(name, ())))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    notes = [f"{number}. {', '.join(dict.fromkeys(metrics))}: {reason}." for number, (reason, metrics) in
             enumerate(reasons.items(), 1)]  # fmt: skip
    return "\n".join(
        [NOTE, "# Which metrics can be taken of which architecture", "", _INTRODUCTION, "", *lines, "", *notes, ""]
    )


_INTRODUCTION = """\
The metrics of the `demo` suite on one small SAE of each architecture, on the world's model. *all*: every metric of the
family has a value; else how many have, and why the others do not: that is what their rows say.
[How each is read](formats.md#anything-else-saebenchyaml)."""


def _cell(rows: list[dict[Any, Any]], reasons: dict[str, list[str]]) -> str:
    """How many of a family's metrics have a value, with the numbers of the reasons why others have none."""
    lacking = [row for row in rows if row["status"] != "ok"]
    if rows and not lacking:
        return "all"
    said = [_plain(row["reason"], row["sae"], row["architecture"]) for row in lacking]
    for row, reason in zip(lacking, said, strict=True):
        reasons.setdefault(reason, []).append(f"`{row['metric']}`")
    numbers = sorted({list(reasons).index(reason) + 1 for reason in said})
    return f"{len(rows) - len(lacking)} of {len(rows)} ({', '.join(map(str, numbers))})"


def _plain(reason: str, name: str, kind: str) -> str:
    """A reason without the name of the SAE in it."""
    return reason.replace(f"the {kind} SAE", "the SAE").replace(f"{name} has", "it has")


def main() -> None:
    """Score all and write the page."""
    parser = argparse.ArgumentParser(description="Write docs/architectures.md.")
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        first, second = (one_of_each(Path(place) / f"seed{seed}", seed) for seed in ("", "-seed1"))
        options.out.write_text(page(scored(first, second, small(options.tokens))), encoding="utf-8")


if __name__ == "__main__":
    main()
