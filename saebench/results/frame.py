"""Rows as tables: the tidy frame, the wide board, and Parquet."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError
from saebench.results.measurement import measurement, reference_key
from saebench.results.reruns import reruns
from saebench.results.row import ROLES, Row, plain
from saebench.results.trust import TRUST_COLUMNS, TRUST_FLOATS, TRUST_INTEGERS, trust_columns

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "sae", "role", "architecture", "d_sae", "model", "hook_in", "hook_out", "corpus",
    "metric", "slice", "value", "stderr", "ci_low", "ci_high", "n", "units", "tokens", "unit", "better",
    "null", "null_sae", "baseline", "baseline_sae", *TRUST_COLUMNS,
    "status", "reason", "signature", "version", "settings", "suite", "seed", "dtype", "context",
    "seconds", "created", "warnings",
)  # fmt: skip
FLOATS = ("value", "stderr", "ci_low", "ci_high", "null", "baseline", "seconds", *TRUST_FLOATS)
INTEGERS = ("d_sae", "n", "tokens", "seed", "context", *TRUST_INTEGERS)
BOARD_INDEX = ("sae", "role", "architecture", "d_sae", "model", "hook_out")


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The tidy frame: one row a number, with what a null and a baseline score beside it.

    `null` and `baseline` come from the rows of that role with the same model, output hook, corpus,
    context, metric, version, settings and slice, whatever their seed. Of several, the one that scores
    best is shown, as it is the hardest to beat; the identity only where there is no other baseline,
    since it is perfect by construction wherever reconstruction counts. `null_sae` and `baseline_sae`
    name it.

    `null_gap` is (M - M_null) / (M_ref - M_null): M_ref is the metric's best value where it has one, else
    the value of the best SAE scored on the same model, hook and metric; undefined where that is no better
    than the null. `noise` is the standard deviation over `reseeds` seeds on a fixed SAE, pooled over SAEs,
    and `mdd` = 1.96 sqrt(2) noise the smallest difference that it lets through; where the SAEs were scored
    with several seeds, `rerun` marks all but the lowest. `validity` is the agreement with the SAEs' known
    order, from -1 to 1, with its permutation p-value over `validity_n` SAEs.
    """
    import pandas as pd

    references = _references(rows)
    nulls = {key: row for (role, key), row in references.items() if role == "null"}
    trust, keys = trust_columns(rows, nulls), [reference_key(row) for row in rows]
    columns: dict[str, list[Any]] = {name: [getattr(row, name, None) for row in rows] for name in COLUMNS}
    columns |= {name: [record[name] for record in trust] for name in TRUST_COLUMNS}
    columns["settings"] = [row.settings_text for row in rows]
    columns["warnings"] = ["; ".join(row.warnings) for row in rows]
    for role in ("null", "baseline"):
        others = [references.get((role, key)) for key in keys]
        columns[role] = [other.value if other else None for other in others]
        columns[f"{role}_sae"] = [other.sae if other else "" for other in others]
    types = {name: "float64" for name in FLOATS} | {name: "Int64" for name in INTEGERS}
    return pd.DataFrame(columns, dtype=None if rows else object).astype(types)


def board(rows: Sequence[Row], *, slices: bool = True) -> pd.DataFrame:
    """The wide frame: one row an SAE (of one model, hook and corpus), one column a metric.

    A slice's column is `metric[slice]`. Settings, version or data join the name only where one SAE has
    several values that the metric and slice alone do not tell apart.
    SAEs come first, then baselines and nulls. Re-runs with other seeds are left out.
    """
    import pandas as pd

    rows = [row for row, again in zip(rows, reruns(rows), strict=True) if not again]
    rows = [row for row in rows if slices or row.slice == ""]
    labels = _labels(rows)
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row, label in zip(rows, labels, strict=True):
        identity = tuple(getattr(row, name) for name in BOARD_INDEX)
        lines.setdefault(identity, {})[label] = row.value
    order = {"sae": 0, "baseline": 1, "null": 2}
    ordered = sorted(lines.items(), key=lambda item: order[item[0][1]])
    columns = list(dict.fromkeys(labels))
    records = [dict(zip(BOARD_INDEX, identity, strict=True)) | values for identity, values in ordered]
    table = pd.DataFrame.from_records(records, columns=[*BOARD_INDEX, *columns])
    return table.astype({name: "float64" for name in columns} | {"d_sae": "Int64"}).set_index("sae")


def export_parquet(rows: Iterable[Row], path: str | os.PathLike[str]) -> None:
    """Write the rows, without their sums, as a Parquet file; nested fields become JSON text.

    Raises:
        UserError: pyarrow is not installed, or the file cannot be written.
    """
    import pandas as pd

    names = [f.name for f in dataclasses.fields(Row) if f.name != "sums"]
    records = []
    for row in rows:
        record = {name: getattr(row, name) for name in names}
        nested = {k: json.dumps(plain(v)) for k, v in record.items() if isinstance(v, (dict, list, tuple))}
        records.append({**record, **nested})
    types = {name: "float64" for name in FLOATS} | {name: "Int64" for name in INTEGERS}
    types = {name: type_ for name, type_ in types.items() if name in names}
    try:
        pd.DataFrame.from_records(records, columns=names).astype(types).to_parquet(path, index=False)
    except ImportError as error:
        raise UserError("Parquet needs pyarrow: pip install pyarrow.") from error
    except OSError as error:
        raise UserError(f"Cannot write {os.fspath(path)!r}: {error.strerror or error}.") from error


def _references(rows: Sequence[Row]) -> dict[tuple[str, tuple[Any, ...]], Row]:
    """The strongest null and baseline for each measurement and slice."""
    found: dict[tuple[str, tuple[Any, ...]], Row] = {}
    for row in rows:
        if row.role == ROLES[0] or row.value is None:
            continue
        key = (row.role, reference_key(row))
        if key not in found or _strength(row) > _strength(found[key]):
            found[key] = row
    return found


def _strength(row: Row) -> tuple[bool, float]:
    assert row.value is not None
    goodness = {"higher": row.value, "lower": -row.value, "one": -abs(row.value - 1)}.get(row.better, 0.0)
    return not row.sae_ref.startswith("baseline:identity"), goodness


def _labels(rows: Sequence[Row]) -> list[str]:
    """A column name for each row, with no more detail than tells an SAE's values apart."""
    plainest = [row.metric + (f"[{row.slice}]" if row.slice else "") for row in rows]
    seen: dict[str, set[str]] = {}
    owners: dict[tuple[Any, ...], int] = {}
    for row, label in zip(rows, plainest, strict=True):
        seen.setdefault(label, set()).add(_detail(row))
        owner = (label, *(getattr(row, name) for name in BOARD_INDEX))
        owners[owner] = owners.get(owner, 0) + 1
    crowded = {owner[0] for owner, count in owners.items() if count > 1}
    return [
        f"{label} ({_detail(row)})" if label in crowded and len(seen[label]) > 1 else label
        for row, label in zip(rows, plainest, strict=True)
    ]


def _detail(row: Row) -> str:
    """What tells two measurements of one metric apart, in a reader's words."""
    parts = measurement(row)
    names = ("version", "settings", "tokens", "context", "dtype", "seed")
    return ", ".join([row.corpus, *(f"{name}={parts[name]}" for name in names if parts[name] not in (None, "", "{}"))])
