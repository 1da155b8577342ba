"""The null and the baseline that give a board's numbers their meaning, once for each hook and width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from saebench.data.corpus import build_corpus
from saebench.engine.batches import Batcher
from saebench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.models import Subject
    from saebench.saes import Recipe, SparseCoder
    from saebench.suite import Suite

FIT_TOKENS = 20_000
"""Tokens that a baseline is fitted on."""
_FEWEST = 2_000
"""With fewer tokens left of a text than this, the scored text itself is fitted to, and the rows say so."""


@dataclass(frozen=True)
class Fitting:
    """The text that nulls and baselines are fitted to.

    Attributes:
        corpus: Documents that are not scored, where there are any left.
        warning: What is to be said where there are none.
    """

    corpus: Corpus
    warning: str = ""


def fitting_text(
    corpora: Mapping[str, Corpus], sources: Mapping[str, tuple[Any, Any]], model: Subject, *, offline: bool
) -> Fitting | None:
    """The documents of the text that follow the scored ones; without a text, the first of the other data.

    Random tokens are no text: nothing is fitted to them.
    """
    if "text" not in corpora:
        first = next((corpus for name, corpus in corpora.items() if name != "random_tokens"), None)
        if first is None:
            return None
        return Fitting(first, f"fitted to the rows of {first.name!r}, scored ones included, for the suite has no text")
    corpus, (source, spec) = corpora["text"], sources["text"]
    more = spec.model_copy(update={"tokens": FIT_TOKENS, "documents": corpus.read + FIT_TOKENS // 10})
    try:
        rest = build_corpus("fit", source, more, model, offline=offline, after=corpus.read)
    except UserError:
        rest = None
    if rest is None or rest.content < _FEWEST:
        return Fitting(corpus, "fitted to the scored text itself: no other documents are left of it")
    return Fitting(rest)


def references(
    suite: Suite, saes: Iterable[SparseCoder], model: Subject, fitting: Fitting | None, seed: int
) -> list[SparseCoder]:
    """The suite's null and baseline for each output hook of the SAEs.

    The null has the width of the widest SAE at its hook. Both encode and reconstruct the output hook, for
    a transcoder too: it is held against what an autoencoder of its target scores.
    """
    from saebench.saes import load_sae

    wanted = [ref for ref in (suite.references.null, suite.references.baseline) if ref]
    recipes = [load_sae(ref, seed=seed) for ref in wanted]
    return fitted(recipes, list(saes), model, fitting, clip=True)


def fitted(
    recipes: Iterable[Recipe],
    saes: list[SparseCoder],
    model: Subject,
    fitting: Fitting | None,
    *,
    clip: bool = False,
) -> list[SparseCoder]:
    """Baselines and nulls fitted to activations: at their own hook, or at each output hook of the SAEs.

    Args:
        clip: Take as many components or latents as there are where a recipe asks for more.

    Raises:
        UserError: A recipe without a hook and no SAE to take one from, or no data to fit to.
    """
    made: list[SparseCoder] = []
    widths: dict[str, int] = {}
    for sae in saes:
        widths[sae.hook_out] = max(sae.d_sae, widths.get(sae.hook_out, 0))
    samples: dict[str, Tensor] = {}
    home = next((sae.b_dec.device for sae in saes if sae.b_dec is not None), model.device)  # where they all fit
    for recipe in recipes:
        hooks = [recipe.hook] if recipe.hook else list(widths)
        if not hooks:
            raise UserError(
                f"At which hook? {recipe.name!r} stands alone: pass --hook, such as blocks.2.hook_resid_post."
            )
        if fitting is None:
            continue
        for hook in hooks:
            if hook not in samples:
                samples[hook] = activations(model, hook, fitting.corpus)
            room = samples[hook].shape[-1] if recipe.kind == "pca" else widths.get(hook, samples[hook].shape[-1])
            if clip and recipe.k and recipe.k > room:
                recipe = replace(recipe, k=room, name=f"{recipe.kind}-{room}")
            coder = recipe.fit(samples[hook], hook=hook, width=widths.get(hook))
            if len(hooks) > 1:
                coder = coder.replace(name=f"{coder.name} at {hook}")
            if fitting.warning:
                coder = coder.replace(warnings=[*coder.warnings, fitting.warning])
            made.append(coder.to(device=home))
    return made


def activations(model: Subject, hook: str, corpus: Corpus, most: int = FIT_TOKENS) -> Tensor:
    """Activations at a hook on rows spread evenly over the corpus, `[tokens, d]`, about `most` tokens."""
    batcher = Batcher(corpus, model.device)
    step = max(1, corpus.content // most)
    batcher.order = batcher.order[::step]
    parts = []
    with torch.no_grad():
        for batch in batcher.all(4096):
            parts.append(model.forward(batch.tokens, [hook], final=False).acts[hook][batch.valid].float())
    return torch.cat(parts)
