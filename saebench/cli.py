"""The `saebench` command: each subcommand is a thin shell over a library function."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import click

from saebench.commands.compare import compare, gate, match
from saebench.commands.leaderboard import leaderboard
from saebench.commands.look import list_, show
from saebench.commands.report import report
from saebench.commands.run import run
from saebench.commands.shared import include_files, include_option
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
    warnings.formatwarning = _warned
    try:
        cli.main(arguments, prog_name="saebench", standalone_mode=True)
    except UserError as error:
        sys.stderr.write(f"saebench: {error}\n")
        sys.exit(2)


def _warned(message: Warning | str, *_: object, **__: object) -> str:
    """A warning without the line of code that gave it, which says nothing to a user."""
    return f"warning: {message}\n"


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="saebench")
@include_option
def cli(include: tuple[str, ...]) -> None:
    """Score sparse autoencoders: right numbers, with error bars and nulls, offline."""
    include_files(include)


for _command in (run, list_, show, compare, gate, match, leaderboard, report):
    cli.add_command(_command)


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
