"""From what a caller names (SAEs, suite, model, data) to a plan in which everything is loaded."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.engine import execute
from saebench.engine import groups as seed_groups
from saebench.engine.judged import chosen_judge, refuse_remote
from saebench.engine.plan import GROUPED, Failure, Plan, chosen_data, chosen_metrics, make_plan
from saebench.engine.references import fitted, fitting_text, references
from saebench.engine.rooms import settled
from saebench.errors import UserError, unknown
from saebench.inputs import FITTED
from saebench.results import Store
from saebench.suite import Suite, load_suite

if TYPE_CHECKING:
    from saebench.data.datasets import Dataset
    from saebench.inputs import SeedGroup
    from saebench.models import Subject
    from saebench.saes import Recipe, SparseCoder


def prepare(
    saes: Any,
    suite: str | Path | Suite | Mapping[str, Any],
    *,
    model: Any = None,
    data: Mapping[str, Any] | None = None,
    metrics: Sequence[str] | None = None,
    groups: Mapping[str, Any] | None = None,
    store: Store | None = None,
    hook: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int | None = None,
    judge: Any = None,
    offline: bool = False,
) -> Plan:
    """Load what was asked for and lay out the plan; nothing is run yet."""
    suite = load_suite(suite)
    own = _listed(saes)
    suite = seed_groups.with_groups(suite, own, groups)
    given = [*(own or suite.sae), *seed_groups.members(suite.groups)]
    hook = hook or _only_hook(model or suite.model)
    seed = suite.seed if seed is None else seed
    wanted = chosen_metrics(suite, metrics)
    asked = chosen_judge(suite.judge if judge is None else judge)
    sources = chosen_data(suite, data, wanted)
    if offline:
        refuse_remote(asked, wanted)
        _refuse_missing(suite, sources, model, given if own else [])
    coders, recipes, failures = _load_saes(given, hook=hook, offline=offline, seed=seed)
    subject = load_subject(model or suite.model, coders, device=device, dtype=dtype, offline=offline)
    fitting, misfits = fitting_saes(coders, subject)
    failures += misfits
    if not fitting and not recipes:
        raise UserError(failures[0].reason if len(failures) == 1 else _all_failed(failures))
    streams = any(metric.kind != "weights" for metric in wanted)
    read = read_data(sources, subject, seed=seed, offline=offline) if streams else {}
    readable = {name: data.corpus for name, data in read.items() if not isinstance(data, str)}
    to_come = len(recipes) + sum(bool(ref) for ref in (suite.references.null, suite.references.baseline))
    scored = settled(fitting, subject.device, to_come)
    fits = any(FITTED & set(metric.inputs.values()) for metric in wanted)
    needs_text = bool(fits or recipes or suite.references.null or suite.references.baseline)
    text = fitting_text(readable, sources, subject, offline=offline) if needs_text else None
    scored += fitted(recipes, fitting, subject, text)
    scored += [extra for extra in references(suite, scored, subject, text, seed) if not _among(extra, scored)]
    finished = store.finished() if store else {}
    grouped = any(GROUPED & set(metric.inputs.values()) for metric in wanted)
    return make_plan(
        subject,
        suite,
        wanted,
        settled(scored, subject.device),
        read,
        finished,
        seed=seed,
        failures=failures,
        fitting=text,
        groups=_groups(suite, scored, failures, hook=hook, offline=offline) if grouped or suite.groups else [],
        judge=asked,
    )


def _groups(
    suite: Suite, saes: list[SparseCoder], failures: Sequence[Failure], *, hook: str | None, offline: bool
) -> list[SeedGroup]:
    """The seed groups that were declared, and those that show in the metadata of the other SAEs."""
    from saebench.saes import load_sae

    device = saes[0].W_dec.device if saes and saes[0].W_dec is not None else "cpu"
    load = partial(load_sae, hook=hook, device=device, offline=offline)
    declared = seed_groups.declared(suite.groups, saes, failures, load)
    return [*declared, *seed_groups.found(saes, declared)]


def _refuse_missing(suite: Suite, sources: Mapping[str, tuple[Any, Any]], model: Any, saes: Any) -> None:
    """Check before anything is loaded that all a run needs lies on this machine.

    Raises:
        UserError: What is missing, all of it, and the command that gets it.
    """
    from saebench.fetch import refuse_missing

    data = {
        name: spec.model_copy(update={"source": source})
        for name, (source, spec) in sources.items()
        if isinstance(source, str)
    }
    named = [ref for ref in (saes if isinstance(saes, (list, tuple)) else [saes]) if isinstance(ref, str)]
    refuse_missing(
        suite.model_copy(update={"data": data}), model=model if isinstance(model, str) else suite.model, saes=named
    )


def read_data(
    sources: Mapping[str, tuple[Any, Any]], model: Subject, *, seed: int, offline: bool
) -> dict[str, Dataset | str]:
    """The data by name, or why it could not be read: what is there is scored all the same.

    Raises:
        UserError: None could be read.
    """
    from saebench.data.datasets import ASIDE, load_dataset

    beside = {name for names in ASIDE.values() for name in names}
    read: dict[str, Dataset | str] = {}
    for name, (source, spec) in sources.items():
        if name in beside:
            continue
        aside = {other: sources[other] for other in ASIDE.get(name, ())}
        load = partial(load_dataset, name, source, model=model, seed=seed, offline=offline, aside=aside)
        try:
            read[name] = _answerable(load, spec, model) if name == "questions" else load(spec=spec)
        except UserError as error:
            read[name] = str(error)
    problems = [problem for problem in read.values() if isinstance(problem, str)]
    if len(problems) == len(read):
        raise UserError("\n".join(dict.fromkeys(problems)))
    return read


def _answerable(load: Callable[..., Dataset], spec: Any, model: Subject) -> Dataset:
    """Questions in the style asked for; `auto` is by letter, or by the options' text where letters are at chance."""
    from saebench.engine.answers import above_chance

    data = load(spec=spec)
    if spec.style != "auto" or above_chance(model, data, execute.token_budget(model.device, [])):
        return data
    by_text = load(spec=spec.model_copy(update={"style": "text"}))
    note = "answered by the likelihood of the options' text: by letter the model is at chance"
    return replace(by_text, items=replace(by_text.items, left_out=(*by_text.items.left_out, note)))


def _listed(saes: Any) -> list[Any]:
    """One SAE or several as a list; those of a mapping each with its name, `{name: ref}`."""
    if isinstance(saes, Mapping):
        return [{name: ref} for name, ref in saes.items()]
    return list(saes) if isinstance(saes, (list, tuple)) else [saes]


def _among(sae: SparseCoder, others: Iterable[SparseCoder]) -> bool:
    return any(other.name == sae.name and other.fingerprint == sae.fingerprint for other in others)


def _load_saes(
    saes: list[Any], *, hook: str | None, offline: bool, seed: int
) -> tuple[list[SparseCoder], list[Recipe], list[Failure]]:
    """Load each SAE; one that cannot be loaded does not stop the others.

    Raises:
        UserError: None was given, or two different SAEs have one name.
    """
    from saebench.saes import Recipe, resolve

    given = _expanded(saes)
    if not given:
        raise UserError("No SAE to score: give --sae REF, or a suite that names some.")
    loaded: list[Any] = []
    failures: list[Failure] = []
    for ref in given:
        one = ref if isinstance(ref, Mapping) else [ref]
        try:
            loaded += resolve(one, hook=hook, device="cpu", offline=offline, seed=seed)
        except UserError as error:
            name, ref = next(iter(ref.items())) if isinstance(ref, Mapping) else ("", ref)
            label = name or (str(ref) if isinstance(ref, (str, Path)) else type(ref).__name__)
            failures.append(Failure(name=label, ref=label, reason=str(error)))
    unique = resolve(loaded, device="cpu")
    recipes = [sae for sae in unique if isinstance(sae, Recipe)]
    return [sae for sae in unique if not isinstance(sae, Recipe)], recipes, failures


def _expanded(refs: list[Any]) -> list[Any]:
    """References with `world:*` and the like replaced by the SAEs of the world that match."""
    from saebench.data.world import sae_names

    found: list[Any] = []
    for ref in refs:
        if isinstance(ref, str) and ref.startswith("world:") and any(sign in ref for sign in "*?["):
            names = fnmatch.filter(sae_names(), ref.removeprefix("world:"))
            if not names:
                raise unknown("SAE of the world", ref.removeprefix("world:"), sae_names())
            found += [f"world:{name}" for name in names]
        else:
            found.append(ref)
    return found


def _only_hook(model: Any) -> str | None:
    """The hook that every SAE has on a known dictionary, which has one; None on a language model."""
    from saebench.models.synthetic import HOOK, SCHEME

    synthetic = str(model).startswith(f"{SCHEME}:") if isinstance(model, str) else getattr(model, "truth", None)
    return HOOK if synthetic else None


def load_subject(model: Any, saes: Iterable[SparseCoder], *, device: str, dtype: str, offline: bool) -> Subject:
    """The model asked for, or the one that all SAEs name."""
    from saebench.models import load_model
    from saebench.models.loading import WORLD
    from saebench.models.names import hub_id

    if model is None:
        told = {str(name) for sae in saes if (name := sae.metadata.get("model_name"))}
        named = {WORLD[0] if name in WORLD else hub_id(name) for name in told}
        if len(named) != 1:
            found = f"they name {', '.join(sorted(named))}" if named else "the SAEs name none"
            raise UserError(f"Which model? Pass --model (a hub id or a local directory): {found}.")
        model = named.pop()
    return load_model(model, device=device, dtype=dtype, offline=offline)


def fitting_saes(saes: Iterable[SparseCoder], model: Subject) -> tuple[list[SparseCoder], list[Failure]]:
    """The SAEs whose hooks exist on the model with their sizes, and why the others do not fit."""
    from saebench.engine.processed import suited
    from saebench.saes import check_fits

    fitting: list[SparseCoder] = []
    failures: list[Failure] = []
    for sae in saes:
        try:
            check_fits(sae, model.site(sae.hook_in).width, model.site(sae.hook_out).width)
            fitting.append(suited(sae, model))
        except UserError as error:
            failures.append(Failure(sae.name, sae.ref, str(error)))
    return fitting, failures


def _all_failed(failures: Sequence[Failure]) -> str:
    reasons = "\n".join(f"  {failure.name}: {failure.reason}" for failure in failures)
    return f"None of the {len(failures)} SAEs can be scored:\n{reasons}"
