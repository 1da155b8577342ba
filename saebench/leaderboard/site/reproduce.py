"""The command that gives a SAE's rows again, and what they were made from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saebench.results.row import Row


def commands(rows: Sequence[Row]) -> list[str]:
    """A `saebench run` for each suite, model, seed, precision and length of text that the rows of one SAE come from.

    A null or baseline has no reference of its own to give: it comes with any run of its suite.
    """
    runs: dict[tuple[str, str, str, int | None, str], dict[tuple[int, int], None]] = {}
    for row in rows:
        if row.suite:
            run = (row.suite, row.sae_ref if row.role == "sae" else "", row.model, row.seed, row.dtype)
            texts = runs.setdefault(run, {})
            if row.corpus == "text" and row.tokens and row.context:
                texts[row.tokens, row.context] = None
    return [_command(*run, text) for run, texts in runs.items() for text in texts or [None]]


def _command(suite: str, sae: str, model: str, seed: int | None, dtype: str, text: tuple[int, int] | None) -> str:
    tokens, context = text or (None, None)
    where = {"--sae": sae, "--model": model, "--tokens": tokens, "--context": context}
    options = {**where, "--seed": seed, "--dtype": dtype}
    given = [word for flag, value in options.items() if value not in (None, "") for word in (flag, str(value))]
    return shlex.join(["saebench", "run", suite, *given])


def author(reference: str) -> str:
    """Who published a SAE, as far as its reference tells: the hub's owner, or the SAELens release.

    >>> author("hf:google/gemma-scope-2b-pt-res/layer_5"), author("saelens:gpt2-small-res-jb/blocks.8"), author("my.pt")
    ('google', 'gpt2-small-res-jb', '')
    """
    kind, _, rest = reference.partition(":")
    return rest.partition("/")[0] if kind in ("hf", "saelens") else ""


def provenance(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What the rows depend on, in words: references, hashes, data, versions and dates."""
    facts: dict[str, dict[str, None]] = {}

    def note(name: str, value: Any) -> None:
        if value not in (None, "", "@"):
            facts.setdefault(name, {})[str(value)] = None

    for row in {_source(row): row for row in rows}.values():
        note("reference", row.sae_ref)
        note("weights (hash)", row.sae_hash)
        note("model", f"{row.model}@{row.model_hash}".removesuffix("@"))
        note("hook", row.hook_out if row.hook_in in ("", row.hook_out) else f"{row.hook_in} → {row.hook_out}")
        note("data", f"{row.corpus}@{row.corpus_hash}" if row.corpus else "")
        note("suite", row.suite)
        note("seed", row.seed)
        note("precision", row.dtype)
        note("scored", row.created[:10])
        note("saebench commit", (row.git_commit or "") + (" with changes" if row.git_dirty else ""))
        note("versions", ", ".join(f"{name} {version}" for name, version in row.versions.items()))
    return [(name, ", ".join(values)) for name, values in facts.items()]


def _source(row: Row) -> tuple[Any, ...]:
    """What `provenance` tells of a row: most rows of a SAE have it in common."""
    return (
        row.sae_ref, row.sae_hash, row.model, row.model_hash, row.hook_in, row.hook_out, row.corpus, row.corpus_hash,
        row.suite, row.seed, row.dtype, row.created[:10], row.git_commit, row.git_dirty, *row.versions.items(),
    )  # fmt: skip
