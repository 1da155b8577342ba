"""Rows of token ids drawn with equal chance: text that means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from saebench.data.corpus import Corpus, item_corpus
from saebench.data.draws import generator
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.specs import RandomTokensSpec
    from saebench.models import Subject


def random_tokens(source: str, spec: RandomTokensSpec, model: Subject, *, seed: int) -> Corpus:
    """A corpus of rows, each a document, of ids that the tokenizer knows; special tokens are never drawn.

    Raises:
        UserError: A source other than `uniform`, or a vocabulary of special tokens alone.
    """
    if source != "uniform":
        raise UserError(f"Data 'random_tokens' is drawn, not read: its source is 'uniform', not {source!r}.")
    known = model.vocab_size if model.tokenizer is None else min(model.vocab_size, len(model.tokenizer))
    ids = np.setdiff1d(np.arange(known), list(model.special_ids)).astype(np.int32)
    if not len(ids):
        raise UserError(f"The vocabulary of model {model.name!r} holds special tokens alone: nothing can be drawn.")
    front = [model.bos_id] if spec.prepend_bos and model.bos_id is not None else []
    room = min(spec.context, model.max_context or spec.context) - len(front)
    drawn = generator(seed, "random tokens").choice(ids, size=(-(-spec.tokens // room), room))
    rows = [np.concatenate([np.array(front, dtype=np.int32), row]) for row in drawn]
    return item_corpus("random_tokens", rows, model.special_ids, source=source)
