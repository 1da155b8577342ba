"""What will run: which cells are finished already, and the fewest passes that fill the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from saebench.engine.groups import pairs_of
from saebench.engine.joint import Joint, together
from saebench.engine.judge_cost import cost
from saebench.engine.rows import Cell
from saebench.errors import UserError, nearest, unknown
from saebench.inputs import Losses, OtherCodes, SeedCodes, SeedGroup, SeedPairs
from saebench.judges.ngram import NGramJudge
from saebench.metric import Metric
from saebench.results import Row

if TYPE_CHECKING:
    from saebench.data.datasets import Dataset
    from saebench.engine.references import Fitting
    from saebench.judges.protocol import Judge
    from saebench.models import Subject
    from saebench.saes import SparseCoder
    from saebench.suite import Suite

GROUPED: frozenset[type] = frozenset({SeedPairs, SeedCodes})
"""Inputs that are filled from the SAE's seed group."""
POOLINGS = ("mean", "max", "last")
"""Ways in which a text's codes become one row."""


@dataclass(frozen=True)
class Failure:
    """A SAE that could not be loaded: its rows carry the reason."""

    name: str
    ref: str
    reason: str


@dataclass
class Plan:
    """The cells of a run, with the finished ones set apart.

    Attributes:
        cells: What is to be run.
        cached: Rows of cells that a store holds already.
        unreadable: Cells whose data could not be read.
        failures: SAEs that could not be loaded.
        groups: Seed groups, declared or found.
    """

    model: Subject
    suite: Suite
    metrics: list[Metric]
    cells: list[Cell] = field(default_factory=list)
    cached: list[Row] = field(default_factory=list)
    unreadable: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    groups: list[SeedGroup] = field(default_factory=list)

    def passes(self) -> dict[str, list[Cell]]:
        """The cells of each corpus, which share one pass; those of the weights stand under "".

        Labelled data under two names with the same texts are one corpus, such as `probing+last_token`.
        """
        grouped: dict[str, list[Cell]] = {}
        for cell in self.cells:
            grouped.setdefault(cell.data.name if cell.data else "", []).append(cell)
        return together(grouped)

    def describe(self) -> dict[str, Any]:
        """The plan as plain data, for `--dry-run`."""
        return {
            "suite": self.suite.name,
            "model": self.model.name,
            "cached": len({row.signature for row in self.cached}),
            "to_run": len(self.cells),
            "unreadable": sorted({f"{cell.metric.data}: {cell.problem}" for cell in self.unreadable}),
            "failed_to_load": [{"sae": f.name, "reason": f.reason} for f in self.failures],
            "groups": [{"name": g.name, "saes": list(g.names), "notes": list(g.notes)} for g in self.groups],
            "judge": cost(self.cells),
            "passes": [_pass(name, cells) for name, cells in self.passes().items()],
        }


def make_plan(
    model: Subject,
    suite: Suite,
    metrics: Sequence[Metric],
    saes: Iterable[SparseCoder],
    data: Mapping[str, Dataset | str],
    finished: Mapping[str, list[Row]],
    *,
    seed: int,
    failures: Sequence[Failure] = (),
    fitting: Fitting | None = None,
    groups: Sequence[SeedGroup] = (),
    judge: Judge | None = None,
) -> Plan:
    """Lay out the cells of every SAE and metric, leaving out those that are finished.

    Args:
        saes: Coders; their role says which of them are nulls and baselines.
        data: Data by name, or why it could not be read.
        fitting: Text that is not scored, for what metrics fit beforehand.
        groups: Seed groups, for metrics that ask for one.
        finished: Rows by signature of the cells that need not run again.
        judge: Who explains and scores latents; the judge for no network if None.
    """
    plan = Plan(model, suite, list(metrics), failures=list(failures), groups=list(groups))
    for sae in saes:
        pairs = pairs_of(sae, groups)
        for metric in metrics:
            given = data[metric.data] if metric.data else None
            if isinstance(given, str):
                plan.unreadable.append(Cell(sae, metric, model, None, suite.name, seed, problem=given))
                continue
            seeds = pairs if GROUPED & set(metric.inputs.values()) else None
            cell = Cell(
                sae, metric, model, given, suite.name, seed, fitting=fitting, pairs=seeds, judge=judge or NGramJudge()
            )
            done = finished.get(cell.signature)
            if done:
                plan.cached += done
            else:
                plan.cells.append(cell)
    return plan


def chosen_metrics(suite: Suite, names: Sequence[str] | None) -> list[Metric]:
    """The suite's metrics, or only those named, with the suite's settings where it has them.

    Raises:
        UserError: A metric or a pooling that does not exist, or a metric asked for twice.
    """
    from saebench import registry

    metrics = suite.metrics()
    if names:
        own = {metric.name: metric for metric in metrics}
        metrics = [own.get(name) or registry.get(name) for name in names]
    for metric in metrics:
        pooling = metric.settings.get("pooling")
        if pooling not in (None, *POOLINGS) and metric.data in ("probing", "last_token"):
            raise unknown(f"pooling of metric {metric.name!r}:", str(pooling), POOLINGS)
    signatures = [metric.signature for metric in metrics]
    twice = {s for s in signatures if signatures.count(s) > 1}
    if twice:
        raise UserError(f"Metric {sorted(twice)[0]!r} is asked for twice in suite {suite.name!r}: name it once.")
    return metrics


def chosen_data(suite: Suite, data: Mapping[str, Any] | None, metrics: Iterable[Metric]) -> dict[str, tuple[Any, Any]]:
    """Source and spec of the data that metrics ask for, with the caller's in place of the suite's.

    Raises:
        UserError: Data under a name that nothing asks for.
    """
    from saebench.data.datasets import ASIDE, spec_types
    from saebench.suite import data_spec

    types = spec_types()
    metrics = list(metrics)
    asked = dict.fromkeys(metric.data for metric in metrics if metric.data)
    if any(OtherCodes in metric.inputs.values() for metric in metrics):
        asked["text"] = None  # what they choose by is other text, whatever they are scored on
    wanted = [name for first in asked for name in (first, *ASIDE.get(first, ()))] or ["text"]
    for name in wanted:
        if name not in types:
            raise unknown("data name", name, types)
    known: dict[str, Any] = {name: suite.data.get(name) or types[name]() for name in wanted}
    chosen: dict[str, tuple[Any, Any]] = {name: (spec.source, spec) for name, spec in known.items()}
    for name, given in (data or {}).items():
        if name not in known:
            raise UserError(f"Suite {suite.name!r} uses no data named {name!r}. {nearest(name, known)}")
        if isinstance(given, Mapping):
            spec = data_spec(name, {**known[name].model_dump(), **given}, "the data given")
            chosen[name] = (spec.source, spec)
        else:
            chosen[name] = (given, known[name])
    return chosen


def _pass(name: str, cells: list[Cell]) -> dict[str, Any]:
    from saebench.engine import estimate

    corpus = Joint.of(cells).whole.corpus if name else None
    saes = list(dict.fromkeys(cell.sae.name for cell in cells))
    spliced = {c.sae.name for c in cells if Losses in c.metric.inputs.values()}
    return {
        "data": name or "(weights only)",
        "tokens": corpus.content if corpus else 0,
        "rows": corpus.rows if corpus else 0,
        "saes": saes,
        "metrics": list(dict.fromkeys(cell.metric.name for cell in cells)),
        "forwards": 1 if corpus else 0,
        "resumed_forwards": len(spliced),
        "minutes": estimate.minutes(cells),
        "memory_gb": estimate.memory_gb(cells),
    }
