"""Rows as result files of the reference suite, for the tools that read those."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from saebench.errors import UserError
from saebench.results.collection import Results
from saebench.results.exchange.entries import entries
from saebench.results.exchange.fields import EVALS, LETTERS, PROBED, SCORES, STD, Eval, Field, probed
from saebench.results.exchange.reading import ENVELOPE, OWN, TOOL, file_name
from saebench.results.reruns import reruns
from saebench.results.row import Row
from saebench.results.store import check_writable

MISSING = -1
"""What the reference suite writes for a number that must be there and is not; read back as missing."""


class Exported(NamedTuple):
    """What was written.

    Attributes:
        files: The result files.
        left_out: One sentence for each SAE and eval that could not be written.
        rows: How many rows the files hold.
    """

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    rows: int


@dataclass
class Found:
    """The rows of one SAE that go into one file."""

    of: Eval
    rows: Mapping[tuple[str, str], Row]
    used: list[Row] = field(default_factory=list)
    places: dict[str, tuple[int, float | None]] = field(default_factory=dict)

    def row(self, one: Field, part: str = "") -> Row | None:
        """The row that fills a field, for all datasets or one of them."""
        slice_name = one.in_part(part) if part else one.slice
        names = [(one.row_metric, slice_name)]
        names += [(metric, f"{own}/{part}" if part and own else part or own) for metric, own in one.ours]
        return next((self.rows[name] for name in names if name in self.rows), None)

    def value(self, one: Field, part: str = "", *, place: str = "") -> float | None:
        """The number of a field as the file holds it; None where the file holds null."""
        row = self.row(one, part)
        if row is not None:
            self.used.append(row)
        number = self._number(one, row)
        if row is not None and place:
            self.places[place] = (len(self.used) - 1, number)
        return number

    def _number(self, one: Field, row: Row | None) -> float | None:
        if row is None or row.value is None:
            absent = one.optional and (row is None or self.of.negative)
            return None if absent else MISSING
        theirs = row.metric == one.row_metric
        number = 1.0 - row.value if one.complement and not theirs else row.value
        return int(number) if one.integer else number


def export_saebench(results: Results, folder: str | os.PathLike[str]) -> Exported:
    """Write `EVAL/RELEASE/RELEASE_ID_eval_results.json` for each SAE and eval, as the published collection lays it out.

    Rows that were imported are written as they were. Ours fill the field that means most nearly the same, those with
    the mark `@saebench` first; which row filled which field, with its interval, is in `eval_result_unstructured`.
    A number that a schema asks for and nobody has is -1, the reference suite's own mark for it.

    Raises:
        UserError: There is nothing that can be written, or the folder cannot be written to.
    """
    place = Path(folder)
    documents: list[tuple[Eval, dict[str, Any]]] = []
    left_out: list[str] = []
    count = 0
    for group in _groups(results.rows):
        for of in EVALS.values():
            found = Found(of, _by_name(group))
            document, reason = _document(found, group)
            if document is not None:
                documents.append((of, document))
                count += len(found.used)
            elif reason:
                left_out.append(reason)
    if not documents:
        held = ", ".join(left_out) or "no row of an SAE fits one of its evals"
        raise UserError(f"Nothing can be written for the reference suite: {held}.")
    check_writable(place)
    written: dict[Path, None] = {}
    for of, document in documents:
        written[_write(place, of, document, written)] = None
    return Exported(tuple(written), tuple(left_out), count)


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that belong in the same files: of one imported file, or of one SAE on one model and hook."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row, again in zip(rows, reruns(rows), strict=True):
        source = row.source if row.source.get("tool") == TOOL else None
        if source is not None:
            groups.setdefault((TOOL, source["eval"], source["file"], source["id"], row.sae), []).append(row)
        elif row.role == "sae" and not again:
            groups.setdefault(("", row.sae, row.sae_hash, row.model_hash or row.model, row.hook_out), []).append(row)
    return list(groups.values())


def _by_name(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Rows by metric and slice; of several, the latest."""
    return {(row.metric, row.slice): row for row in sorted(rows, key=lambda row: row.created)}


def _document(found: Found, group: Sequence[Row]) -> tuple[dict[str, Any] | None, str]:
    """The contents of a file; or None, with the reason where the rows should have made one."""
    head = group[0].source
    if head.get("tool") == TOOL:
        if head["eval"] != found.of.id:
            return None, ""
        head = next((row.source for row in group if "envelope" in row.source), None)
        if head is None:
            return None, f"{group[0].sae}: {found.of.id}: the row that holds the facts of its file is not there"
        return _imported(found, head), ""
    names = {one.name: one for _, one in found.of.fields()}
    present = [row for name in found.of.needs if (row := found.row(names[name])) is not None]
    if not any(row.value is not None for row in present):
        failed = [row.reason for row in present if row.reason]
        return None, f"{group[0].sae}: {found.of.id}: {failed[0]}" if failed else ""
    return _own(found), ""


def _metrics(found: Found) -> dict[str, dict[str, Any]]:
    """`eval_result_metrics`."""
    return {
        category: {one.name: found.value(one, place=f"{category}.{one.name}") for one in fields}
        for category, fields in found.of.categories.items()
    }


def _imported(found: Found, head: Mapping[str, Any]) -> dict[str, Any]:
    """A file of the reference suite as it was."""
    metrics = _metrics(found)
    for category, values in head["unknown"].items():
        metrics.setdefault(category, {}).update(values)
    envelope = {key: head["envelope"].get(key) for key in ENVELOPE}
    return {
        "eval_type_id": found.of.id, **envelope, "eval_result_metrics": metrics,
        "eval_result_details": entries(found, head["details"]), **head["rest"],
    }  # fmt: skip


def _own(found: Found) -> dict[str, Any]:
    """A file of rows of ours."""
    metrics = _metrics(found)
    details = entries(found, None)
    document: dict[str, Any] = {"eval_type_id": found.of.id, **_facts(found), "eval_result_metrics": metrics,
                                "eval_result_details": details}  # fmt: skip
    if found.of.id == "absorption_first_letter":
        _spread(found, metrics["mean"])
    if found.of.id == "sparse_probing_sae_probes":
        document["sae_metrics_by_k"] = by_k(found)
    records = [json.loads(row.without_sums().to_json()) for row in found.used]
    document["eval_result_unstructured"] = {OWN: {"fields": found.places, "rows": records}}
    return document


def by_k(found: Found, part: str = "") -> dict[str, dict[str, float]] | None:
    """Scores by number of latents, whatever the number is."""
    tables: dict[str, dict[str, float]] = {}
    sizes = [int(slice_name[2:]) for _, slice_name in found.rows if slice_name[:2] == "k=" and slice_name[2:].isdigit()]
    for k in sorted({*PROBED, *sizes}):
        for score in SCORES:
            row = found.row(probed(k, score), part)
            if row is not None and row.value is not None:
                tables.setdefault(str(k), {})[f"test_{score}"] = row.value
    return tables or None


def _spread(found: Found, mean: dict[str, Any]) -> None:
    """Standard deviations over letters, of ours."""
    for one in found.of.categories["mean"]:
        if one.slice != STD:
            continue
        whole = next(other for other in found.of.categories["mean"] if other.metric == one.metric)
        row = found.row(whole)
        metric = row.metric if row is not None else ""
        letters = [r.value for (name, slice_name), r in found.rows.items()
                   if name == metric and slice_name.startswith(f"{LETTERS}/") and r.value is not None]  # fmt: skip
        if len(letters) > 1:
            mean[one.name] = statistics.stdev(letters)


def _facts(found: Found) -> dict[str, Any]:
    """Who was scored, when and how, in the envelope's words."""
    rows = found.used
    row = rows[0]
    release, _, sae_id = row.sae_ref.removeprefix("saelens:").partition("/")
    hub = row.sae_ref.startswith("saelens:") and bool(sae_id)
    config = {key: getattr(row, name) for key, name in found.of.config.items() if getattr(row, name) not in (None, "")}
    if "llm_dtype" in config:
        config["llm_dtype"] = config["llm_dtype"].split("/")[0]
    made = datetime.fromisoformat(max(one.created for one in rows) or "1970-01-01T00:00:00+00:00")
    return {
        "eval_config": config,
        "eval_id": str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(sorted({one.signature for one in rows})))),
        "datetime_epoch_millis": int(made.timestamp() * 1000),
        "sae_bench_commit_hash": f"saebench {row.versions.get('saebench', '')} {row.git_commit or ''}".strip(),
        "sae_lens_id": sae_id if hub else "custom_sae",
        "sae_lens_release_id": release if hub else row.sae,
        "sae_lens_version": row.versions.get("sae-lens"),
        "sae_cfg_dict": {"architecture": row.architecture, "d_sae": row.d_sae, "hook_name": row.hook_in,
                         "model_name": row.model, "sae_ref": row.sae_ref, "sae_hash": row.sae_hash},
    }  # fmt: skip


def _write(place: Path, of: Eval, document: Mapping[str, Any], taken: Mapping[Path, None]) -> Path:
    """Write one file under a name that no other file of this export has."""
    release, sae_id = (str(document[f"sae_lens_{part}"] or "") for part in ("release_id", "id"))
    folder, stem = place / of.folder / file_name(release), file_name(f"{release}_{sae_id}")
    names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
    path = next(path for name in names if (path := folder / f"{name}_eval_results.json") not in taken)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_finite(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {str(path)!r}: {error.strerror}.") from error
    return path


def _finite(value: Any) -> Any:
    """The value with null for what JSON cannot say."""
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
