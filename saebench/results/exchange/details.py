"""What a result file of the reference suite says of single datasets, letters and latents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.errors import UserError
from saebench.results.exchange.fields import LATENT_FIELDS, LETTERS, PROBED, SCORES, Field, probed
from saebench.results.row import Row

if TYPE_CHECKING:
    from saebench.results.exchange.reading import _File

LETTER_FIELDS = ("mean_absorption_fraction", "full_absorption_rate", "num_split_features")
COUNTED = ("num_full_absorption", "num_probe_true_positives")


def read(file: _File, rows: list[Row]) -> tuple[list[Row], dict[str, Any]]:
    """The rows with those of the details, and what of the details rows do not hold.

    Raises:
        UserError: The details are not a list of objects, or hold something that is not a number.
    """
    listed = file.raw.get("eval_result_details")
    if listed is not None and not (isinstance(listed, list) and all(isinstance(one, Mapping) for one in listed)):
        raise UserError(f"{file.name}: eval_result_details is not a list of objects.")
    unstructured = file.raw.get("eval_result_unstructured")
    if file.of.id == "autointerp":
        rows = _judged(rows, unstructured)
    elif file.of.id == "ravel":
        rows = rows + _attributes(file, unstructured)
    elif file.of.id == "sparse_probing_sae_probes":
        rows = rows + _by_k(file, file.raw.get("sae_metrics_by_k"), "")
    listed = listed or []
    if file.of.details == "latents":
        return _latents(file, listed, rows), {"details": None}
    if file.of.details == "letters":
        return rows + [row for one in listed for row in _letter(file, one)], {"details": _rest(listed, LETTER_FIELDS)}
    if file.of.details == "datasets":
        names = [one.name for _, one in file.of.fields()]
        return rows + [row for one in listed for row in _dataset(file, one)], {"details": _rest(listed, names)}
    return rows, {"details": [dict(one) for one in listed]}


def dataset_part(name: str, suffix: str) -> str:
    """A dataset's name as part of a slice."""
    return name.removesuffix(suffix) if suffix else name


def _rest(listed: Sequence[Mapping[str, Any]], held: Sequence[str]) -> list[dict[str, Any]]:
    """The entries without the numbers that rows hold."""
    return [{key: value for key, value in one.items() if key not in held} for one in listed]


def _dataset(file: _File, one: Mapping[str, Any]) -> list[Row]:
    part = dataset_part(_name(file, one, "dataset_name"), file.of.suffix)
    rows = [row for _, field in file.of.fields() for row in file.row(field, one.get(field.name), part)]
    return rows + _by_k(file, one.get("sae_metrics_by_k"), part)


def _by_k(file: _File, found: Any, part: str) -> list[Row]:
    """Scores at numbers of latents that have no field of their own."""
    rows: list[Row] = []
    for k, scores in (found if isinstance(found, Mapping) else {}).items():
        if not str(k).isdigit() or int(k) in PROBED or not isinstance(scores, Mapping):
            continue
        for score in SCORES:
            rows += file.row(probed(int(k), score), scores.get(f"test_{score}"), part)
    return rows


def _letter(file: _File, one: Mapping[str, Any]) -> list[Row]:
    letter = _name(file, one, "first_letter")
    words = one.get("num_probe_true_positives")
    n = words if isinstance(words, int) else None
    by_metric = {field.metric: field for _, field in file.of.fields() if field.slice == LETTERS}
    return [
        row
        for name in LETTER_FIELDS
        for row in file.row(by_metric[name], one.get(name), letter, n=n, units="items")
    ]  # fmt: skip


def _name(file: _File, one: Mapping[str, Any], key: str) -> str:
    name = one.get(key)
    if not isinstance(name, str) or not name:
        raise UserError(f"{file.name}: an entry of eval_result_details has no {key!r}.")
    return name


def _latents(file: _File, listed: Sequence[Mapping[str, Any]], rows: list[Row]) -> list[Row]:
    """The row of living latents with the file's numbers of each latent as its sums."""
    if not listed:
        return rows
    names = [name for name in ("index", *LATENT_FIELDS) if name in listed[0]]
    try:
        table = {name: np.array([_entry(one.get(name), name) for one in listed]) for name in names}
    except (TypeError, ValueError) as error:
        raise UserError(f"{file.name}: an entry of eval_result_details is no row of numbers ({error}).") from error
    return [
        replace(row, sums=table, n=len(listed), units="latents") if row.metric.startswith("alive_fraction@") else row
        for row in rows
    ]


def _entry(value: Any, name: str) -> float:
    number = math.nan if value is None else float(value)
    signed = name in ("encoder_bias", "encoder_decoder_cosine_sim")
    return math.nan if number == -1 and not signed else number


def _judged(rows: list[Row], latents: Any) -> list[Row]:
    """The score with the latents' own as its sums, and the standard error that their spread gives."""
    entries = list(latents.values()) if isinstance(latents, Mapping) else []
    scores = [
        one["score"] for one in entries if isinstance(one, Mapping) and isinstance(one.get("score"), (int, float))
    ]
    spread = next((row.value for row in rows if row.slice == "std"), None)
    if len(scores) < 2 or spread is None:
        return rows
    stderr = spread / math.sqrt(len(scores))
    sums = {"score": np.array(scores, np.float64)}
    return [
        replace(row, n=len(scores), units="latents", sums=sums, stderr=stderr,
                ci_low=row.value - 1.96 * stderr, ci_high=row.value + 1.96 * stderr)
        if row.slice == "" and row.value is not None else row
        for row in rows
    ]  # fmt: skip


def _attributes(file: _File, found: Any) -> list[Row]:
    """Scores of each attribute that was exchanged."""
    fields: dict[str, Field] = {field.name: field for _, field in file.of.fields()}
    names = {"cause_score": "cause_score", "isolation_score": "isolation_score",
             "disentangle_score": "disentanglement_score"}  # fmt: skip
    rows: list[Row] = []
    for kind, attributes in (found if isinstance(found, Mapping) else {}).items():
        entity = str(kind).removesuffix("_results")
        for key, scores in (attributes if isinstance(attributes, Mapping) else {}).items():
            part = f"{entity}/{str(key).removeprefix(entity + '_')}"
            for name, field in names.items():
                rows += file.row(fields[field], scores.get(name) if isinstance(scores, Mapping) else None, part)
    return rows
