"""Look at latents: one by its number, from a pass of its own, or some of each SAE of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench.engine.judged import chosen_judge, collector, drawn_latents, refuse_remote
from saebench.errors import UserError
from saebench.inputs import DrawnLatents, Sampling
from saebench.judges.look import Look

if TYPE_CHECKING:
    from saebench.data.datasets import Dataset
    from saebench.models import Subject
    from saebench.saes import SparseCoder

TOKENS = 50_000
"""Tokens of text that one latent is looked at on."""
SHOWN = 30
"""Latents of a SAE that the page of a run shows."""


def look_at(
    sae: Any,
    latent: int,
    *,
    model: Any = None,
    text: Any = None,
    judge: Any = None,
    hook: str | None = None,
    device: str = "auto",
    seed: int = 0,
    offline: bool = False,
) -> Look:
    """One latent with its contexts, explanation and what a judge says of held-out ones.

    Args:
        sae: Reference or object.
        latent: Its number, from 0.
        model: Hub id, directory or object; else the one that the SAE names.
        text: Source of the text, instead of the default.
        judge: As `evaluate` takes it.

    Raises:
        UserError: No such latent, SAE, model, text or judge.
    """
    from saebench.data.datasets import load_dataset
    from saebench.engine.plan import chosen_data
    from saebench.engine.prepare import load_subject
    from saebench.registry import get
    from saebench.saes import Recipe, check_fits, resolve
    from saebench.suite import load_suite

    asked = chosen_judge("ngram" if judge is None else judge)
    if offline:
        refuse_remote(asked, [get("detection")])
    coder = resolve([sae], hook=hook, device="cpu", offline=offline, seed=seed)[0]
    if isinstance(coder, Recipe):
        raise UserError(f"{coder.ref} is fitted to activations and has no latents to show: name a SAE.")
    if not 0 <= latent < coder.d_sae:
        raise UserError(f"SAE {coder.name!r} has no latent {latent}: its {coder.d_sae} are 0 to {coder.d_sae - 1}.")
    subject = load_subject(model, [coder], device=device, dtype="auto", offline=offline)
    check_fits(coder, subject.site(coder.hook_in).width, subject.site(coder.hook_out).width)
    suite = load_suite({"metric": ["detection"], "data": {"text": {"tokens": TOKENS}}})
    source, spec = chosen_data(suite, None if text is None else {"text": text}, [get("detection")])["text"]
    read = load_dataset("text", source, spec, subject, seed=seed, offline=offline)
    return _looked(coder.to(device=subject.device), latent, subject, read, asked, seed)


def _looked(sae: SparseCoder, latent: int, model: Subject, text: Dataset, judge: Any, seed: int) -> Look:
    from saebench.engine.execute import token_budget
    from saebench.engine.stream import Pass, Task

    kept = collector(sae, text, Sampling(), seed, [latent])
    task = Task(sae, [])
    task.collectors = {"contexts": kept}
    Pass(model, text.corpus, [task], budget=token_budget(model.device, [sae])).run()
    if task.failure:
        raise UserError(f"SAE {sae.name!r} could not be run: {task.failure}.")
    drawn = drawn_latents(kept, sae, model, text, judge, seed, every=True)
    return _look(sae.name, drawn, 0, drawn.detection()[0], drawn.fuzzing()[0])


def run_looks(sae: str, drawn: DrawnLatents) -> list[Look]:
    """Some latents of a run's SAE, evenly from the lowest to the highest score; none that was not asked about."""
    judged = drawn.answered("detection")
    scored = [i for i, one in enumerate(judged) if one.balanced_accuracy is not None]
    scored.sort(key=lambda i: judged[i].balanced_accuracy or 0.0)
    places = np.unique(np.linspace(0, len(scored) - 1, min(SHOWN, len(scored))).round().astype(int))
    fuzzed = drawn.answered("fuzzing")
    return [_look(sae, drawn, i, judged[i], fuzzed[i] if fuzzed else None) for i in (scored[place] for place in places)]


def write_pages(folder: Path, sae: str, seed: int, drawn: Mapping[Sampling, DrawnLatents]) -> None:
    """The page of a SAE and seed beside a run, if a judge was asked about its latents."""
    from saebench.judges.look_html import write_run

    for one in drawn.values():
        if looks := run_looks(sae, one):
            write_run(folder, sae, seed, looks, len(one.latents))
            return


def _look(sae: str, drawn: DrawnLatents, place: int, detection: Any, fuzzing: Any) -> Look:
    return Look(sae, drawn.judge().name, detection, fuzzing, drawn.examples(place))
