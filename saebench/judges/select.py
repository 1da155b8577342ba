"""From how a judge is named in a suite or on the command line to the judge."""

from __future__ import annotations

import inspect
from typing import Any, cast

from saebench.errors import UserError, nearest
from saebench.judges.protocol import Judge
from saebench.judges.settings import check_settings

KINDS = ("ngram", "openai")


def judge(reference: str, **settings: Any) -> Judge:
    """The judge of a reference: `ngram`, or `openai:MODEL` behind an OpenAI-compatible endpoint.

    Raises:
        UserError: An unknown judge or setting, with the nearest one; no model; a value that cannot be meant.
    """
    kind, _, model = reference.partition(":")
    if kind not in KINDS:
        raise UserError(f"Unknown judge {reference!r}. {nearest(kind, KINDS)} A model is named as openai:MODEL.")
    if kind == "openai":
        if not model:
            raise UserError("The judge 'openai' needs a model: openai:MODEL, such as openai:gpt-4o-mini.")
        from saebench.judges.openai_judge import OpenAIJudge

        return OpenAIJudge(model, **settings)
    if model:
        raise UserError(f"The judge 'ngram' has no models; {model!r} is not needed.")
    from saebench.judges.ngram import NGramJudge

    check_settings(settings, inspect.signature(NGramJudge).parameters)
    return cast(Judge, NGramJudge(**settings))
