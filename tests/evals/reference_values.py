"""A stored table of values: if a value moves for the same input, the metric's version must move too.

python -m tests.evals.reference_values --write
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import saebench as sb
from saebench.data.synthetic import Synthetic, recipe
from saebench.results import Row
from saebench.saes.ideal import Ideal
from tests.helpers.toys import ToySAE, tiny_llama, token_rows

FILE = Path(__file__).with_suffix(".json")


STRUCTURE = [
    "description_length",
    "description_length_fvu",
    "amortisation_gap",
    "lexicality",
    "connectivity",
    "max_phi",
    "negative_interference",
]
"""What suite `structure` adds to a stream of tokens, as far as a toy without words has it."""

TRUTH = ["gt_mcc", "gt_mcc_null", "gt_coverage", "gt_recall", "gt_precision", "gt_uniqueness"]
"""What a toy has found of a known dictionary; what it split, absorbed and merged is taken of coders made to."""

AUTOINTERP = [
    "detection",
    "detection_auroc",
    "detection_unscored",
    "fuzzing",
    "fuzzing_auroc",
    "detection@saebench",
    "ngram_explainability",
    "sensitivity",
    "input_score",
]
"""Suite `autointerp`, with the judge for no network."""

SUPERVISED = {
    "metric": [
        {"sparse_probing": {"k": [1, 2]}},
        {"sparse_probing_auroc": {"k": [1]}},
        {"sparse_probing_f1": {"k": [1]}},
        {"sparse_probing@saebench": {"k": [1]}},
        {"residual_probing": {"k": [1]}},
        "full_code_probing",
        {"sparse_probing_last_token": {"k": [1, 2]}},
        {"tpp": {"n": [5, 20]}},
        {"tpp@saebench": {"n": [5, 20]}},
        {"scr": {"n": [5, 20]}},
        {"scr@saebench": {"n": [5, 20]}},
        "fms",
        "mean_absorption_fraction",
        "full_absorption_rate",
        "num_split_features",
        "absorption_main_f1",
        "full_absorption_rate@saebench",
        "false_feature_rate",
        "random_explained_variance",
        "pw_mcc",
        "wmppc",
        {"ravel_disentanglement": {"pairs": 16, "steps": 5}},
        {"unlearning_forget_accuracy": {"multipliers": [25, 100], "relative": [2]}},
        {"unlearning_held_out": {"multipliers": [25, 100], "relative": [2]}},
        *({name: {"latents": 200, "dead": 5, "least": 2}} for name in AUTOINTERP),
    ],
    "groups": {"topk-mid": ["world:topk-mid", "world:topk-mid-seed1"]},
    "data": {
        "text": {"source": "world", "tokens": 3000, "context": 128},
        "random_tokens": {"tokens": 3000},
        "probing": {"source": "world:gender,dialect,category", "train": 20, "test": 15},
        "last_token": {"source": "world:dialect", "train": 20, "test": 15},
        "words": {"source": "world:first_letter", "words": 400},
        "entities": {"source": "world", "types": ["city"], "templates": 2},
        "questions": {"source": "world", "questions": 60, "orders": 2},
        "forget": {"source": "world:forget", "tokens": 3000},
        "retain": {"source": "world:retain", "tokens": 3000},
    },
    "references": {"null": None, "baseline": None},
}
"""Every family of items metrics on little of the world; slices below the overall ones are left out."""


def computed(part: str = "both") -> dict[str, float]:
    """Values by `metric@version[slice]`: the core suite on a fixed toy, the other families on a shipped SAE.

    Args:
        part: `core`, `supervised` or `both`.
    """
    rows = []
    if part != "supervised":
        data = {"text": token_rows(24, 9, seed=11)}
        rows += sb.evaluate(
            ToySAE(seed=11), {"extends": "core", "metric": STRUCTURE}, model=tiny_llama(), data=data
        ).rows
        rows += _truth()
    if part != "core":
        shipped = sb.evaluate("world:topk-mid", SUPERVISED, model="world").rows
        rows += [row for row in shipped if "/" not in row.slice]
    return {
        f"{row.metric}@{row.version}" + (f"[{row.slice}]" if row.slice else ""): row.value
        for row in rows
        if row.role == "sae" and row.value is not None
    }


def _truth() -> list[Row]:
    """Ground-truth metrics, each on a dictionary and a coder that have what it measures."""
    made = [
        ("hierarchical", ["true_absorption", "feature_splits"], {"absorb": 0.5, "split": 2}),
        ("correlated", ["true_hedging"], {"merge": 0.5}),
    ]
    rest = {"data": {"text": {"tokens": 2000}}, "references": {"null": None, "baseline": None}}
    toy = ToySAE(seed=11, hook="activations")
    rows = list(sb.evaluate(toy, {"metric": TRUTH, **rest}, model="synthetic:flat?d=16&n=20").rows)
    for kind, metrics, defects in made:
        model = f"synthetic:{kind}?d=16&n=12&l0=2"
        coder = Ideal(Synthetic(recipe(model)), **defects)
        rows += sb.evaluate(coder, {"metric": metrics, **rest}, model=model).rows
    return rows


def stored() -> dict[str, float]:
    """The table on disk."""
    return json.loads(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__" and "--write" in sys.argv:
    FILE.write_text(json.dumps(computed(), indent=1) + "\n", encoding="utf-8")
