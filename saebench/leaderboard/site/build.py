"""Rows in, a folder of pages out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from saebench.errors import UserError
from saebench.leaderboard.board import Board, load_board
from saebench.leaderboard.build import Given, read_rows
from saebench.leaderboard.rows import tidy
from saebench.leaderboard.site import downloads
from saebench.leaderboard.site.content import Entry, Site, gather
from saebench.leaderboard.site.data import board_script
from saebench.leaderboard.site.latents import LatentPage, LatentTable, latent_pages, latent_tables
from saebench.leaderboard.site.metric_page import metric_context, metric_list
from saebench.leaderboard.site.render import Pages
from saebench.leaderboard.site.sae_page import column_spans, sae_context

if TYPE_CHECKING:
    import pandas as pd

    from saebench.results import Results

DATA = {
    "data/board.js": board_script,
    "data/rows.csv": downloads.rows_csv,
    "data/rows.json": downloads.rows_json,
    "data/board.csv": downloads.board_csv,
    "data/trust.csv": downloads.trust_csv,
    "data/citation.bib": downloads.bibtex,
}
SINGLE = ("index", "pareto", "compare", "metrics", "downloads")
"""Pages that there are one of."""


def build_site(
    rows: str | Path | Results | pd.DataFrame,
    out: str | Path,
    board: str | Path | Board | Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write the site of a board: a table, plots, a page for each SAE and metric, and downloads.

    It opens from disk and asks for nothing from outside. The same rows and board give the same bytes.

    Args:
        rows: A run folder, a `.jsonl` file, a `Results`, or its tidy frame (which has no commands and no versions).
        out: Folder to write into, made if it is not there.
        board: YAML file, mapping or `Board`; the default board if None.

    Returns:
        Every file written, by its path relative to `out`.

    Raises:
        UserError: No rows, a board that names what the rows do not hold, or a folder that cannot be written.
    """
    return write_site(read_rows(rows), load_board(board), Path(out))


def write_site(source: Given, board: Board, out: Path) -> dict[str, Path]:
    """Write the site of rows that are read already; see `build_site`."""
    site = gather(tidy(source.frame, board), board, source.pairing, source.results or ())
    latents, tables = latent_pages(source.folder), latent_tables(source.folder)
    try:
        written = {name: _write(out / name, text) for name, text in _texts(site, latents, tables)}
        written |= _copied(out)
    except OSError as error:
        raise UserError(f"Site folder {str(out)!r} cannot be written: {error.strerror or error}.") from error
    return dict(sorted(written.items()))


def _texts(site: Site, latents: Sequence[LatentPage], tables: Sequence[LatentTable]) -> Iterator[tuple[str, str]]:
    """Every page and data file, made one after another."""
    pages, spans = Pages(site), column_spans(site)
    metrics = metric_list(site)
    for name in SINGLE:
        yield f"{name}.html", pages.page(name, metrics=metrics)
    for entry in _first_entries(site):
        context = sae_context(site, entry, spans, latents, tables)
        yield f"saes/{entry.page}.html", pages.page("sae", root="../", **context)
    for metric, page in site.metric_pages.items():
        yield f"metrics/{page}.html", pages.page("metric", root="../", **metric_context(site, metric, spans))
    for page in latents:
        yield f"latents/{page.file.name}", page.file.read_text(encoding="utf-8")
    for table in tables:
        text = pages.page("latents", root="../", sae=table.sae, data=Markup(table.data()))
        yield f"latents/{table.page}.html", text
    for name, make in DATA.items():
        yield name, make(site)
    # GitHub Pages would otherwise leave out what begins with an underscore.
    yield ".nojekyll", ""


def _first_entries(site: Site) -> list[Entry]:
    """One entry for each page of a SAE."""
    found: dict[str, Entry] = {}
    for entry in site.entries:
        found.setdefault(entry.page, entry)
    return list(found.values())


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
    return path


def _copied(out: Path) -> dict[str, Path]:
    """Scripts, styles, and the vendored libraries with their licences."""
    written: dict[str, Path] = {}
    place = files("saebench.leaderboard.site") / "static"
    for folder in ("", "vendor"):
        source = place / folder if folder else place
        for file in source.iterdir():
            if file.is_file():
                name = "/".join(part for part in ("static", folder, file.name) if part)
                target = out / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open("rb") as given, target.open("wb") as kept:
                    shutil.copyfileobj(given, kept)
                written[name] = target
    return written
