"""`saebench list` and `saebench show`: what there is, and what one thing of it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from saebench.commands.shared import include_files, include_option
from saebench.errors import UserError


@click.command(name="list")
@click.argument("what", type=click.Choice(["metrics", "suites", "saes", "models"]))
@click.option("--json", "as_json", is_flag=True)
@include_option
def list_(what: str, as_json: bool, include: tuple[str, ...]) -> None:
    """List metrics, suites, shipped SAEs or models."""
    include_files(include)
    from saebench import console, listing

    header, rows = listing.listed(what)
    if as_json:
        click.echo(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=2))
    else:
        console.table(header, rows)


@click.command()
@click.argument("name")
@click.option("--hook", help="Hook of a SAE that does not name its own.")
@click.option("--model", help="Model on which to try a SAE; a SAE of the world is tried on the world's.")
@click.option("--text", help="Text to try it on, as for --data text=.")
@click.option("--latent", type=int, help="Of a SAE: one latent with its contexts, explanation and scores.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the latent as a page of HTML.")
@click.option("--judge", default="ngram", show_default=True, help="Who explains the latent: ngram or openai:MODEL.")
@include_option
def show(
    name: str, include: tuple[str, ...], latent: int | None, html: Path | None, judge: str, **options: Any
) -> None:
    """Show a metric (formula, inputs, version), a suite, what a SAE holds and does on a probe batch, or a latent."""
    include_files(include)
    if latent is not None:
        _show_latent(name, latent, html, judge=judge, **options)
        return
    if html:
        raise UserError("--html is for one latent of a SAE: add --latent N.")
    from saebench import listing

    click.echo(listing.shown(name, **options))


def _show_latent(sae: str, latent: int, html: Path | None, **options: Any) -> None:
    from saebench.engine.latent import look_at
    from saebench.judges.look import text

    look = look_at(sae, latent, **options)
    click.echo(text(look))
    if html:
        from saebench.judges.look_html import page

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(f"{look.sae}, latent {latent}", [look]), encoding="utf-8")
        click.echo(f"\npage: {html}")
