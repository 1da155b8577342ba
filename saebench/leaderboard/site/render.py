"""Pages from templates; everything that comes from rows is escaped."""

from __future__ import annotations

import unicodedata
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from saebench.leaderboard.markdown import printable
from saebench.leaderboard.site.content import Site
from saebench.leaderboard.site.marks import MARKS
from saebench.leaderboard.style import looks
from saebench.leaderboard.tables import ARROWS


class Pages:
    """Renders the templates of one site."""

    def __init__(self, site: Site) -> None:
        loader = PackageLoader("saebench.leaderboard.site", "templates")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                                      lstrip_blocks=True, finalize=_shown)  # fmt: skip
        self._templates.filters["query"] = lambda values: urlencode(values, doseq=True, quote_via=quote)
        everyone = [entry.line.architecture for entry in site.entries if entry.line.role == "sae"]
        self._shared: dict[str, Any] = {
            "site": site, "board": site.board, "version": version("saebench"), "marks": MARKS, "arrows": ARROWS,
            "looks": looks(everyone), "count": len(site.frame), "titles": [printable(s.title) for s in site.sections],
        }  # fmt: skip

    def page(self, name: str, root: str = "", **context: Any) -> str:
        """One page.

        Args:
            name: Template without ending.
            root: Where the site's own folder is from the page.
            context: What the template needs besides what all share.
        """
        return self._templates.get_template(f"{name}.html.j2").render(root=root, here=name, **self._shared, **context)


def _shown(value: Any) -> Any:
    """Text without control and direction characters; what is marked as HTML already stays."""
    if isinstance(value, str) and not hasattr(value, "__html__") and not value.isprintable():
        return "".join(char if char in "\n\t" or unicodedata.category(char)[0] != "C" else "\ufffd" for char in value)
    return "" if value is None else value
