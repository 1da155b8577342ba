"""A block for the model card of a SAE: YAML that the hub reads, and a table that people read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from saebench.errors import UserError, unknown
from saebench.leaderboard.markdown import escape, grid
from saebench.results import Results, Row
from saebench.results.report import number
from saebench.results.row import plain

TASK = {"type": "sparse-autoencoder-evaluation", "name": "Sparse autoencoder evaluation"}


def card(run: str | Path | Results, sae: str | None = None) -> str:
    """The card of one SAE: a `model-index` in a YAML head, then every number with its error, null and baseline.

    Args:
        run: A run folder, a `.jsonl` file or a `Results`.
        sae: Its name, where the run holds several.

    Raises:
        UserError: No such SAE, or several and none chosen.
    """
    results = run if isinstance(run, Results) else Results.load(run)
    name = _chosen(results, sae)
    rows = [row for row in results if row.sae == name and row.value is not None]
    if not rows:
        raise UserError(f"{name!r} has no number to show: see `saebench report` for what failed.")
    head = {"tags": ["sparse-autoencoder", "saebench"], "model-index": [{"name": name, "results": _results(rows)}]}
    text = yaml.safe_dump(plain(head), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n\n{_table(results, rows)}\n"


def _chosen(results: Results, sae: str | None) -> str:
    if sae is not None:
        if sae not in results.saes:
            raise unknown("SAE of the run", sae, results.saes)
        return sae
    if len(results.saes) != 1:
        held = ", ".join(results.saes) or "none"
        raise UserError(f"A card is of one SAE and the run holds {len(results.saes)}: {held}. Choose with --sae.")
    return results.saes[0]


def _results(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for each data that was scored on, with its metrics."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row.corpus or "weights", row.corpus_hash), []).append(_metric(row))
    return [
        {
            "task": TASK,
            "dataset": {"type": corpus, "name": corpus, **({"revision": digest} if digest else {})},
            "metrics": metrics,
        }
        for (corpus, digest), metrics in found.items()
    ]


def _metric(row: Row) -> dict[str, Any]:
    args = {
        "stderr": row.stderr, "ci_low": row.ci_low, "ci_high": row.ci_high, "n": row.n, "units": row.units,
        "version": row.version, "signature": row.signature, **row.settings,
    }  # fmt: skip
    kept = {key: value for key, value in args.items() if value is not None}
    return {"type": row.metric, "name": _name(row), "value": row.value, "args": kept}


def _name(row: Row) -> str:
    return row.metric + (f" [{row.slice}]" if row.slice else "")


def _table(results: Results, rows: Sequence[Row]) -> str:
    """Values by metric; slices of a metric that has an overall value are left to the YAML."""
    whole = {row.metric for row in rows if not row.slice}
    kept = {id(row) for row in rows if not row.slice or row.metric not in whole}
    keys = {row.key for row in rows if id(row) in kept}
    frame = results.filter(sae=rows[0].sae).frame() if len(results.saes) == 1 else results.frame()
    beside = {
        (s, part): (null, base) for s, part, null, base in frame[["signature", "slice", "null", "baseline"]].values
    }
    cells = []
    for row in rows:
        if row.key not in keys or row.slice.count("/"):
            continue
        error = "" if row.stderr is None else f" ± {row.stderr:.1g}"
        null, base = beside.get((row.signature, row.slice), (None, None))
        cells.append([escape(_name(row)), number(row.value) + error, number(null), number(base), escape(row.unit)])
    facts = rows[0]
    model = escape(" · ".join(part for part in (facts.model, facts.hook_out) if part))
    version = escape(facts.versions.get("saebench", ""))
    title = f"## Evaluation\n\nWith saebench {version} on {model}; values with standard errors."
    return (
        f"{title}\n\n{grid(['metric', 'value', 'null', 'baseline', 'unit'], cells, [False, True, True, True, False])}"
    )
