"""The `saebench` command: each subcommand is a thin shell over a library function."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from saebench.cli_leaderboard import leaderboard
from saebench.errors import UserError, unknown


class _Group(click.Group):
    """Shows a `UserError` as one sentence and offers the nearest command for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = click.utils.make_str(args[0])
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise UserError(str(unknown("command", name, self.list_commands(ctx))))
        return super().resolve_command(ctx, args)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit code."""
    # Threads that spin while they wait make a run many times slower when anything else is on the machine's cores
    # (measured: 6 to 16 times on two cores with one busy). Set before torch starts its threads; a user's choice stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        cli.main(arguments, prog_name="saebench", standalone_mode=True)
    except UserError as error:
        sys.stderr.write(f"saebench: {error}\n")
        sys.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="saebench")
@click.option("--include", multiple=True, type=click.Path(), help="Python file or folder with metrics of your own.")
def cli(include: tuple[str, ...]) -> None:
    """Score sparse autoencoders: right numbers, with error bars and nulls, offline."""
    _include(include)


def _include(paths: tuple[str, ...]) -> None:
    if paths:
        from saebench import registry

        for path in paths:
            registry.include(path)


@cli.command()
@click.argument("suite")
@click.option(
    "--sae", multiple=True, help="SAE reference: world:NAME, a path, saelens:RELEASE/ID, hf:OWNER/REPO. Repeat it."
)
@click.option("--model", help="Hub id or local directory; default: the suite's, else the one the SAEs name.")
@click.option("--data", multiple=True, metavar="NAME=REF", help="Data instead of the suite's, such as text=my.jsonl.")
@click.option("--metric", multiple=True, help="Only this metric. Repeat it.")
@click.option("--group", multiple=True, metavar="NAME=REF,REF", help="SAEs that differ in their seed alone. Repeat it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rows; default runs/SUITE.")
@click.option("--hook", help="Hook of SAEs that do not name theirs.")
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True, help="Precision of the model.")
@click.option("--seed", type=int, help="Instead of the suite's.")
@click.option(
    "--repeats", type=int, help="Seeds to score with, for each metric's reseed noise; instead of the suite's."
)
@click.option("--judge", help="Who explains latents: ngram (no network), openai:MODEL; instead of the suite's.")
@click.option("--executor", default="local", show_default=True)
@click.option("--only-cached", is_flag=True, help="Show what the folder holds; run nothing.")
@click.option("--offline", is_flag=True, help="Refuse what needs a network.")
@click.option("--dry-run", is_flag=True, help="Print the plan; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON lines on standard output.")
@click.option("--include", multiple=True, type=click.Path(), help="Python file or folder with metrics of your own.")
def run(
    suite: str,
    sae: tuple[str, ...],
    metric: tuple[str, ...],
    data: tuple[str, ...],
    group: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    include: tuple[str, ...],
    **options: Any,
) -> None:
    """Score SAEs on a suite. Running the same command again resumes it."""
    _include(include)
    from saebench.suite import load_suite

    chosen = load_suite(suite)
    given = {"data": _pairs(data), "metrics": list(metric) or None, "groups": _groups(group), **options}
    place = out or Path("runs") / chosen.name
    if dry_run:
        _show_plan(list(sae), chosen, place, given, as_json)
        return
    results = _evaluate(list(sae), chosen, place, given, quiet=as_json)
    results.to_parquet(place / "rows.parquet")
    if as_json:
        for row in results.rows:
            click.echo(row.without_sums().to_json())
    else:
        _show_board(results, place)
    if results.errors():
        click.echo(f"{len(results.errors())} rows failed; the reasons: saebench report {place}", err=True)
        sys.exit(1)


def _evaluate(saes: list[str], suite: Any, out: Path, given: dict[str, Any], *, quiet: bool) -> Any:
    from saebench.console import LiveProgress, PlainProgress
    from saebench.engine import evaluate

    if not quiet and sys.stdout.isatty():
        with LiveProgress() as live:
            return evaluate(saes, suite, out=out, progress=live, **given)
    return evaluate(saes, suite, out=out, progress=None if quiet else PlainProgress(), **given)


def _show_board(results: Any, place: Path) -> None:
    from saebench.console import markdown
    from saebench.leaderboard.build import load_content, page_tables, trust_tables

    content = load_content(results)
    shown = [part for pair in zip(page_tables(content), trust_tables(content), strict=True) for part in pair if part]
    markdown("\n\n".join(shown))
    click.echo(f"\nrows: {place / 'rows.jsonl'} (and .parquet)")
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


def _pairs(data: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in data:
        name, equals, ref = item.partition("=")
        if not equals or not name or not ref:
            raise UserError(f"--data {item!r} must be NAME=REF, such as text=my.jsonl.")
        pairs[name] = ref
    return pairs


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


@cli.command(name="list")
@click.argument("what", type=click.Choice(["metrics", "suites", "saes", "models"]))
@click.option("--json", "as_json", is_flag=True)
@click.option("--include", multiple=True, type=click.Path(), help="Python file or folder with metrics of your own.")
def list_(what: str, as_json: bool, include: tuple[str, ...]) -> None:
    """List metrics, suites, shipped SAEs or models."""
    _include(include)
    from saebench import console, listing

    header, rows = listing.listed(what)
    if as_json:
        click.echo(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=2))
    else:
        console.table(header, rows)


@cli.command()
@click.argument("name")
@click.option("--hook", help="Hook of a SAE that does not name its own.")
@click.option("--model", help="Model on which to try a SAE; a SAE of the world is tried on the world's.")
@click.option("--text", help="Text to try it on, as for --data text=.")
@click.option("--latent", type=int, help="Of a SAE: one latent with its contexts, explanation and scores.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the latent as a page of HTML.")
@click.option("--judge", default="ngram", show_default=True, help="Who explains the latent: ngram or openai:MODEL.")
@click.option("--include", multiple=True, type=click.Path(), help="Python file or folder with metrics of your own.")
def show(
    name: str, include: tuple[str, ...], latent: int | None, html: Path | None, judge: str, **options: Any
) -> None:
    """Show a metric (formula, inputs, version), a suite, what a SAE holds and does on a probe batch, or a latent."""
    _include(include)
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


@cli.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--sae-a", help="SAE of A, where it holds several.")
@click.option("--sae-b", help="SAE of B, where it holds several.")
@click.option("--gate", type=click.Path(path_type=Path), help="YAML: metric, direction, tolerance.")
@click.option("--cannot-tell", type=click.Choice(["pass", "fail"]), default="pass", show_default=True)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the comparison as Markdown.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the gate as JUnit XML.")
def compare(
    a: Path,
    b: Path,
    sae_a: str | None,
    sae_b: str | None,
    gate: Path | None,
    cannot_tell: Any,
    markdown: Path | None,
    junit: Path | None,
) -> None:
    """Paired differences B - A with intervals and verdicts. Exit 1: regression; 2: rows missing or too noisy."""
    from saebench.results import compare as compare_results

    comparison = compare_results(a, b, sae_a=sae_a, sae_b=sae_b, gate=gate, cannot_tell=cannot_tell)
    _tell(comparison, markdown, junit)


def _tell(comparison: Any, markdown: Path | None, junit: Path | None) -> None:
    """Print a comparison, write its files and leave with its exit code."""
    click.echo(comparison.text())
    for path, text in ((markdown, comparison.markdown), (junit, comparison.junit)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
    sys.exit(comparison.exit_code)


@cli.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.option("--sae", required=True, help="The SAE that changed: a path, hf:OWNER/REPO, world:NAME.")
@click.option("--suite", default="ci", show_default=True)
@click.option("--model", help="Instead of the suite's.")
@click.option("--data", multiple=True, metavar="NAME=REF", help="Data instead of the suite's.")
@click.option("--hook", help="Hook of a SAE that does not name its own.")
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True, help="Precision of the model.")
@click.option("--seed", type=int, help="Instead of the suite's.")
@click.option("--offline", is_flag=True, help="Refuse what needs a network.")
@click.option("--out", type=click.Path(path_type=Path), default="runs/gate", show_default=True, help="Folder of rows.")
@click.option("--baseline-sae", help="SAE of the baseline, where it holds several.")
@click.option("--gate", type=click.Path(path_type=Path), help="YAML: metric, direction, tolerance.")
@click.option("--cannot-tell", type=click.Choice(["pass", "fail"]), default="pass", show_default=True)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the comment of a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the gate as JUnit XML.")
def gate(
    baseline: Path,
    sae: str,
    suite: str,
    out: Path,
    baseline_sae: str | None,
    gate: Path | None,
    cannot_tell: Any,
    markdown: Path | None,
    junit: Path | None,
    data: tuple[str, ...],
    **options: Any,
) -> None:
    """Score a SAE and compare it with stored rows, as a pull request does. Exit codes as of compare."""
    from saebench.results import compare as compare_results
    from saebench.results import load_gate
    from saebench.suite import load_suite

    held = None if gate is None else load_gate(gate)
    given = {"data": _pairs(data), **options}
    results = _evaluate([sae], load_suite(suite), out, given, quiet=True)
    name = results.saes[0] if len(results.saes) == 1 and baseline_sae else None
    _tell(
        compare_results(baseline, results, sae_a=baseline_sae, sae_b=name, gate=held, cannot_tell=cannot_tell),
        markdown,
        junit,
    )


@cli.command()
@click.argument("a")
@click.argument("b")
@click.option("--signed", is_flag=True, help="Count cosines with their sign; else their absolute values.")
@click.option("--side", default="decoder", show_default=True, help="Match by decoder, encoder or both.")
@click.option("--threshold", default=0.7, show_default=True, type=float, help="Cosine above which a pair is shared.")
@click.option("--device", help="Where products are taken; default: where the weights are loaded.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for latents.parquet, match.png and match.json.")
@click.option("--json", "as_json", is_flag=True)
def match(a: str, b: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Match the latents of two SAEs one to one, exactly, and hold the result against random dictionaries."""
    from saebench.matching.report import compared

    report = compared(a, b, **options)
    click.echo(json.dumps(report.facts, indent=2) if as_json else report.text())
    if out:
        for path in report.write(out):
            click.echo(path, err=as_json)


cli.add_command(leaderboard)


@cli.command()
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


@cli.command()
@click.argument("suite")
@click.option("--sae", multiple=True, help="SAE reference, besides those of the suite. Repeat it.")
@click.option("--model", help="Instead of the suite's.")
@click.option("--dry-run", is_flag=True, help="List what is missing; get nothing.")
def fetch(suite: str, sae: tuple[str, ...], model: str | None, dry_run: bool) -> None:
    """Get the models, SAEs and data that a suite needs, once, so that it runs --offline afterwards."""
    from saebench import fetch as fetching
    from saebench.suite import load_suite

    needs = fetching.missing(fetching.wanted(load_suite(suite), model=model, saes=list(sae)))
    for need in needs:
        click.echo(f"missing: {need}")
    if not needs:
        click.echo("nothing is missing")
    elif not dry_run:
        got = fetching.fetch(needs, lambda need: click.echo(f"getting {need}"))
        click.echo(f"got {len(got)}")


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), default="docs/metrics", show_default=True)
def docs(out: Path) -> None:
    """Write a page for each metric from its docstring."""
    from saebench.pages import write_pages

    changed = write_pages(out)
    for path in changed:
        click.echo(path)
    click.echo(f"{len(changed)} pages changed")


@cli.command()
def doctor() -> None:
    """Check versions, devices, plug-ins and the shipped world."""
    from saebench.doctor import examine

    sound = True
    for check in examine():
        sound = sound and check.fine
        click.echo(f"{'ok  ' if check.fine else 'MEND'}  {check.name}: {check.finding}")
    sys.exit(0 if sound else 1)
