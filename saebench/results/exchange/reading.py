"""Result files of the reference suite as rows: its own versions of our metrics, with where they come from."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from saebench.errors import UserError, nearest
from saebench.results.collection import Results
from saebench.results.exchange import details
from saebench.results.exchange.fields import EVALS, Eval, Field
from saebench.results.row import Row, plain

TOOL = "saebench"
"""What `Row.source` calls the reference suite."""
ENVELOPE = (
    "eval_id", "datetime_epoch_millis", "sae_bench_commit_hash", "sae_lens_id", "sae_lens_release_id",
    "sae_lens_version", "sae_cfg_dict", "eval_config", "eval_result_unstructured",
)  # fmt: skip
OWN = "made_by_saebench_rows"
"""Key of `eval_result_unstructured` under which a file that we wrote carries its rows."""
_NO_EFFECT = ("verbose", "results_path", "model_cache_path", "artifact_dir", "force_dataset_recompute", "save_metrics",
              "sae_batch_size", "lower_vram_usage")  # fmt: skip
"""Keys of `eval_config` that no number depends on, as `compute_*` of core, which the suite's own command ignores."""
_KEPT_APART = ("model_name", "llm_dtype", "random_seed", "dataset", "dataset_name", "context_size", "context_length")


class Imported(NamedTuple):
    """What a folder of result files gave.

    Attributes:
        results: The rows.
        files: How many files they come from.
        problems: One sentence for each file that was left out.
    """

    results: Results
    files: int
    problems: tuple[str, ...]


def import_saebench(folder: str | os.PathLike[str]) -> Imported:
    """The rows of all result files (`*.json`) under a folder, or of one file.

    A number takes the name of our metric with the mark `@saebench-legacy`, or the plain name where both sides define
    it alike. -1, NaN and null are missing, with a reason; a file that cannot be read is left out and named.

    Raises:
        UserError: There is no such folder, or it holds no JSON file.
    """
    place = Path(folder)
    if not place.exists():
        raise UserError(f"There is nothing at {str(place)!r}. Give the folder that holds *_eval_results.json files.")
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    if not files:
        raise UserError(f"{str(place)!r} holds no .json file. Give the folder that holds *_eval_results.json files.")
    rows: list[Row] = []
    problems: list[str] = []
    for file in files:
        name = str(file.relative_to(place)) if place.is_dir() else file.name
        try:
            rows += read_file(file, name)
        except UserError as error:
            problems.append(str(error))
    return Imported(Results(rows), len(files) - len(problems), tuple(problems))


def read_file(path: Path, name: str = "") -> list[Row]:
    """The rows of one result file.

    Args:
        path: The file.
        name: What the rows call it; its own name by default.

    Raises:
        UserError: It is no result file of the reference suite, or a broken one.
    """
    name = name or path.name
    raw = _object(path, name)
    kind = raw.get("eval_type_id")
    if not isinstance(kind, str) or kind not in EVALS:
        about = "it has no 'eval_type_id'" if kind is None else f"eval {kind!r}. {nearest(str(kind), EVALS)}"
        raise UserError(f"{name} is no result file that can be imported: {about}.".replace("..", "."))
    own = raw.get("eval_result_unstructured")
    if isinstance(own, dict) and OWN in own:
        return _restored(raw, own[OWN], name)
    return _File(EVALS[kind], raw, name).rows()


def _object(path: Path, name: str) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not whole JSON: {' '.join(str(error).split())}.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{name} is no result file that can be imported: it holds a {type(raw).__name__}.")
    return raw


def _restored(raw: Mapping[str, Any], stored: Any, name: str) -> list[Row]:
    """The rows of a file that we wrote, unless its numbers were changed since."""
    try:
        rows = [Row.from_json(json.dumps(record)) for record in stored["rows"]]
        for place, (number, value) in stored["fields"].items():
            category, field_name = place.split(".")
            if raw["eval_result_metrics"][category][field_name] != value:
                raise UserError(f"{name}: {place} was changed after the file was written, and its row was not.")
            rows[number]  # noqa: B018  - a row that is not there is an error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{name} is damaged: its rows cannot be read ({error!r}).") from error
    return rows


class _File:
    """One result file of the reference suite on its way into rows."""

    def __init__(self, of: Eval, raw: Mapping[str, Any], name: str) -> None:
        self.of, self.raw, self.name = of, raw, name
        self.config = self._mapping(raw.get("eval_config"), "eval_config")
        self.sae = self._mapping(raw.get("sae_cfg_dict"), "sae_cfg_dict")
        self.metrics = self._mapping(raw.get("eval_result_metrics"), "eval_result_metrics")
        self.common = self._common()

    def rows(self) -> list[Row]:
        """All rows, the file's own facts with the first of them."""
        found: list[Row] = []
        unknown: dict[str, dict[str, Any]] = {}
        for category, values in self.metrics.items():
            known = {one.name: one for one in self.of.categories.get(category, ())}
            for key, value in self._mapping(values, f"eval_result_metrics.{category}").items():
                if key in known:
                    found += self.row(known[key], value)
                else:
                    unknown.setdefault(category, {})[key] = value
        if not found:
            raise UserError(f"{self.name} holds no number of eval {self.of.id!r} in its eval_result_metrics.")
        more, kept = details.read(self, found)
        rows = _whole(more)
        rest = {key: self.raw[key] for key in self.raw if key not in (*ENVELOPE, "eval_type_id", "eval_result_metrics",
                                                                      "eval_result_details")}  # fmt: skip
        facts = {"envelope": {key: self.raw[key] for key in ENVELOPE if key in self.raw}, "rest": rest,
                 "unknown": unknown, **kept}  # fmt: skip
        return [replace(rows[0], source={**rows[0].source, **facts}), *rows[1:]]

    def row(self, one: Field, value: Any, part: str = "", **facts: Any) -> list[Row]:
        """The row of a field, or of its value on one dataset or letter; none where the file holds null."""
        if value is None:
            return []
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{self.name}: {one.name} is {str(value)[:40]!r}, which is not a number.")
        number, reason = self.number(value)
        slice_name = one.in_part(part) if part else one.slice
        own = {
            "metric": one.row_metric, "signature": self.signature(one.row_metric), "slice": slice_name,
            "value": number, "reason": reason, "unit": one.unit, "better": one.better,
        }  # fmt: skip
        return [Row(**{**self.common, **own, **facts})]

    def number(self, value: float) -> tuple[float | None, str]:
        """The value, or None and why it is missing."""
        if not math.isfinite(value):
            return None, f"missing: the file holds {value}"
        if value == -1 and not self.of.negative:
            return None, "missing: the file holds -1, which the reference suite writes for what it could not compute"
        return float(value), ""

    def signature(self, metric: str) -> str:
        """Names all that the file says the number depends on."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True, default=str).encode()).hexdigest()[:16]
        c = self.common
        return (
            f"{metric}@1|model:{c['model']}|sae:{c['sae']}|hook:{c['hook_out']}|data:{c['corpus']}"
            f"|config:{digest}|{TOOL}:{self.raw.get('sae_bench_commit_hash')}|eval:{self.raw.get('eval_id')}"
        )

    def _common(self) -> dict[str, Any]:
        config, hook = self.config, str(self._of_sae("hook_name") or "")
        context = next((config[k] for k in ("context_size", "context_length", "llm_context_size") if k in config), None)
        width = self._of_sae("d_sae")
        seed = config.get("random_seed")
        release, sae_id = (str(self.raw.get(f"sae_lens_{part}") or "") for part in ("release_id", "id"))
        foreign = sae_id in ("", "custom_sae")
        return {
            "sae": release if foreign else f"{release}/{sae_id}" if release else sae_id,
            "sae_ref": "" if foreign or not release else f"saelens:{release}/{sae_id}",
            "architecture": str(self._of_sae("architecture") or ""),
            "d_sae": width if isinstance(width, int) else None,
            "model": str(config.get("model_name") or self._of_sae("model_name") or ""),
            "hook_in": hook, "hook_out": hook, "corpus": str(config.get(self.of.corpus, self.of.corpus)),
            "settings": {k: _short(v) for k, v in config.items() if _matters(k)},
            "suite": TOOL, "seed": seed if isinstance(seed, int) else None,
            "dtype": str(config.get("llm_dtype") or ""), "context": context if isinstance(context, int) else None,
            "created": self._created(), "versions": self._versions(),
            "source": {"tool": TOOL, "eval": self.of.id, "file": self.name, "id": str(self.raw.get("eval_id"))},
        }  # fmt: skip

    def _created(self) -> str:
        millis = self.raw.get("datetime_epoch_millis")
        if isinstance(millis, bool) or not isinstance(millis, int) or not 0 <= millis <= 9_999_999_999_999:
            raise UserError(f"{self.name}: datetime_epoch_millis is {millis!r}, not a time in milliseconds.")
        return datetime.fromtimestamp(millis / 1000, timezone.utc).isoformat(timespec="milliseconds")

    def _versions(self) -> dict[str, str]:
        named = {"sae-bench commit": "sae_bench_commit_hash", "sae-lens": "sae_lens_version"}
        return {name: str(self.raw[key]) for name, key in named.items() if self.raw.get(key)}

    def _of_sae(self, key: str) -> Any:
        metadata = self.sae.get("metadata")
        return self.sae.get(key) or (metadata.get(key) if isinstance(metadata, Mapping) else None)

    def _mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        if value is None and where == "sae_cfg_dict":
            return {}
        if not isinstance(value, Mapping):
            raise UserError(f"{self.name}: {where} is not an object but {str(value)[:40]!r}.")
        return value


def _whole(rows: Iterable[Row]) -> list[Row]:
    """The rows, each told how many slices its measurement has."""
    rows = list(rows)
    counts: dict[str, set[str]] = {}
    for row in rows:
        counts.setdefault(row.signature, set()).add(row.slice)
    return [replace(row, slices_total=len(counts[row.signature])) for row in rows]


def _matters(key: str) -> bool:
    """Whether a key of `eval_config` is a setting that tells numbers apart, and has no column of its own."""
    return key not in (*_KEPT_APART, *_NO_EFFECT) and not key.startswith("compute_")


def _short(value: Any) -> Any:
    """A setting that fits a row: a long list by its length and digest."""
    text = json.dumps(plain(value), sort_keys=True)
    if len(text) <= 120:
        return plain(value)
    size = f"{len(value)} values, " if isinstance(value, (list, dict)) else ""
    return f"{size}sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def file_name(name: str) -> str:
    """A name as part of a path: nothing in it that a path or a shell reads."""
    clean = re.sub(r"[^\w.@+=,-]", "_", name).lstrip(".") or "_"
    return clean if len(clean) <= 150 else f"{clean[:130]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
