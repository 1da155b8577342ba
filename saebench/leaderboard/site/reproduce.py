"""The command that gives a SAE's rows again, and what they were made from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saebench.results.row import Row


def commands(rows: Sequence[Row]) -> list[str]:
    """A `saebench run` for each suite, model, seed and precision that the rows of one SAE come from.

    A null or baseline has no reference of its own to give: it comes with any run of its suite.
    """
    found: dict[str, None] = {}
    for row in rows:
        if row.suite:
            found[_command(row)] = None
    return list(found)


def _command(row: Row) -> str:
    own = ["--sae", row.sae_ref] if row.role == "sae" and row.sae_ref else []
    options = [*own, "--model", row.model, "--seed", None if row.seed is None else str(row.seed), "--dtype", row.dtype]
    words = ["saebench", "run", row.suite]
    for flag, value in zip(options[::2], options[1::2], strict=True):
        words += [str(flag), value] if value else []
    return shlex.join(words)


def provenance(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What the rows depend on, in words: references, hashes, data, versions and dates."""
    facts: dict[str, dict[str, None]] = {}

    def note(name: str, value: Any) -> None:
        if value not in (None, "", "@"):
            facts.setdefault(name, {})[str(value)] = None

    for row in rows:
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
