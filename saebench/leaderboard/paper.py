r"""What a paper needs of a run: tables, figures at column width, facts for its methods, and whom to cite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.errors import UserError
from saebench.leaderboard.board import Board
from saebench.leaderboard.build import Content, arrange, figure_names, read_rows, slug
from saebench.leaderboard.citations import bibtex, keys_of
from saebench.leaderboard.latex import PAD, escape, table_latex
from saebench.leaderboard.style import FORMATS, METADATA, looks
from saebench.leaderboard.tables import make_table
from saebench.results import Results, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOM = r"""% A page that shows every part of this folder: latexmk -pdf paper
\documentclass[twocolumn]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{url}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\setlength{\belowcaptionskip}{6pt}
\begin{document}
"""


def paper(
    run: str | Path | Results, out: str | Path, board: str | Path | Board | Mapping[str, Any] | None = None
) -> dict[str, Path]:
    """Write the parts of a paper: `tables.tex`, `methods.tex`, `figures/*.pdf`, `metrics.bib`; `paper.tex` shows all.

    Tables need booktabs alone. Figures are PDF of 3.4 inches with their fonts embedded. `methods.tex` is a table of
    the facts of a methods paragraph, each checked over all rows that the tables show: where rows disagree, all values
    are listed and marked.

    Args:
        run: A run folder, a `.jsonl` file or a `Results`.
        out: Folder to write.
        board: What the tables and figures show.

    Returns:
        The files by name.

    Raises:
        UserError: No rows, or a folder that cannot be written.
    """
    results = run if isinstance(run, Results) else Results.load(run)
    content = arrange(read_rows(results), board)
    folder = Path(out)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        figures = _figures(content, folder / "figures")
        shown = _shown(results.rows, content)
        texts = {
            "tables.tex": "% \\usepackage{booktabs}\n" + "\n".join(_tables(content, shown)),
            "methods.tex": methods(shown, results.rows),
            "metrics.bib": bibtex({row.metric for row in shown}, {row.versions.get("saebench", "") for row in shown}),
        }
        texts["paper.tex"] = _page(figures)
        for name, text in texts.items():
            (folder / name).write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise UserError(f"Folder {str(folder)!r} cannot be written: {error.strerror or error}.") from error
    return {name: folder / name for name in texts} | {f"figures/{path.name}": path for path, _ in figures}


def _shown(rows: Sequence[Row], content: Content) -> list[Row]:
    """The rows behind the tables' cells."""
    cells = {
        (score.sae, score.metric, score.slice, section.model, section.hook_out)
        for section in content.sections
        for line in section.lines
        for score in line.scores.values()
    }
    return [row for row in rows if (row.sae, row.metric, row.slice, row.model, row.hook_out) in cells]


def _tables(content: Content, shown: Sequence[Row]) -> list[str]:
    """A table a section; below it the digest of the signatures of its numbers."""
    found = []
    for section in content.sections:
        table = make_table(section, content.board, content.pairing, PAD)
        mine = [row for row in shown if (row.model, row.hook_out) == (section.model, section.hook_out)]
        found.append(table_latex(table, content.board, section.stem, _signed(mine)))
    return found


def _signed(rows: Sequence[Row]) -> str:
    """What the numbers of a table depend on, for the end of its caption."""
    signatures = sorted({row.signature for row in rows})
    digest = hashlib.sha256("\n".join(signatures).encode()).hexdigest()[:16]
    measured = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("tokens", _values(rows, lambda row: row.tokens)),
            ("seed", _values(rows, lambda r: r.seed)),
        )
        if value
    )
    return f"{measured.capitalize()}. Signature {digest} of {len(signatures)} measurements.".removeprefix(". ")


def _values(rows: Sequence[Row], of: Callable[[Row], Any]) -> str:
    """The different values, as text."""
    return "; ".join(sorted({str(value) for row in rows if (value := of(row)) not in (None, "", {})}))


FACTS: tuple[tuple[str, Callable[[Row], Any]], ...] = (
    ("model", lambda row: f"{row.model} (weights {row.model_hash[:12]})" if row.model_hash else row.model),
    ("hook", lambda row: row.hook_out if row.hook_in == row.hook_out else f"{row.hook_in} to {row.hook_out}"),
    ("precision", lambda row: row.dtype),
    ("suite", lambda row: row.suite),
    ("seed", lambda row: row.seed),
    ("python", lambda row: row.versions.get("python")),
    ("torch", lambda row: row.versions.get("torch")),
    ("transformers", lambda row: row.versions.get("transformers")),
    ("saebench", lambda row: f"{row.versions.get('saebench', '')} {(row.git_commit or '')[:10]}".strip()),
)
"""Facts that hold for a whole run."""


def methods(shown: Sequence[Row], rows: Sequence[Row]) -> str:
    """The facts of a methods paragraph as a LaTeX table: what was scored, on what, by which version of what."""
    shown = [row for row in shown if row.value is not None]
    lines = [_fact(name, sorted({str(v) for row in shown if (v := of(row)) not in (None, "")})) for name, of in FACTS]
    for role, label in (("sae", "SAEs"), ("null", "nulls"), ("baseline", "baselines")):
        names = {row.sae for row in shown if row.role == role}
        lines.append(
            _fact(
                label, [f"{len(names)}" + (f": {', '.join(sorted(names))}" if role != "sae" else "")] if names else []
            )
        )
    for corpus in sorted({row.corpus for row in shown} - {""}):
        mine = [row for row in shown if row.corpus == corpus]
        kinds = sorted({f"{row.tokens} tokens, context {row.context}, hash {row.corpus_hash[:12]}" for row in mine})
        lines.append(_fact(f"data: {corpus}", kinds))
    for metric in sorted({row.metric for row in shown}):
        mine = [row for row in shown if row.metric == metric]
        settings = sorted({f"version {row.version}" + _settings(row) for row in mine})
        cited = r"~\cite{" + ",".join(keys_of(metric)) + "}" if keys_of(metric) else ""
        lines.append(_fact(metric, settings, cited))
    lost = sum(row.value is None for row in rows)
    lines.append(_fact("rows without a number", [f"{lost} of {len(rows)}"]))
    body = "\n".join(line for line in lines if line)
    return "\n".join([
        r"\begin{table}[t]", r"  \centering\footnotesize",
        r"  \caption{What was measured. $\ne$ marks a fact that is not the same for all numbers.}",
        r"  \label{tab:methods}", r"  \begin{tabular}{@{}lp{0.46\columnwidth}@{}}", r"\toprule", body, r"\bottomrule",
        r"  \end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _settings(row: Row) -> str:
    return "".join(f", {key} {json.dumps(value)}" for key, value in sorted(row.settings.items()))


def _fact(name: str, values: Sequence[str], after: str = "") -> str:
    if not values:
        return ""
    mark = r" $\ne$" if len(values) > 1 else ""
    return rf"  {escape(name)}{mark} & \rightskip=0pt plus 3em {escape('; '.join(values))}{after} \\"


def _figures(content: Content, folder: Path) -> list[tuple[Path, str]]:
    """Every Pareto figure and a dot plot a section, PDF at column width, each with a caption."""
    from saebench.leaderboard.dots import draw_dots, page_panels
    from saebench.leaderboard.figures import draw

    form = next(form for form in FORMATS if form.suffix == "-column")
    everyone = [line.architecture for section in content.sections for line in section.of_role("sae")]
    look = looks(everyone)
    written: list[tuple[Path, str]] = []
    for section, group, stems in zip(content.sections, content.planes, figure_names(content), strict=True):
        for plane, stem in zip(group, stems, strict=True):
            path = _pdf(draw(plane, form, look, labels=content.board.labels), folder / f"{stem}.pdf")
            written.append((path, f"{plane.y.label} by {plane.x.label}: {section.title}."))
    for section in content.sections:
        heads = make_table(section, content.board, content.pairing).heads
        most = page_panels(section)
        for page in range(0, len(heads) if section.of_role("sae") else 0, most):
            name = f"dots-{slug(section.stem)}" + (f"-{page // most + 1}" if len(heads) > most else "")
            part = heads[page : page + most]
            path = _pdf(draw_dots(section, part, look), folder / f"{name}.pdf")
            written.append((path, f"{', '.join(head.label for head in part)}: {section.title}."))
    return written


def _pdf(figure: Figure, path: Path) -> Path:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    from saebench.leaderboard.figures import house_style

    with house_style():
        FigureCanvasPdf(figure).print_pdf(path, metadata=METADATA["pdf"])
    return path


def _page(figures: Sequence[tuple[Path, str]]) -> str:
    """A document that shows all parts."""
    drawn = [
        "\\begin{figure}[t]\n  \\centering\n"
        f"  \\includegraphics[width=\\columnwidth]{{figures/{path.name}}}\n"
        f"  \\caption{{{escape(caption[0].upper() + caption[1:])}}}\n\\end{{figure}}\n"
        for path, caption in figures
    ]
    bibliography = "\\nocite{*}\n\\bibliographystyle{plain}\n\\bibliography{metrics}\n"
    body = ["\\input{methods}", "\\onecolumn", "\\input{tables}", "\\twocolumn", *drawn, bibliography]
    return ROOM + "\n".join(body) + "\\end{document}\n"
