"""What a board shows, as YAML: its columns, their order, the Pareto figures and the filters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from saebench.yamlfile import invalid, read_keys


class Column(BaseModel):
    """One metric, or one slice of it, as a column or an axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    slice: str | None = Field(
        default=None, description="one slice; if left out those of the top level, or of many the overall value"
    )
    label: str | None = Field(default=None, description="header; the metric's name in words when left out")
    digits: int | None = Field(default=None, ge=0, le=12, description="decimals; from the standard error when left out")

    @property
    def key(self) -> str:
        """Name and slice in one string, `metric[slice]`."""
        return f"{self.metric}[{self.slice}]" if self.slice else self.metric


def _column(value: Any) -> Any:
    """A column from its short form, `metric` or `metric[slice]`."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([^\[\]]+)(?:\[(.+)\])?", value.strip())
    return {"metric": match[1], "slice": match[2]} if match else {"metric": value}


ColumnLike = Annotated[Column, BeforeValidator(_column)]


class Pareto(BaseModel):
    """One figure: a metric against another, with the front of each model, hook and width."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: ColumnLike = Column(metric="l0")
    y: ColumnLike
    reference: tuple[float, float] | None = Field(
        default=None, description="(x, y) that the hypervolume is measured from; the worst SAE on each axis if left out"
    )
    matched: tuple[float, ...] | None = Field(
        default=None, description="values of x at which y is read off; the middle of the shared range if left out"
    )


class Filters(BaseModel):
    """Rows to keep: each key is a column of the results with the values wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sae: tuple[str, ...] | None = None
    architecture: tuple[str, ...] | None = None
    d_sae: tuple[int, ...] | None = None
    role: tuple[Literal["sae", "null", "baseline"], ...] | None = None
    model: tuple[str, ...] | None = None
    hook_in: tuple[str, ...] | None = None
    hook_out: tuple[str, ...] | None = None
    corpus: tuple[str, ...] | None = None


class Board(BaseModel):
    """Definition of a board; every key has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = "Leaderboard"
    summary: str = ""
    columns: tuple[ColumnLike, ...] | None = Field(
        default=None, description="metrics; those of the default board that the results hold when left out"
    )
    sort: tuple[str, ...] = ("architecture", "l0")
    pareto: tuple[Pareto, ...] | None = None
    filters: Filters = Filters()
    error: Literal["stderr", "interval", "none"] = Field(default="stderr", description="what stands beside a value")
    level: float = Field(default=0.05, gt=0, lt=1, description="family-wise error of the significance groups")
    labels: bool = Field(default=True, description="name the SAEs on a front")


DEFAULT_COLUMNS = tuple(
    Column(metric=name)
    for name in (
        "l0", "loss_recovered", "ce_delta", "explained_variance", "cosine_similarity", "dead_fraction",
        "sparse_probing", "sparse_probing_last_token", "mean_absorption_fraction", "absorption_main_f1", "scr", "tpp",
        "ravel_disentanglement", "ravel_cause", "unlearning_held_out",
        "gt_mcc", "gt_coverage", "feature_splits", "true_absorption", "true_hedging",
    )
)  # fmt: skip
DEFAULT_PARETO = tuple(Pareto(y=Column(metric=name)) for name in ("loss_recovered", "explained_variance", "ce_delta"))


def load_board(board: str | Path | Board | Mapping[str, Any] | None = None) -> Board:
    """A board from a YAML file, a mapping, or as it is; the default board for None.

    Raises:
        UserError: Unknown key (the nearest is named), a value of the wrong kind, or a file that cannot be read.
    """
    if board is None:
        return Board()
    if isinstance(board, Board):
        return board
    if isinstance(board, Mapping):
        return _validated(dict(board), "the board")
    path = Path(board)
    return _validated(read_keys(path, "Board file", "columns"), str(path))


def _validated(raw: dict[str, Any], where: str) -> Board:
    raw = {**raw, **{key: (raw[key],) for key in ("sort",) if isinstance(raw.get(key), str)}}
    if isinstance(raw.get("filters"), dict):
        wanted = raw["filters"].items()
        raw["filters"] = {key: value if isinstance(value, (list, tuple)) else (value,) for key, value in wanted}
    try:
        return Board.model_validate(raw)
    except ValidationError as error:
        raise invalid(error, where, _keys) from error


def _keys(parents: list[str]) -> Iterable[str]:
    """The keys that may stand below these."""
    if not parents:
        return Board.model_fields
    inner = "y" if {"x", "y"} & set(parents[1:]) else parents[0]
    shapes: dict[str, type[BaseModel]] = {"filters": Filters, "pareto": Pareto, "columns": Column, "y": Column}
    return shapes.get(inner, Board).model_fields
