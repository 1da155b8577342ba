"""`eval_result_details`: what rows say of single datasets, letters and latents, as the reference suite lists it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saebench.results.exchange.details import LETTER_FIELDS, dataset_part
from saebench.results.exchange.fields import LATENT_FIELDS, LETTERS

if TYPE_CHECKING:
    from saebench.results.exchange.writing import Found


def entries(found: Found, kept: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The list of details.

    Args:
        found: The rows.
        kept: Of an imported file, its entries without the numbers that rows hold.
    """
    if found.of.details == "latents":
        return _latents(found)
    if found.of.details == "letters":
        return [_letter(found, one) for one in kept or ()]
    if found.of.details == "datasets":
        listed = [{"dataset_name": f"{name}{found.of.suffix}"} for name in _datasets(found)] if kept is None else kept
        return [_dataset(found, one, own=kept is None) for one in listed]
    return [dict(one) for one in kept or ()]


def _datasets(found: Found) -> list[str]:
    """Names of the datasets that rows of ours speak of, for the fields that decide whether a file is written."""
    names = {one.name: one for _, one in found.of.fields()}
    parts: dict[str, None] = {}
    for name in found.of.needs:
        row = found.row(names[name])
        for metric, slice_name in found.rows if row is not None and row.slice else ():
            part = slice_name.removeprefix(f"{row.slice}/") if row is not None else slice_name
            told = metric == (row.metric if row else "") and part != slice_name
            if told and part not in ("dir1", "dir2") and "=" not in part:
                parts[part] = None
    return list(parts)


def _dataset(found: Found, one: Mapping[str, Any], *, own: bool) -> dict[str, Any]:
    part = dataset_part(one["dataset_name"], found.of.suffix)
    values = {field.name: found.value(field, part) for _, field in found.of.fields()}
    if own and found.of.id == "sparse_probing_sae_probes":
        from saebench.results.exchange.writing import by_k

        values["sae_metrics_by_k"] = by_k(found, part)  # type: ignore[assignment]
    return {"dataset_name": one["dataset_name"], **values, **one}


def _letter(found: Found, one: Mapping[str, Any]) -> dict[str, Any]:
    by_metric = {field.metric: field for _, field in found.of.fields() if field.slice == LETTERS}
    values = {name: found.value(by_metric[name], one["first_letter"]) for name in LETTER_FIELDS}
    split = values["num_split_features"]
    return {**one, **values, "num_split_features": split if split is None else int(split)}


def _latents(found: Found) -> list[dict[str, Any]]:
    """One entry a latent, from the sums of the row of living latents; none where no row holds them."""
    row = next((r for (name, _), r in found.rows.items() if name.startswith("alive_fraction@")), None)
    if row is None or not row.sums or not any(name in row.sums for name in LATENT_FIELDS):
        return []
    count = len(next(iter(row.sums.values())))
    columns = {name: row.sums[name].tolist() if name in row.sums else [-1.0] * count for name in LATENT_FIELDS}
    index = row.sums["index"].tolist() if "index" in row.sums else range(count)
    return [
        {"index": int(index[i]), **{name: -1.0 if math.isnan(v[i]) else v[i] for name, v in columns.items()}}
        for i in range(count)
    ]
