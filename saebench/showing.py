"""`saebench show` of a SAE: what it holds, and what it does on a probe batch of its model."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from saebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.models import Subject
    from saebench.saes import Codes, SparseCoder

PROBE_TOKENS = 4096
"""Tokens of a probe batch."""


def sae_text(sae: SparseCoder, *, model: str | None = None, text: str | None = None, hooks: Sequence[str] = ()) -> str:
    """What a SAE holds; with a model, or for a SAE of the world, what it does on a probe batch, and a verdict.

    Args:
        sae: A loaded SAE.
        model: Model to run; the world's own is known.
        text: Where the probe batch comes from, as for `--data text=`.
        hooks: All hooks at which its checkpoint is scored, this the first of them.

    Raises:
        UserError: The SAE does not fit the model, or there is no text.
    """
    from saebench.saes import described

    facts, warnings, ending = described.facts(sae), list(sae.warnings), ""
    model = model or ("world" if sae.ref.startswith("world:") else None)
    if model:
        tried, found, ending = _tried(sae, model, text or "default")
        facts, warnings = {**facts, **tried}, [*warnings, *found]
    lines = [f"{name:24} {value}" for name, value in facts.items()]
    notes = [f"warning: {one}" for one in warnings] or ["no warning: the weights pass the load gate"]
    if hooks:
        notes.append(f"scored at {len(hooks)} hooks, this the first (--hook for another): {', '.join(hooks)}")
    return "\n".join([sae.name, "", *lines, "", *notes, *([f"verdict: {ending}"] if ending else [])])


def _tried(sae: SparseCoder, ref: str, text: str) -> tuple[dict[str, str], list[str], str]:
    from saebench.engine.doubts import places
    from saebench.models import load_model
    from saebench.saes import check_fits, described, measure

    model = load_model(ref)
    check_fits(sae, model.site(sae.hook_in).width, model.site(sae.hook_out).width)
    others = places(model, sae)
    tried = {*chain(*others.near.values(), *others.far.values())}
    acts, source = _probe_acts(model, {sae.hook_in, sae.hook_out}, text, tried=tried)
    x, y = acts[sae.hook_in], acts[sae.hook_out]
    codes = _row_codes(sae, model, text) if sae.needs_sequence else None
    measured = measure(sae, x, y, codes, *others.of(acts))
    return described.measurements(sae, measured, len(x), source), measured.warnings, described.verdict(sae, measured)


def probe_batch(
    model: Subject, hook_in: str, hook_out: str, source: str = "default", tokens: int = PROBE_TOKENS
) -> tuple[Tensor, Tensor, str]:
    """Activations of a model's own text at two hooks, each `[tokens, width]`, and what the text is.

    Raises:
        UserError: No text can be read.
    """
    acts, text = _probe_acts(model, {hook_in, hook_out}, source, tokens)
    return acts[hook_in], acts[hook_out], text


def _probe_acts(
    model: Subject, hooks: set[str], source: str, tokens: int = PROBE_TOKENS, tried: Collection[str] = ()
) -> tuple[dict[str, Tensor], str]:
    """Activations at hooks, and what text it is; of hooks that are only tried, as many tokens as that takes."""
    import torch

    from saebench.saes.conventions import PROBE

    corpus = _text(model, source, tokens)
    parts: dict[str, list[Tensor]] = {hook: [] for hook in sorted({*hooks, *tried})}
    for acts, valid in _rows(model, list(parts), corpus):
        for hook, rows in parts.items():
            if hook in hooks or sum(map(len, rows)) < PROBE:
                rows.append(acts[hook].cpu()[valid].float())
    if not corpus.rows:
        raise UserError(f"There is no text in {source!r} to try the SAE on.")
    return {hook: torch.cat(rows) for hook, rows in parts.items()}, corpus.source


def _row_codes(sae: SparseCoder, model: Subject, source: str) -> Codes:
    """Codes of a probe batch's tokens, each with those before it in its row."""
    from saebench.engine.encoding import encoded
    from saebench.saes import Codes

    rows = _rows(model, [sae.hook_in], _text(model, source, PROBE_TOKENS))
    return Codes.cat([encoded(sae, acts[sae.hook_in], valid).to("cpu") for acts, valid in rows])


def _text(model: Subject, source: str, tokens: int) -> Corpus:
    from saebench.data.corpus import build_corpus
    from saebench.suite import TextSpec

    return build_corpus("text", source, TextSpec(tokens=tokens), model)


def _rows(model: Subject, hooks: list[str], corpus: Corpus) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Activations by hook `[1, length, width]` of each row of a text, and which of its tokens count `[1, length]`."""
    import torch

    for row in range(corpus.rows):
        ids = torch.as_tensor(corpus.row(row), dtype=torch.long)[None]
        valid = torch.from_numpy(corpus.valid[corpus.starts[row] : corpus.starts[row + 1]])
        yield model.forward(ids, hooks, final=False).acts, valid[None]
