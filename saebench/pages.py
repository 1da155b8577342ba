"""A page for each metric, made from what it declares and its docstring: `saebench docs`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench import registry
from saebench.errors import UserError
from saebench.leaderboard.citations import entries, keys_of
from saebench.listing import metric_facts
from saebench.suite import load_suite, suite_files

if TYPE_CHECKING:
    from saebench.metric import Metric

NOTE = "<!-- Made by `saebench docs` from the metric's docstring: edit that, not this page. -->"


def pages() -> dict[str, str]:
    """The pages of the metrics that come with saebench, by file name, and `README.md`, which lists them."""
    metrics = registry.shipped()
    suites = _suites()
    found = {file_name(name): metric_page(metric, suites.get(name, [])) for name, metric in metrics.items()}
    return {"README.md": _index(metrics), **found}


def write_pages(folder: str | Path) -> list[Path]:
    """Write the pages, and remove those of metrics that are no more; the files that changed.

    Raises:
        UserError: The folder cannot be written.
    """
    place, made = Path(folder), pages()
    changed: list[Path] = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("*.md"):
            if old.name not in made and NOTE in old.read_text(encoding="utf-8"):
                old.unlink()
                changed.append(old)
        for name, text in made.items():
            path = place / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                changed.append(path)
    except OSError as error:
        raise UserError(f"Folder {str(place)!r} cannot be written: {error.strerror or error}.") from error
    return changed


def file_name(metric: str) -> str:
    """The page's file."""
    return f"{metric.replace('@', '-')}.md"


def metric_page(metric: Metric, suites: list[str]) -> str:
    """What it is, how it is computed, what it declares, where it comes from."""
    summary, _, rest = metric.doc.partition("\n")
    facts = {k: v for k, v in metric_facts(metric).items() if k not in ("settings", "caution")}
    facts["suites"] = ", ".join(suites) or "none"
    parts = [NOTE, f"# `{metric.name}`", _inline(summary)]
    parts += [f"> {_inline(metric.caution)}"] if metric.caution else []
    parts += [_prose(rest)] if rest.strip() else []
    parts += [_table(["", ""], [[name, _inline(str(value))] for name, value in facts.items()])]
    settings = [[f"`{name}`", f"`{value}`", metric.takes(name)] for name, value in metric.settings.items()]
    parts += [f"## Settings\n\n{_table(['setting', 'default', 'takes'], settings)}"] if settings else []
    parts += [_sources(metric.name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _prose(doc: str) -> str:
    """A docstring's body as Markdown: lines that stand alone are formulas, sections of arguments become lists."""
    blocks: list[str] = []
    for block in inspect.cleandoc(doc).split("\n\n"):
        head, _, body = block.partition("\n")
        if head in ("Args:", "Returns:", "Raises:"):
            lines = [" ".join(line.split()) for line in body.splitlines()]
            blocks.append(f"{head}\n\n" + "\n".join(f"- {_inline(line)}" for line in lines if line))
        else:
            blocks.append(_inline(block))
    return "\n\n".join(blocks)


def _inline(text: str) -> str:
    """Text outside of backticks with the signs that Markdown reads escaped."""
    parts = text.split("`")
    signs = {"<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_", "[": "\\[", "]": "\\]"}
    for place in range(0, len(parts), 2):
        parts[place] = "".join(signs.get(sign, sign) for sign in parts[place])
    return "`".join(parts)


def _sources(metric: str) -> str:
    lines = [f"- {_cited(entries()[key])}" for key in keys_of(metric)]
    return "## Papers\n\n" + "\n".join(lines) if lines else ""


def _cited(entry: Mapping[str, Any]) -> str:
    first, several, _ = str(entry["author"]).partition(" and ")
    name = re.sub(r"\\[\"'`^vc=~]|[{}]", "", first)
    link = f", [arXiv {entry['eprint']}](https://arxiv.org/abs/{entry['eprint']})" if "eprint" in entry else ""
    return f"{name}{' and others' if several else ''}, {entry['year']}: *{_inline(str(entry['title']))}*{link}"


def _suites() -> dict[str, list[str]]:
    """Names of the suites that hold a metric."""
    found: dict[str, list[str]] = {}
    for name in suite_files():
        for metric in load_suite(name).metrics():
            if name not in found.setdefault(metric.name, []):
                found[metric.name].append(name)
    return found


def _index(metrics: dict[str, Metric]) -> str:
    rows = [
        [f"[`{name}`]({file_name(name)})", metric.better if metric.better != "none" else "", _inline(metric.summary)]
        for name, metric in sorted(metrics.items())
    ]
    return f"{NOTE}\n\n# Metrics\n\n{_table(['metric', 'better', 'what it is'], rows)}\n"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
