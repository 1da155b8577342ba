"""What `saebench list` and `saebench show` tell, without importing torch where they can."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from saebench import registry
from saebench.errors import UserError, nearest
from saebench.suite import Suite, load_suite, suite_files

if TYPE_CHECKING:
    from saebench.metric import Metric

_ARROWS = {"higher": "higher is better", "lower": "lower is better", "one": "closest to 1 is better", "none": ""}


def listed(what: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of metrics, suites, saes or models."""
    return {"metrics": _metrics, "suites": _suites, "saes": _saes, "models": _models}[what]()


def shown(name: str, *, hook: str | None = None, model: str | None = None, text: str | None = None) -> str:
    """A metric, a suite, or a SAE by reference, as text; with a model, a SAE is tried on a probe batch of text.

    Raises:
        UserError: Nothing of that name; the nearest is offered.
    """
    metrics = registry.metrics()
    if name in metrics:
        return _metric(metrics[name])
    if name in suite_files() or name.endswith((".yaml", ".yml")):
        return _suite(load_suite(name))
    if ":" in name or "/" in name or os.path.lexists(name):
        from saebench.saes.loading import load_first
        from saebench.saes.recipes import Recipe
        from saebench.showing import sae_text

        sae, hooks = load_first(name, hook=hook)
        if isinstance(sae, Recipe):
            return sae.about()
        return sae_text(sae, model=model, text=text, hooks=() if hook else hooks)
    raise UserError(
        f"Nothing is called {name!r}: neither metric, suite nor SAE. {nearest(name, [*metrics, *suite_files()])}"
    )


def _metrics() -> tuple[list[str], list[list[str]]]:
    rows = [
        [m.name, str(m.version), m.kind, m.unit, m.better if m.better != "none" else "-", m.summary]
        for m in registry.metrics().values()
    ]
    return ["metric", "version", "kind", "unit", "better", "what it is"], rows


def _suites() -> tuple[list[str], list[list[str]]]:
    suites = [load_suite(name) for name in suite_files()]
    return ["suite", "metrics", "what it is"], [[s.name, str(len(s.metric)), s.summary] for s in suites]


def _saes() -> tuple[list[str], list[list[str]]]:
    from saebench.data.world import sae_index

    rows = []
    for name, facts in sae_index().items():
        damage = facts.get("damage") or ""
        rows.append([f"world:{name}", str(facts.get("architecture", "")), str(facts.get("hook", "")), str(damage)])
    return ["sae", "architecture", "hook", "damage"], rows


def _models() -> tuple[list[str], list[list[str]]]:
    return ["model", "what it is"], [
        ["world", "the shipped language model of the world"],
        ["synthetic:KIND?d=64&n=128", "a known dictionary: activations of which the truth is known, no language model"],
        ["DIRECTORY", "a Hugging Face causal language model on disk"],
        ["OWNER/NAME", "a Hugging Face causal language model on the hub"],
    ]


def _metric(metric: Metric) -> str:
    lines = [f"{name:14} {value}" for name, value in metric_facts(metric).items()]
    return "\n".join([metric.name, "", metric.doc, "", *lines])


def metric_facts(metric: Metric) -> dict[str, Any]:
    """What a metric declares, in the words of `saebench show`."""
    low, high = ("open" if bound is None else f"{bound:g}" for bound in metric.bounds)
    return {
        "version": metric.version,
        "unit": metric.unit,
        "better": _ARROWS[metric.better] or "a description, not a score",
        "best": "-" if metric.best is None else f"{metric.best:g}",
        "bounds": f"{low} to {high}",
        "inputs": ", ".join(kind.__name__ for kind in metric.inputs.values()),
        "cost": _cost(metric),
        "interval over": metric.units if metric.units != "none" else "nothing (no interval)",
        "settings": f"\n{'':15}".join(_setting(metric, name) for name in metric.settings) or "-",
        "signature": metric.signature,
        **({"caution": metric.caution} if metric.caution else {}),
    }


def _setting(metric: Metric, name: str) -> str:
    takes = metric.takes(name)
    return f"{name}={metric.settings[name]}" + (f": {takes}" if takes else "")


def _cost(metric: Metric) -> str:
    names = {kind.__name__ for kind in metric.inputs.values()}
    if metric.kind == "weights":
        return "no pass: weights only"
    if "Losses" in names:
        return "shared pass, and one forward resumed from the hook for each SAE"
    if "JudgedLatents" in names:
        return "shared pass, and a judge's answers about latents (--judge; see run --dry-run)"
    if "QuestionRuns" in names:
        return "a pass over each of two texts and the questions, and one forward resumed for each SAE and setting"
    if "EntityCodes" in names:
        return "shared pass, and forwards and backwards resumed from the hook to fit a mask for each SAE"
    return "shared pass: one forward of the model, one encode for each SAE"


def _suite(suite: Suite) -> str:
    data = [f"  {name}: {_data(spec)}" for name, spec in suite.data.items()]
    metrics = [f"  {metric.signature}: {metric.summary}" for metric in suite.metrics()]
    references = f"null {suite.references.null or '-'}, baseline {suite.references.baseline or '-'}"
    return "\n".join(
        [suite.name, "", suite.summary, "", "data", *data, "metrics", *metrics, "references", f"  {references}"]
    )


def _data(spec: Any) -> str:
    """The source, and the keys that are not what they are by default."""
    fields = type(spec).model_fields
    keys = {k: v for k, v in spec.model_dump().items() if k != "source" and v != fields[k].default}
    return ", ".join([spec.source, *(f"{k} {v}" for k, v in keys.items())])
