"""A short trial before a pass: whether SAEs, read in another way or at another hook, would explain much more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from saebench.engine.batches import Batcher
from saebench.errors import UserError
from saebench.saes.coder import Coder
from saebench.saes.conventions import Elsewhere, suspect

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.corpus import Corpus
    from saebench.models import Subject
    from saebench.saes import SparseCoder

TOKENS = 256
"""Tokens of the trial, from rows spread over the corpus."""

MOST = 32
"""Most blocks further away that are tried, the nearest ones: their activations are held at the same time."""

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_KINDS = ("hook_resid_pre", "hook_resid_post", "mlp.hook_in", "hook_mlp_out", "hook_attn_out")
"""Hooks of a block that are taken for one another."""


@torch.no_grad()
def doubts(model: Subject, corpus: Corpus, saes: Sequence[SparseCoder]) -> list[list[str]]:
    """For each SAE the warning that `suspect` gives on a few tokens, with other hooks than its own tried as well.

    SAEs that need the whole sequence, read several hooks, or are not a dictionary are not tried; nothing is tried on
    random tokens, on which a SAE of text need not explain much as it is meant to be read.
    """
    if corpus.name == "random_tokens":
        return [[] for _ in saes]
    others = {place: places(model, sae) for place, sae in enumerate(saes) if _can_be_tried(sae)}
    own = {hook for place in others for hook in (saes[place].hook_in, saes[place].hook_out)}
    hooks = own | {hook for tried in others.values() for hook in chain(*tried.near.values(), *tried.far.values())}
    if not hooks or not corpus.rows:
        return [[] for _ in saes]
    count = min(corpus.rows, max(1, TOKENS // int(corpus.lengths.max())))
    batch = Batcher(corpus, model.device).rows(np.linspace(0, corpus.rows - 1, count).astype(int))
    run = model.forward(batch.tokens[:, :TOKENS], sorted(hooks), final=False)
    acts = {hook: run.acts[hook][batch.valid[:, :TOKENS]][:TOKENS] for hook in hooks}
    return [_doubt(sae, acts, others[place]) if place in others else [] for place, sae in enumerate(saes)]


def _can_be_tried(sae: SparseCoder) -> bool:
    return isinstance(sae, Coder) and sae.role == "sae" and sae.linear_decoder and not sae.needs_sequence


def _doubt(sae: SparseCoder, acts: Mapping[str, Tensor], others: Places) -> list[str]:
    try:
        return suspect(cast("Coder", sae), acts[sae.hook_in], acts[sae.hook_out], *others.of(acts))
    except (UserError, RuntimeError, ValueError, TypeError):
        return []  # the pass will fail in the same way, and says so in the SAE's rows


class Places(NamedTuple):
    """Input and output hooks that a SAE may be meant for, by words.

    Attributes:
        near: A block up or down, or others of its block.
        far: The same hooks in other blocks, at most `MOST` of them.
    """

    near: dict[str, tuple[str, str]]
    far: dict[str, tuple[str, str]]

    def of(self, acts: Mapping[str, Tensor]) -> tuple[Elsewhere, Elsewhere]:
        """The activations at them."""
        near, far = ({name: (acts[a], acts[b]) for name, (a, b) in pairs.items()} for pairs in self)
        return near, far


def places(model: Subject, sae: SparseCoder) -> Places:
    """The places that a SAE may be meant for, of its own widths; none where it reads several hooks."""
    told = [_BLOCK.fullmatch(hook) for hook in (sae.hook_in, sae.hook_out)]
    ends = [(int(one.group(1)), one.group(2)) for one in told if one]
    if len(ends) < 2:
        return Places({}, {})
    (layer, read), (last, written) = ends
    same = sae.hook_in == sae.hook_out
    steps = sorted(range(-layer, model.n_layers - layer), key=abs)
    away = [(step, (f"blocks.{layer + step}.{read}", f"blocks.{last + step}.{written}")) for step in steps if step]
    near = [pair for step, pair in away if abs(step) == 1]
    near += [(hook, hook if same else sae.hook_out) for hook in (f"blocks.{layer}.{kind}" for kind in _KINDS)]
    near.append((f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out"))
    known = set(model.sites())

    def fitting(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
        return {
            " -> ".join(dict.fromkeys(pair)): pair
            for pair in dict.fromkeys(pairs)
            if pair != (sae.hook_in, sae.hook_out)
            and known.issuperset(pair)
            and [model.site(hook).width for hook in pair] == [sae.d_in, sae.d_out]
        }

    return Places(fitting(near), fitting([pair for step, pair in away if abs(step) > 1][:MOST]))
