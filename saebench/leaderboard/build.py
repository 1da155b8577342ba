"""Rows in, a folder out: tables, figures and a page that shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench.errors import UserError
from saebench.leaderboard import latex, markdown
from saebench.leaderboard.board import Board, Column, load_board
from saebench.leaderboard.fronts import Plane, front_frame, planes
from saebench.leaderboard.pages import front_markdown
from saebench.leaderboard.rows import WHOLE, scores_of, tidy
from saebench.leaderboard.sections import Section, figures_of, sections
from saebench.leaderboard.significance import Pairing
from saebench.leaderboard.style import FORMATS, looks
from saebench.leaderboard.tables import make_table, wide
from saebench.leaderboard.trust import trust_frame

if TYPE_CHECKING:
    import pandas as pd

    from saebench.results import Results

Source = Any
"""A run folder or results file, a `Results`, or a tidy frame."""


@dataclass(frozen=True)
class Content:
    """What a board is made of.

    Attributes:
        board: Its definition.
        frame: The tidy rows that it shows.
        sections: Comparable scores, one for each model, hook and corpus.
        planes: The Pareto figures' data, for each section.
        pairing: Paired tests, where sums are stored.
    """

    board: Board
    frame: pd.DataFrame
    sections: list[Section]
    planes: list[list[Plane]]
    pairing: Pairing | None


def build(
    rows: str | Path | Results | pd.DataFrame,
    out: str | Path,
    board: str | Path | Board | Mapping[str, Any] | None = None,
    *,
    site: bool = False,
) -> dict[str, Path]:
    """Write a board: `README.md`, `board.md`, `board.csv`, `trust.csv`, `rows.csv`, `fronts.csv`, `board.tex`,
    `figures/` and, if asked, `site/`.

    The same rows and board give the same bytes.

    Args:
        rows: A run folder, a `.jsonl` file, a `Results`, or its tidy frame.
        out: Folder to write into, made if it is not there.
        board: YAML file, mapping or `Board`; the default board if None.
        site: Write the pages of `saebench.leaderboard.site` too.

    Returns:
        Every file written, by its path relative to `out`.

    Raises:
        UserError: No rows, a board that names what the rows do not hold, or a folder that cannot be written.
    """
    source = read_rows(rows)
    content = arrange(source, board)
    folder = Path(out)
    tables = page_tables(content)
    texts = {
        "board.md": _page(content, tables, figures=None),
        "board.csv": _csv(wide(content.sections, content.board, content.pairing)),
        "trust.csv": _csv(trust_frame(content.sections)),
        "rows.csv": _csv(_whole_numbers(content.frame)),
        "fronts.csv": _csv(front_frame([plane for group in content.planes for plane in group])),
        "board.tex": _tex(content),
    }
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        written = {name: _write(folder / name, text) for name, text in texts.items()}
        figures = write_figures(content, folder / "figures")
        written |= {f"figures/{path.name}": path for group in figures.values() for path in group}
        written["README.md"] = _write(folder / "README.md", _page(content, tables, figures=figures))
    except OSError as error:
        raise UserError(f"Board folder {str(folder)!r} cannot be written: {error.strerror or error}.") from error
    if site:
        from saebench.leaderboard.site.build import write_site

        pages = write_site(source, content.board, folder / "site")
        written |= {f"site/{name}": path for name, path in pages.items()}
    return dict(sorted(written.items()))


def load_content(rows: Source, board: str | Path | Board | Mapping[str, Any] | None = None) -> Content:
    """Read rows and board, and arrange the rows into sections and figures."""
    return arrange(read_rows(rows), board)


def arrange(source: Given, board: str | Path | Board | Mapping[str, Any] | None = None) -> Content:
    """Arrange rows that are read already into sections and figures."""
    definition = load_board(board)
    frame = tidy(source.frame, definition)
    found = sections(scores_of(frame), definition)
    return Content(definition, frame, found, _worth_drawing(found, definition), source.pairing)


def _worth_drawing(found: list[Section], board: Board) -> list[list[Plane]]:
    """The figures of each section; none for a lone SAE where another section has several to compare."""
    drawn = [planes(part, figures_of(board)) for part in found]
    several = [any(_trained(plane) > 1 for plane in group) for group in drawn]
    return [group if keep or not any(several) else [] for group, keep in zip(drawn, several, strict=True)]


def _trained(plane: Plane) -> int:
    return sum(point.role == "sae" for point in plane.points)


def write_figures(content: Content, folder: Path) -> dict[str, list[Path]]:
    """Draw every figure at every size; the files by the figure's name."""
    from saebench.leaderboard.figures import draw, save

    everyone = [p.architecture for group in content.planes for plane in group for p in plane.points if p.role == "sae"]
    look = looks(everyone)
    written: dict[str, list[Path]] = {}
    names = figure_names(content)
    for group, stems in zip(content.planes, names, strict=True):
        for plane, stem in zip(group, stems, strict=True):
            written[stem] = []
            for form in FORMATS:
                figure = draw(plane, form, look, labels=content.board.labels)
                written[stem] += save(figure, folder / f"{stem}{form.suffix}")
    return written


def figure_names(content: Content) -> list[list[str]]:
    """File names without ending: `y-by-x`, with the section in front where there are several."""
    several = len(content.sections) > 1
    taken: set[str] = set()
    names: list[list[str]] = []
    for section, group in zip(content.sections, content.planes, strict=True):
        mine: list[str] = []
        for plane in group:
            stem = f"{slug(plane.y.key)}-by-{slug(plane.x.key)}"
            stem = f"{slug(section.stem)}-{stem}" if several else stem
            name, count = stem, 2
            while name in taken:
                name, count = f"{stem}-{count}", count + 1
            taken.add(name)
            mine.append(name)
        names.append(mine)
    return names


def slug(text: str) -> str:
    """A name that is safe as a file name: letters, digits, `_`, and `-` for all else.

    >>> slug("google/gemma-2-2b · blocks.5.hook_resid_post")
    'google-gemma-2-2b-blocks-5-hook_resid_post'
    """
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:120] or "x"


def page_tables(content: Content) -> list[str]:
    """The Markdown table of each section."""
    board, pairing = content.board, content.pairing
    tables = [make_table(section, board, pairing, markdown.PAD) for section in content.sections]
    return [markdown.table_markdown(table) for table in tables]


def trust_tables(content: Content) -> list[str]:
    """How far to trust the columns of each section, as Markdown; "" where the rows say nothing of it."""
    return [markdown.trust_markdown(section) for section in content.sections]


def trust_page(rows: Source) -> str:
    """What each metric of a run can and cannot tell, as a page of Markdown.

    Raises:
        UserError: No rows, or none that say how far they can be trusted.
    """
    names = sorted(set(read_rows(rows).frame["metric"]))
    content = load_content(rows, Board(columns=tuple(Column(metric=name) for name in names), pareto=()))
    parts = ["# What each metric can and cannot tell", "Made by `saebench leaderboard trust` from the rows of a run."]
    found = [(section, table) for section, table in zip(content.sections, trust_tables(content), strict=True) if table]
    if not found:
        raise UserError("The rows say nothing of trust: run `saebench run trust`, which has nulls and re-runs.")
    for section, table in found:
        saes = ", ".join(markdown.escape(line.sae) for line in section.of_role("sae"))
        parts += [f"## {markdown.escape(section.title)}", f"SAEs: {saes}.", table]
    return "\n\n".join(parts) + "\n"


def page_sections(
    content: Content, tables: list[str], figures: Mapping[str, list[Path]] | None, place: str = "figures"
) -> str:
    """Each section's table, its figures if they were drawn, and what its fronts come to."""
    parts: list[str] = []
    for section, group, stems, table in zip(
        content.sections, content.planes, figure_names(content), tables, strict=True
    ):
        parts += [f"## {markdown.escape(section.title)}", table, markdown.trust_markdown(section)]
        for plane, stem in zip(group, stems, strict=True):
            heading = f"{plane.y.label} by {plane.x.label}"
            parts.append(f"### {markdown.escape(heading)}")
            if figures is not None:
                parts.append(f"![{markdown.escape(heading)}]({place}/{stem}.png)")
                kinds = [f"[{path.name}]({place}/{path.name})" for path in figures[stem] if path.suffix != ".png"]
                parts.append(" · ".join(kinds))
            parts.append(front_markdown(plane))
    return "\n\n".join(part for part in parts if part)


def _page(content: Content, tables: list[str], figures: Mapping[str, list[Path]] | None) -> str:
    board = content.board
    parts = [f"# {markdown.escape(board.title)}", markdown.escape(board.summary), markdown.reading(board)]
    parts.append(page_sections(content, tables, figures))
    if figures is not None:
        parts.append(
            "## Files\n\n"
            "- [board.csv](board.csv): one row a SAE; `_group` holds the letters of the significance groups\n"
            "- [trust.csv](trust.csv): null gap, noise, smallest difference that shows and validity of each column\n"
            "- [rows.csv](rows.csv): one row a number, with status, interval, null, baseline and signature\n"
            "- [fronts.csv](fronts.csv): members, hypervolume and matched scores of every front\n"
            "- [board.tex](board.tex): the tables for LaTeX (needs booktabs); [board.md](board.md): the tables alone"
        )
    return "\n\n".join(part for part in parts if part) + "\n"


def _tex(content: Content) -> str:
    tables = [make_table(section, content.board, content.pairing, latex.PAD) for section in content.sections]
    labels = [f"{content.board.title} {section.title}" for section in content.sections]
    body: list[str] = []
    for table, label in zip(tables, labels, strict=True):
        body += [latex.table_latex(table, content.board, label), latex.trust_latex(table.section, label)]
    body = [part for part in body if part]
    return "% \\usepackage{booktabs}\n" + "\n".join(body)


def _whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in WHOLE if name in frame]
    return frame.astype(dict.fromkeys(names, "Int64"))


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def _write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8"))
    return path


class Given(NamedTuple):
    """Rows as they were given.

    Attributes:
        frame: One line a number.
        pairing: Paired tests, where sums are stored.
        results: The rows themselves, unless a frame came.
        folder: Where they lie, if they were read from a file.
    """

    frame: pd.DataFrame
    pairing: Pairing | None
    results: Results | None
    folder: Path | None = None


def read_rows(rows: Source) -> Given:
    """Any source of rows, read once."""
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        return Given(rows, None, None)
    from saebench.leaderboard.pairs import Pairs
    from saebench.results import Results

    if not isinstance(rows, (str, os.PathLike)):
        return Given(rows.frame(), Pairs(list(rows)), rows)
    results, place = Results.load(rows), Path(rows)
    return Given(results.frame(), Pairs(list(results)), results, place if place.is_dir() else place.parent)
