"""The `saebench leaderboard` commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from saebench.errors import UserError


@click.group()
def leaderboard() -> None:
    """Boards, Pareto fronts and figures from rows."""


@leaderboard.command()
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; default ROWS/board.")
@click.option("--board", type=click.Path(path_type=Path), help="YAML that names columns and figures.")
@click.option("--site/--no-site", default=True, show_default=True, help="Write the pages in OUT/site too.")
def build(rows: Path, out: Path | None, board: Path | None, site: bool) -> None:
    """Tables (CSV, Markdown, LaTeX), Pareto figures (PNG, SVG, PDF) and a static site from a run's rows."""
    from saebench.leaderboard import build as build_board

    place = out or (rows if rows.is_dir() else rows.parent) / "board"
    for name, path in build_board(rows, place, board=board, site=site).items():
        if not name.startswith("site/"):
            click.echo(path)
    if site:
        click.echo(place / "site" / "index.html")


@leaderboard.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--port", default=8000, show_default=True, type=int, help="0 takes a free one.")
def serve(folder: Path, port: int) -> None:
    """Show a board's site at an address of this machine, until Ctrl-C. It opens from disk as well."""
    from saebench.leaderboard.site.serve import serve as serve_site

    serve_site(folder, port, say=click.echo)


@leaderboard.command()
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Markdown file to write, such as docs/trust.md.")
def trust(rows: Path, out: Path | None) -> None:
    """What each metric of a run can and cannot tell: null gap, reseed noise, validity (see suite `trust`)."""
    from saebench.console import markdown
    from saebench.leaderboard.build import trust_page

    text = trust_page(rows)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        click.echo(out)
    else:
        markdown(text)


@leaderboard.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--board", type=click.Path(path_type=Path), help="Keep only what this board shows.")
def add(run: Path, results: Path, board: Path | None) -> None:
    """Append a run's finished rows to the results that a board is built from."""
    from saebench.leaderboard.add import add as add_rows

    added = add_rows(run, results, board)
    left = {"there already": added.known, "failed": added.failed, "not on the board": added.not_shown}
    rest = ", ".join(f"{count} {why}" for why, count in left.items() if count)
    click.echo(f"{added.rows} rows added to {results}" + (f" ({rest})" if rest else ""))


@leaderboard.command(name="import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="runs/imported", show_default=True, help="Folder of rows."
)
def import_(folder: Path, out: Path) -> None:
    """Rows from SAEBench 0.6 result files (*_eval_results.json), as versions of their own. Exit 1: some left out."""
    from saebench.results.exchange import import_saebench

    imported = import_saebench(folder)
    for problem in imported.problems:
        click.echo(f"left out: {problem}", err=True)
    if not len(imported.results):
        raise UserError(f"No file under {str(folder)!r} could be imported.")
    place = imported.results.save(out)
    click.echo(f"{len(imported.results)} rows of {len(imported.results.saes)} SAEs, {imported.files} files: {place}")
    sys.exit(1 if imported.problems else 0)


@leaderboard.command()
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["saebench"]), default="saebench", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def export(rows: Path, form: str, out: Path) -> None:
    """Rows as result files of another tool: SAEBench 0.6's JSON, in the layout of its published results."""
    from saebench.results import Results
    from saebench.results.exchange import export_saebench

    exported = export_saebench(Results.load(rows), out)
    for reason in exported.left_out:
        click.echo(f"left out: {reason}", err=True)
    click.echo(f"{exported.rows} rows in {len(exported.files)} {form} files: {out}")


@leaderboard.command()
@click.argument("rows", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--pull-request", is_flag=True, help="Offer the rows to a dataset that is someone else's.")
@click.option("--private", is_flag=True, help="Make a new dataset private.")
@click.option("--sums", is_flag=True, help="Keep the sums per unit, which paired tests need.")
def push(rows: Path, repo: str, pull_request: bool, private: bool, sums: bool) -> None:
    """Add rows to a dataset on the hub."""
    from saebench.leaderboard.hub import push as push_rows

    for path in push_rows(rows, repo, pull_request=pull_request, private=private, sums=sums):
        click.echo(path)


@leaderboard.command()
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder that the rows are added to.")
@click.option("--revision", help="Branch, tag or commit.")
def pull(repo: str, out: Path, revision: str | None) -> None:
    """Get the rows of a dataset on the hub."""
    from saebench.leaderboard.hub import pull as pull_rows

    results = pull_rows(repo, out, revision=revision)
    click.echo(f"{len(results)} rows of {len(results.saes)} SAEs: {out}")
