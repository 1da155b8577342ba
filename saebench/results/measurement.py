"""What two numbers must share to be comparable: every part of the signature but the SAE itself."""

from __future__ import annotations

from typing import Any

from saebench.results.row import Row


def measurement(row: Row) -> dict[str, Any]:
    """What a row's value depends on, apart from the SAE, by name."""
    return {
        "metric": row.metric,
        "version": row.version,
        "settings": row.settings_text,
        "model": row.model_hash or row.model,
        "hook_out": row.hook_out,
        "corpus": row.corpus_hash or row.corpus,
        "tokens": row.tokens,
        "context": row.context,
        "dtype": row.dtype.split("/")[0],  # the model's; the precision of the SAE is its own affair
        "seed": row.seed,
    }


def differing(a: Row, b: Row) -> str:
    """Why two rows are not comparable, in words; "" when they are."""
    parts_a, parts_b = measurement(a), measurement(b)
    shown = [
        f"{name} ({_shown(a, name, parts_a)} and {_shown(b, name, parts_b)})"
        for name in parts_a
        if parts_a[name] != parts_b[name]
    ]
    return f"measured differently: {', '.join(shown)}" if shown else ""


def reference_key(row: Row) -> tuple[Any, ...]:
    """What an SAE's row shares with the row of its null or baseline."""
    model, corpus = row.model_hash or row.model, row.corpus_hash or row.corpus
    return row.metric, row.version, row.settings_text, model, row.hook_out, corpus, row.context, row.slice


def _shown(row: Row, name: str, parts: dict[str, Any]) -> str:
    """A part as a reader knows it: the name beside the hash."""
    label = {"model": row.model, "corpus": row.corpus}.get(name, "")
    value = str(parts[name])
    return f"{label}@{value[:12]}" if label and label != value else value
