"""`saebench run`: score SAEs on a suite, or print what that would take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from saebench.commands.shared import given_data, include_files, include_option, place_options, scored, text_options
from saebench.errors import UserError


@click.command()
@click.argument("suite")
@click.option(
    "--sae", multiple=True, help="SAE reference: world:NAME, a path, saelens:RELEASE/ID, hf:OWNER/REPO. Repeat it."
)
@click.option("--model", help="Hub id or local directory; default: the suite's, else the one the SAEs name.")
@click.option("--data", multiple=True, metavar="NAME=REF", help="Data instead of the suite's, such as text=my.jsonl.")
@click.option("--metric", multiple=True, help="Only this metric. Repeat it.")
@click.option("--group", multiple=True, metavar="NAME=REF,REF", help="SAEs that differ in their seed alone. Repeat it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rows; default runs/SUITE.")
@text_options
@place_options
@click.option(
    "--repeats", type=int, help="Seeds to score with, for each metric's reseed noise; instead of the suite's."
)
@click.option("--judge", help="Who explains latents: ngram (no network), openai:MODEL; instead of the suite's.")
@click.option("--executor", default="local", show_default=True)
@click.option("--only-cached", is_flag=True, help="Show what the folder holds; run nothing.")
@click.option("--dry-run", is_flag=True, help="Print the plan; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON lines on standard output.")
@include_option
def run(
    suite: str,
    sae: tuple[str, ...],
    metric: tuple[str, ...],
    data: tuple[str, ...],
    group: tuple[str, ...],
    out: Path | None,
    tokens: int | None,
    context: int | None,
    dry_run: bool,
    as_json: bool,
    include: tuple[str, ...],
    **options: Any,
) -> None:
    """Score SAEs on a suite. Running the same command again resumes it."""
    include_files(include)
    from saebench.suite import load_suite

    chosen = load_suite(suite)
    given = {
        "data": given_data(data, tokens, context),
        "metrics": list(metric) or None,
        "groups": _groups(group),
        **options,
    }
    place = out or Path("runs") / chosen.name
    if dry_run:
        _show_plan(list(sae), chosen, place, given, as_json)
        return
    results = scored(list(sae), chosen, place, given, quiet=as_json)
    rows = place if place.suffix == ".jsonl" else place / "rows.jsonl"
    results.to_parquet(rows.with_suffix(".parquet"))
    if as_json:
        for row in results.rows:
            click.echo(row.without_sums().to_json())
    else:
        _show_board(results, place, rows)
    if results.errors():
        click.echo(f"{len(results.errors())} rows failed; the reasons: saebench report {place}", err=True)
        sys.exit(1)


def _show_board(results: Any, place: Path, rows: Path) -> None:
    from saebench.console import markdown
    from saebench.leaderboard.build import load_content, page_tables, trust_tables

    content = load_content(results)
    shown = [part for pair in zip(page_tables(content), trust_tables(content), strict=True) for part in pair if part]
    markdown("\n\n".join(shown))
    click.echo(f"\nrows: {rows} (and .parquet)")
    click.echo(f"tables and figures: saebench leaderboard build {place}")


def _show_plan(saes: list[str], suite: Any, place: Path, given: dict[str, Any], as_json: bool) -> None:
    from saebench.engine.prepare import prepare
    from saebench.results import Store

    names = ("model", "data", "metrics", "groups", "hook", "device", "dtype", "seed", "judge", "offline")
    kept = {name: given[name] for name in names}
    repeats = given["repeats"] or suite.repeats
    plan = prepare(saes, suite, store=Store(place) if place.exists() else None, **kept).describe()
    plan["repeats"] = repeats
    if as_json:
        click.echo(json.dumps(plan, indent=2))
        return
    if repeats > 1:
        click.echo(f"{repeats} times, each with another seed; once is:")
    click.echo(f"suite {plan['suite']} on {plan['model']}: {plan['to_run']} cells to run, {plan['cached']} cached")
    for failed in plan["failed_to_load"]:
        click.echo(f"cannot load {failed['sae']}: {failed['reason']}")
    for group in plan["groups"]:
        notes = f" ({'; '.join(group['notes'])})" if group["notes"] else ""
        click.echo(f"group {group['name']}: {', '.join(group['saes'])}{notes}")
    if judge := plan["judge"]:
        click.echo(_judge_line(judge))
    for one in plan["passes"]:
        click.echo(
            f"pass over {one['data']}: {one['tokens']:,} tokens in {one['rows']:,} rows; {one['forwards']} forward, "
            f"{one['resumed_forwards']} resumed, {len(one['saes'])} SAEs, {len(one['metrics'])} metrics; "
            f"about {one['minutes']:.1f} min, {one['memory_gb']:.1f} GB"
        )


def _judge_line(judge: dict[str, Any]) -> str:
    """What the judge of a plan is expected to cost."""
    if judge["calls"] is None:
        return f"judge {judge['name']}: costs nothing"
    money = "price not given" if judge["money"] is None else f"{judge['money']:.2f} in the currency of its prices"
    return f"judge {judge['name']}: about {judge['calls']:,} calls, {judge['tokens']:,} tokens; {money}"


def _groups(groups: tuple[str, ...]) -> dict[str, list[str]]:
    named = {}
    for item in groups:
        name, equals, refs = item.partition("=")
        members = [ref.strip() for ref in refs.split(",") if ref.strip()]
        if not equals or not name or not members:
            raise UserError(f"--group {item!r} must be NAME=REF,REF, such as seeds=runs/seed0,runs/seed1.")
        if name in named:
            raise UserError(f"--group {name!r} is given twice: list all of its SAEs in one, NAME=REF,REF,REF.")
        named[name] = members
    return named
