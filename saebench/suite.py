"""Suites: which metrics run on which data, as YAML whose keys equal flag names and keyword arguments.

extends: core              # start from another suite; its metrics come first
summary: What it is for.
model: world               # any reference that --model takes
sae: ["world:*"]           # any references that --sae takes
metric: [l0, {dense_fraction: {above: [0.05]}}]
data:
  text: {source: my.jsonl, tokens: 200000, context: 128}
groups: {seeds: [a/seed0, a/seed1, a/seed2]}   # SAEs that differ in their seed alone; scored as well
references: {null: "null:random-32", baseline: "baseline:pca-32"}
seed: 0
judge: ngram               # who explains latents, or with settings: {"openai:MODEL": {budget_calls: 500}}
repeats: 1                 # seeds to score with, from `seed` upwards: more than one gives each metric its reseed noise
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from saebench.errors import UserError, unknown
from saebench.metric import Metric
from saebench.yamlfile import invalid, read_keys


class TextSpec(BaseModel):
    """Where a corpus comes from and how much of it is used."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="default",
        description="`world`, a file or folder, `hf:OWNER/NAME[@REVISION]`, or `default`: the world's documents for "
        "the world's model, openwebtext from the hub for any other",
    )
    tokens: int | None = Field(
        default=100_000,
        gt=0,
        description="valid tokens to score, to the end of the row that reaches them; null for all",
    )
    documents: int | None = Field(default=None, gt=0, description="most documents to read; null for no limit")
    context: int = Field(default=128, gt=1, description="tokens in a row, BOS included")
    column: str = "text"
    split: str = "train"
    config: str | None = None
    prepend_bos: bool = Field(default=True, description="put the model's BOS in front of every row")


class References(BaseModel):
    """SAEs that give each number its null and its baseline."""

    model_config = ConfigDict(extra="forbid")

    null: str | None = "null:random-32"
    baseline: str | None = "baseline:pca-32"

    @model_validator(mode="before")
    @classmethod
    def _null_is_a_name(cls, keys: Any) -> Any:
        """YAML reads an unquoted `null` as no value; as a key it can only mean the name."""
        if isinstance(keys, Mapping):
            return {"null" if key is None else key: value for key, value in keys.items()}
        return keys


class GroupSpec(BaseModel):
    """SAEs of one recipe and different seeds; a list stands for `sae`."""

    model_config = ConfigDict(extra="forbid")

    sae: list[Any] = Field(min_length=1, description="any references that --sae takes")
    init: list[Any] = Field(default_factory=list, description="their checkpoints at initialisation, in the same order")

    @model_validator(mode="before")
    @classmethod
    def _list_is_sae(cls, keys: Any) -> Any:
        return {"sae": list(keys)} if isinstance(keys, (list, tuple)) else keys

    @model_validator(mode="after")
    def _init_for_each(self) -> GroupSpec:
        if self.init and len(self.init) != len(self.sae):
            raise ValueError(f"{len(self.init)} checkpoints at initialisation for {len(self.sae)} SAEs")
        return self


class Suite(BaseModel):
    """A named set of metrics with settings, data and references."""

    model_config = ConfigDict(extra="forbid")

    name: str
    summary: str = ""
    metric: list[str | dict[str, dict[str, Any]]]
    data: dict[str, Any] = Field(default_factory=dict)
    references: References = Field(default_factory=References)
    model: str | None = None
    sae: list[str] = Field(default_factory=list)
    groups: dict[str, GroupSpec] = Field(default_factory=dict)
    judge: str | dict[str, dict[str, Any] | None] = Field(
        default="ngram", description="who explains and scores latents"
    )
    seed: int = 0
    repeats: int = Field(default=1, ge=1, description="seeds to score with, from `seed` upwards")

    def metrics(self) -> list[Metric]:
        """The metrics of the suite with the suite's settings.

        Raises:
            UserError: An unknown metric or setting.
        """
        from saebench import registry

        chosen: list[Metric] = []
        for entry in self.metric:
            pairs = [(entry, {})] if isinstance(entry, str) else list(entry.items())
            chosen += [registry.get(name).with_settings(**settings) for name, settings in pairs]
        return chosen


def load_suite(suite: str | Path | Suite | Mapping[str, Any]) -> Suite:
    """A suite by name, YAML file, mapping, or as it is.

    Raises:
        UserError: Unknown suite or key (the nearest is named), YAML that cannot be read, or a suite that extends
            itself.
    """
    return _loaded(suite, ())


def _loaded(suite: str | Path | Suite | Mapping[str, Any], above: tuple[Path, ...]) -> Suite:
    """The suite; `above` are the files of those that extend it, the outermost first."""
    if isinstance(suite, Suite):
        return suite
    if isinstance(suite, Mapping):
        return _validated({"name": "custom", **_extended(dict(suite), "the suite", above)}, "the suite")
    path = Path(suite)
    if path.suffix not in (".yaml", ".yml"):
        known = suite_files()
        if str(suite) not in known:
            raise unknown("suite", str(suite), known)
        path = known[str(suite)]
    if path.resolve() in above:
        chain = " -> ".join(file.name for file in (*above, path))
        raise UserError(f"Suite {above[0].name!r} extends itself: {chain}. Take 'extends' out of one of them.")
    raw = read_keys(path, "Suite file", "metric")
    return _validated({"name": path.stem, **_extended(raw, str(path), (*above, path.resolve()))}, str(path))


def _extended(raw: dict[str, Any], where: str, above: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of the suite that this one extends, with its own in their place; further metrics are added."""
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise UserError(f"Key 'extends' in {where} must be the name or file of one suite (got {base!r}).")
    inherited = _loaded(base, above).model_dump(exclude={"name", "summary"})
    return {**inherited, **raw, "metric": [*inherited["metric"], *raw.get("metric", [])]}


@functools.cache
def suite_files() -> dict[str, Path]:
    """The shipped suites by name."""
    spec = importlib.util.find_spec("saebench.evals")
    if spec is None or spec.origin is None:
        raise UserError("The shipped suites are not installed: run `pip install -e .` in the saebench checkout.")
    return {file.stem: file for file in sorted((Path(spec.origin).parent / "suites").glob("*.yaml"))}


def _validated(raw: dict[str, Any], where: str) -> Suite:
    data = {name: data_spec(name, keys, where) for name, keys in (raw.get("data") or {}).items()}
    try:
        return Suite.model_validate({**raw, "data": data})
    except ValidationError as error:
        raise invalid(error, where, _keys) from error


def data_spec(name: str, keys: Any, where: str) -> Any:
    """The checked keys of a data name: a `TextSpec`, `LabelledSpec` and so on.

    Raises:
        UserError: A name or a key that does not exist (the nearest is named), or a value that makes no sense.
    """
    from saebench.data.datasets import spec_types

    types = spec_types()
    if name not in types:
        raise unknown("data name", name, types)
    if isinstance(keys, BaseModel):
        return keys
    shape = types[name]
    try:
        return shape.model_validate(keys or {})
    except ValidationError as error:
        raise invalid(error, where, lambda _: shape.model_fields, ("data", name)) from error


def _keys(parents: list[str]) -> list[str]:
    shapes: dict[str, type[BaseModel]] = {"references": References, "groups": GroupSpec}
    shape = shapes.get(parents[0], Suite) if parents else Suite
    return [*shape.model_fields, *(["extends"] if shape is Suite else [])]
