"""Options that several commands share, and how their words are read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from saebench.errors import UserError

Command = TypeVar("Command", bound=Callable[..., Any])

include_option = click.option(
    "--include", multiple=True, type=click.Path(), help="Python file or folder with metrics of your own."
)

_TEXT = (
    click.option("--tokens", type=int, help="Tokens of text to score, to the end of a row; instead of the suite's."),
    click.option("--context", type=int, help="Tokens of text in a row, BOS included; instead of the suite's."),
)
_PLACE = (
    click.option("--hook", help="Hook of SAEs that do not name theirs."),
    click.option("--device", default="auto", show_default=True),
    click.option("--dtype", default="auto", show_default=True, help="Precision of the model."),
    click.option("--seed", type=int, help="Instead of the suite's."),
    click.option("--offline", is_flag=True, help="Refuse what needs a network."),
)


def place_options(command: Command) -> Command:
    """`--hook --device --dtype --seed --offline`, as every command that scores takes them."""
    return _with(command, _PLACE)


def text_options(command: Command) -> Command:
    """`--tokens --context`: how much text is read, and in what rows."""
    return _with(command, _TEXT)


def _with(command: Command, options: tuple[Callable[[Any], Any], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def include_files(paths: tuple[str, ...]) -> None:
    """Register the metrics of a user's own files."""
    if paths:
        from saebench import registry

        for path in paths:
            registry.include(path)


def given_data(data: tuple[str, ...], tokens: int | None, context: int | None) -> dict[str, Any]:
    """`NAME=REF` words of `--data`, and `--tokens` and `--context` of the text, as `evaluate` takes them."""
    pairs: dict[str, Any] = {}
    for item in data:
        name, equals, ref = item.partition("=")
        if not equals or not name or not ref:
            raise UserError(f"--data {item!r} must be NAME=REF, such as text=my.jsonl.")
        pairs[name] = ref
    text = {key: value for key, value in (("tokens", tokens), ("context", context)) if value is not None}
    if text:
        pairs["text"] = {**({"source": pairs["text"]} if "text" in pairs else {}), **text}
    return pairs


def scored(saes: list[str], suite: Any, out: Path, given: dict[str, Any], *, quiet: bool) -> Any:
    from saebench.console import LiveProgress, PlainProgress
    from saebench.engine import evaluate

    if not quiet and sys.stdout.isatty():
        with LiveProgress() as live:
            return evaluate(saes, suite, out=out, progress=live, **given)
    return evaluate(saes, suite, out=out, progress=None if quiet else PlainProgress(), **given)
