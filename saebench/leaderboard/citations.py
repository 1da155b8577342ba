"""Which papers the metrics of a run come from, as BibTeX."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from saebench.leaderboard.markdown import printable
from saebench.yamlfile import read_yaml

FIELDS = ("title", "author", "year", "journal", "volume", "number", "pages", "url", "note")


@functools.cache
def entries() -> Mapping[str, Mapping[str, Any]]:
    """The known papers by key."""
    return read_yaml(Path(__file__).with_name("citations.yaml"), "Citations")


def keys_of(metric: str) -> list[str]:
    """Keys of the papers that a metric comes from: those that its docstring names, and those that list it.

    A version of another tool, such as `scr@saebench-legacy`, cites what the metric itself does.
    """
    from saebench import registry

    installed = registry.metrics()
    base = metric.partition("@")[0]
    docs = " ".join(" ".join(installed[name].doc.split()) for name in {metric, base} & set(installed))
    found = [
        key
        for key, entry in entries().items()
        if {metric, base} & set(entry.get("metrics", ())) or any(mark in docs for mark in entry.get("named", ()))
    ]
    if "@saebench" in metric and "karvonen2025saebench" not in found:
        found.append("karvonen2025saebench")
    return found


def bibtex(metrics: Iterable[str], versions: Iterable[str] = ()) -> str:
    """BibTeX of saebench and of every paper that the metrics come from, with the metrics named above each."""
    uses: dict[str, list[str]] = {}
    for metric in sorted(set(metrics)):
        for key in keys_of(metric):
            uses.setdefault(key, []).append(metric)
    version = ", ".join(sorted(set(versions) - {""})) or "unknown"
    parts = [
        "@misc{saebench,\n  key = {saebench},\n  title = {saebench: evaluation of sparse autoencoders},\n"
        f"  version = {{{version}}}\n}}"
    ]
    parts += [f"% {printable(', '.join(uses[key]))}\n{_entry(key, entries()[key])}" for key in sorted(uses)]
    return "\n\n".join(parts) + "\n"


def _entry(key: str, entry: Mapping[str, Any]) -> str:
    fields = {name: str(entry[name]) for name in FIELDS if name in entry}
    fields["title"] = f"{{{fields['title']}}}"
    if "eprint" in entry:
        fields |= {
            "eprint": entry["eprint"],
            "archivePrefix": "arXiv",
            "url": f"https://arxiv.org/abs/{entry['eprint']}",
        }
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{entry.get('type', 'misc')}{{{key},\n{body}\n}}"
