"""`saebench report`: a run as Markdown, as a paper's parts, or as a block for a model card."""

from __future__ import annotations

from pathlib import Path

import click

from saebench.errors import UserError


@click.command()
@click.argument("rows", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report.md and its figures, or the paper's.")
@click.option("--paper", is_flag=True, help="LaTeX tables, PDF figures, facts for the methods and BibTeX, into --out.")
@click.option("--card", is_flag=True, help="A block for the SAE's model card.")
@click.option("--sae", help="Whose card, where the run holds several SAEs.")
@click.option("--board", type=click.Path(path_type=Path), help="YAML that names columns and figures.")
def report(rows: Path, out: Path | None, paper: bool, card: bool, sae: str | None, board: Path | None) -> None:
    """What ran, the board, failures with reasons, warnings and timings, as Markdown; or a paper's parts, or a card."""
    if paper or card:
        _special_report(rows, out, paper, card, sae, board)
        return
    from saebench.console import markdown
    from saebench.leaderboard import report as make_report

    text = make_report(rows, out, board)
    if out:
        click.echo(out / "report.md")
    else:
        markdown(text)


def _special_report(rows: Path, out: Path | None, paper: bool, card: bool, sae: str | None, board: Path | None) -> None:
    if paper and card:
        raise UserError("Give one of --paper and --card.")
    if paper:
        from saebench.leaderboard.paper import paper as write_paper

        if out is None:
            raise UserError("--paper writes several files: give the folder with --out.")
        for path in write_paper(rows, out, board).values():
            click.echo(path)
        return
    from saebench.leaderboard.card import card as make_card

    text = make_card(rows, sae)
    if out is None:
        click.echo(text)
    else:
        out.mkdir(parents=True, exist_ok=True)
        (out / "card.md").write_text(text, encoding="utf-8")
        click.echo(out / "card.md")
