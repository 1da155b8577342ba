"""The words of the plain prompt; any change of them moves the prompt version of every signature."""

from __future__ import annotations

EXPLAIN = """\
A latent is one unit of a model that reads text: it is active on some tokens and silent on all others.
Below are numbered contexts in which it is active. In each, the active tokens stand between << and >>. The list \
behind a context gives every active token in order with the strength of the latent there, an integer; 10 is the \
strongest here.

{firing}
{silent}
Say in one sentence what the latent is active on. Be as specific as the contexts allow and no more: somebody who \
reads only your sentence should be able to tell in which other texts, and on which of their tokens, it is active. \
Strong tokens count more than weak ones. Do not mention the marks, the numbers or the latent itself."""

SILENT = """
In these contexts it is silent:

{silent}
"""

DETECTION = """\
A latent is one unit of a model that reads text: it is active on some tokens and silent on all others. This one \
was described so:

{explanation}

Below are {n} numbered contexts, one a line. Say of each, by the description alone, whether the latent is active \
on at least one of its tokens. It may be active in any number of them, in none, or in all.

{contexts}

Give for every number the answer (true: active, false: silent) and the probability, from 0 to 1, that true is \
right."""

FUZZING = """\
A latent is one unit of a model that reads text: it is active on some tokens and silent on all others. This one \
was described so:

{explanation}

Below are {n} numbered contexts, one a line, in which some tokens are marked with << and >>. Say of each, by the \
description alone, whether the marked tokens are those the latent is active on. The marks may be right in any \
number of contexts, in none, or in all.

{contexts}

Give for every number the answer (true: the marks are right, false: they are not) and the probability, from 0 to \
1, that true is right."""

IN_PROSE = """

Answer with one JSON object and nothing else, by this JSON schema:
{schema}"""
