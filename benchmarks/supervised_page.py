"""The page of `supervised.py`: seconds, ratios, memory, and values side by side with why they differ."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import supervised_data as made
from supervised_child import FULL, SAE, SET_UP, Report

TOGETHER = "probing, TPP and SCR together"
FEW = "k-sparse probing, TPP and SCR together"
K_SPARSE = "k-sparse probing alone"
WHOLE = (TOGETHER, FEW)
TARGETS = {"sparse_probing": 5.0, "tpp": 50.0, "scr": 50.0, "absorption": 20.0}
SET_UP_TARGET = 2.0


def page(
    options: argparse.Namespace,
    theirs: list[Report],
    ours: list[Report],
    wide: Mapping[tuple[int, int], Mapping[str, float]],
    unpadded: Report | None,
) -> Iterator[str]:
    """The page, line by line.

    Args:
        theirs: The reference's reports, one a round; empty if it was not run.
        ours: Ours, one a round.
        wide: Peak memory and the encode's share by width and scale of the texts.
        unpadded: The reference's values where it does not ablate in padding; None where that was not run.
    """
    yield "# Supervised metrics against the reference suite"
    yield ""
    yield (
        f"{options.texts} texts of a class to fit on and {options.texts // 4} to score on (the reference's own sizes: "
        f"2,000 and 500), {sum(len(plan.classes) for plan in made.TASKS.values())} classes in {len(made.TASKS)} tasks; "
        f"TPP on two of them; SCR on {2 * options.pairs} pairs; all words of the world for absorption. float32, "
        f"{options.threads} thread(s), CPU ({platform.machine()}, {os.cpu_count()} cores); {options.rounds} round(s), "
        f"each a process for each side; CPU seconds. SAE: `{Path(options.sae[0]).name}`. Written by "
        "`benchmarks/supervised.py`; what each side computes is in `benchmarks/README.md`."
    )
    yield ""
    yield f"Reference: {_versions(theirs[0]) if theirs else 'not run'}. Ours: {_versions(ours[0])}."
    yield from ["", "## One SAE after its set-up, and the set-up", ""]
    yield from _speed(theirs, ours) if theirs else _seconds_alone(ours)
    yield from _without_full(theirs, ours) if theirs else ()
    yield from ["", "## Against our own floor", "", *_floors(ours, wide)]
    if wide:
        yield from ["", "## Memory", "", *_memory(wide)]
    yield from ["", "## Values, side by side", "", *_beside(theirs[0], ours[0], unpadded)] if theirs else ()


def _versions(report: Report) -> str:
    return ", ".join(f"{name} {version}" for name, version in report.versions.items())


def _speed(theirs: list[Report], ours: list[Report]) -> Iterator[str]:
    yield "| family | part | reference, s | ours, s | ratio of CPU s (all rounds) | ratio of wall s | target |"
    yield "|---|---|---|---|---|---|---|"
    for family in theirs[0].cpu:
        if family not in ours[0].cpu:
            for part, seconds in theirs[0].cpu[family].items():
                yield f"| {family} | {part} | {seconds:.2f} | not there yet | | | |"
            continue
        for part, target in ((SAE, TARGETS[family]), (SET_UP, SET_UP_TARGET)):
            cpu = [(a.cpu[family][part], b.cpu[family][part]) for a, b in zip(theirs, ours, strict=True)]
            wall = [a.wall[family][part] / b.wall[family][part] for a, b in zip(theirs, ours, strict=True)]
            ratios = [a / b for a, b in cpu]
            middle = [statistics.median(side) for side in zip(*cpu, strict=True)]
            spread = ", ".join(f"{ratio:.1f}" for ratio in ratios)
            yield (
                f"| {family} | {part} | {middle[0]:.2f} | {middle[1]:.3f} | **{statistics.median(ratios):.1f}** "
                f"({spread}) | {statistics.median(wall):.1f} | {target:g} |"
            )


def _seconds_alone(ours: list[Report]) -> Iterator[str]:
    """Our half without another to compare it with."""
    yield "| metrics | set-up, CPU s | one SAE, CPU s |"
    yield "|---|---|---|"
    for name in ours[0].cpu:
        set_up, own = (statistics.median(report.cpu[name][part] for report in ours) for part in (SET_UP, SAE))
        yield f"| {name} | {set_up:.2f} | {own:.3f} |"


def _without_full(theirs: list[Report], ours: list[Report]) -> Iterator[str]:
    """Sparse probing without the probe on all latents, which is most of it on both sides."""
    if all(FULL in report.counts for report in theirs) and K_SPARSE in ours[0].cpu:
        other = [a.cpu["sparse_probing"][SAE] - a.counts[FULL] for a in theirs]
        own = [report.cpu[K_SPARSE][SAE] for report in ours]
        ratio = statistics.median(a / b for a, b in zip(other, own, strict=True))
        yield ""
        yield (
            f"Without the probe on all latents: reference {statistics.median(other):.2f} s, ours "
            f"{statistics.median(own):.2f} s, ratio **{ratio:.1f}**."
        )


def _floors(ours: list[Report], wide: Mapping[tuple[int, int], Mapping[str, float]]) -> Iterator[str]:
    """Share of the encode in a SAE's own seconds."""
    yield "| SAE, metrics | texts, tokens | encode, s | product, s | SAE's own seconds | encode's share | target |"
    yield "|---|---|---|---|---|---|---|"
    middle = ours[0]
    cases = [("the SAE above", middle.counts, middle.cpu[name][SAE], name) for name in WHOLE if name in middle.cpu]
    cases += [("random", counts, counts["sae"], FEW) for counts in wide.values() if "sae" in counts]
    for name, counts, sae, what in cases:
        yield (
            f"| {name}, {counts['d_sae']:,.0f} latents; {what} | {counts['texts']:,.0f}, {counts['tokens']:,.0f} | "
            f"{counts['encode']:.2f} | {counts['product']:.2f} | {sae:.2f} | **{counts['encode'] / sae:.0%}** | 50% |"
        )
    yield ""
    yield f"{middle.counts['texts']:,.0f} distinct texts; the tasks show them {middle.counts['shown']:,.0f} times."


def _memory(wide: Mapping[tuple[int, int], Mapping[str, float]]) -> Iterator[str]:
    yield "| latents | texts | peak MiB of the process | a dense table [texts, latents] would be, MiB |"
    yield "|---|---|---|---|"
    for (width, _), found in wide.items():
        dense = found["texts"] * width * 4 / 2**20
        yield f"| {width:,} | {found['texts']:,.0f} | {found['peak']:,.0f} | {dense:,.0f} |"


SAME: dict[str, str] = {
    "llm_test_accuracy": "residual_probing[full]",
    **{f"llm_top_{k}_test_accuracy": f"residual_probing[k={k}]" for k in (1, 2, 5)},
    "sae_test_accuracy": "full_code_probing[full]",
    **{f"sae_top_{k}_test_accuracy": f"sparse_probing@saebench[k={k}]" for k in (1, 2, 5)},
    **{f"tpp_threshold_{n}_total_metric": f"tpp[n={n}]" for n in (2, 5, 10, 20, 50, 100, 500)},
    **{f"scr_metric_threshold_{n}": f"scr[n={n}]" for n in (2, 5, 10, 20, 50, 100, 500)},
    "mean_absorption_fraction_score": "mean_absorption_fraction[first_letter]",
    "mean_full_absorption_score": "full_absorption_rate[first_letter]",
    "mean_num_split_features": "num_split_features[first_letter]",
}
"""The reference's name and ours."""

PRESET: dict[str, str] = {
    "tpp": "tpp@saebench",
    "scr": "scr@saebench",
    "mean_absorption_fraction": "mean_absorption_fraction@saebench",
    "full_absorption_rate": "full_absorption_rate@saebench",
}
"""Our metrics by the reference's protocol, under the names of the plain ones."""
WHY: dict[str, str] = {
    "llm_test_accuracy": "100 epochs of training there, with the best by test accuracy; here the optimum",
    "sae_test_accuracy": "100 epochs of training there, with the best by test accuracy; here the optimum",
    "top": "negatives are drawn anew for each k there, and are frozen here",
    "tpp": "padding is ablated too there; probes of 20 epochs; negatives drawn for each accuracy",
    "scr": "as for TPP, and a mean of ratios of few texts over few pairs",
    "mean_": "50 steps of training rank latents that never fire as main; all others then absorb",
}
"""What makes the reference's value another, by the beginning of its name or a part of it."""


def _beside(theirs: Report, ours: Report, unpadded: Report | None) -> Iterator[str]:
    head = ("reference", "its value", "its padding left alone", "ours by its protocol", "ours", "our value", "why")
    yield from (f"| {' | '.join(head)} |", "|---" * len(head) + "|")
    said = ""
    for family, values in theirs.values.items():
        own = ours.values.get(family, {})
        mended = unpadded.values.get(family, {}) if unpadded else {}
        for name, other in SAME.items():
            if name in values:
                metric, _, slice_ = other.partition("[")
                cells = (mended.get(name), own.get(f"{PRESET.get(metric)}[{slice_}"), own.get(other))
                first, second, third = ("" if cell is None else f"{cell:.4f}" for cell in cells)
                why = next((text for part, text in WHY.items() if name.startswith(part) or f"_{part}_" in name), "")
                note, said = "" if why == said else why, why
                yield f"| {name} | {values[name]:.4f} | {first} | {second} | {other} | {third} | {note} |"
