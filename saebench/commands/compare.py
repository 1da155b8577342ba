"""`saebench compare`, `gate` and `match`: two results, or two SAEs, held against each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from saebench.commands.shared import given_data, place_options, scored, text_options


@click.command()
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


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.option("--sae", required=True, help="The SAE that changed: a path, hf:OWNER/REPO, world:NAME.")
@click.option("--suite", help="Instead of the baseline's, where its rows name a shipped one, else ci.")
@click.option("--model", help="Instead of the suite's, else the baseline's, else the one the SAE names.")
@click.option("--data", multiple=True, metavar="NAME=REF", help="Data instead of the suite's.")
@text_options
@place_options
@click.option("--out", type=click.Path(path_type=Path), default="runs/gate", show_default=True, help="Folder of rows.")
@click.option("--baseline-sae", help="SAE of the baseline, where it holds several.")
@click.option("--gate", type=click.Path(path_type=Path), help="YAML: metric, direction, tolerance.")
@click.option("--cannot-tell", type=click.Choice(["pass", "fail"]), default="pass", show_default=True)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the comment of a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the gate as JUnit XML.")
def gate(
    baseline: Path,
    sae: str,
    suite: str | None,
    out: Path,
    baseline_sae: str | None,
    gate: Path | None,
    cannot_tell: Any,
    markdown: Path | None,
    junit: Path | None,
    data: tuple[str, ...],
    model: str | None,
    tokens: int | None,
    context: int | None,
    **options: Any,
) -> None:
    """Score a SAE and compare it with stored rows, as a pull request does. Exit codes as of compare."""
    from saebench.results import Results, load_gate
    from saebench.results import compare as compare_results
    from saebench.suite import load_suite

    held = None if gate is None else load_gate(gate)
    stored = Results.load(baseline)
    chosen = load_suite(suite or _suite_of(stored))
    given = {
        "data": given_data(data, tokens, context),
        "model": model or chosen.model or _model_at_hand(stored),
        **options,
    }
    results = scored([sae], chosen, out, given, quiet=True)
    name = results.saes[0] if len(results.saes) == 1 and baseline_sae else None
    _tell(
        compare_results(stored, results, sae_a=baseline_sae, sae_b=name, gate=held, cannot_tell=cannot_tell),
        markdown,
        junit,
    )


def _suite_of(stored: Any) -> str:
    """The shipped suite that all stored rows come from, else `ci`."""
    from saebench.suite import suite_files

    named = {row.suite for row in stored.rows}
    name = named.pop() if len(named) == 1 else ""
    return name if name in suite_files() else "ci"


def _model_at_hand(stored: Any) -> str | None:
    """The one model that stored rows were scored on, if it can be had without a network."""
    from saebench.models.loading import WORLD

    models = {row.model for row in stored.rows if row.model}
    model = models.pop() if len(models) == 1 else ""
    return model if model in WORLD or Path(model).is_dir() else None


@click.command()
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
