"""Sphinx configuration: `make docs` writes the documentation as a site that opens from disk."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "saebench"
author = "the saebench authors"
copyright = author  # noqa: A001
version = release = installed("saebench")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["README.md"]  # the same list of pages, for readers of the repository
suppress_warnings = [
    "myst.xref_missing",  # links to files of the repository outside docs/
    "toc.not_included",  # pages of metrics are reached from their list
]

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
napoleon_google_docstring = True

html_theme = "furo"
html_title = f"saebench {release}"
html_show_sourcelink = False
html_copy_source = False

default_role = "code"  # docstrings mark code with single backticks


def _plain_bars(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep |x| in a docstring a norm: reStructuredText would take it for a substitution."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _plain_bars)  # pyright: ignore[reportAttributeAccessIssue]
