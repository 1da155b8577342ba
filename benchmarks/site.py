"""Time to build the site of many SAEs and to use it in a headless Chromium.

    python benchmarks/site.py [--saes 1000] [--metrics 100] [--site FOLDER] [--no-browser] [--out FILE.md]

The rows are made up: SAEs of five architectures and three widths on two hooks, every metric with a standard error,
a null and a baseline for each hook. Prints seconds to arrange the rows (nulls, trust), seconds to write the site,
its weight, and in the browser the first paint and what a reader waits for after each keystroke or click: the time
of the handler and of the layout that it forces. Needs playwright and a Chromium; without them it says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from saebench.leaderboard.board import Board, Column
from saebench.leaderboard.build import read_rows
from saebench.leaderboard.site.build import write_site
from saebench.results import Results, Row

ARCHITECTURES = ("standard", "topk", "batchtopk", "jumprelu", "gated")
WIDTHS = (4096, 16384, 65536)
HOOKS = ("blocks.5.hook_resid_post", "blocks.12.hook_resid_post")
TYPED = "const box = document.getElementById('{}'); box.value = '{}'; box.dispatchEvent(new Event('input'))"
USES = {
    "search": TYPED.format("q", "topk-1"),
    "architecture": "document.querySelector('#arch button[value=gated]').click()",
    "L0 range": TYPED.format("l0min", "30"),
    "sort": "document.querySelector('[data-sort=metric_3]').click()",
    "all columns": "document.querySelector('[data-set=all]').click()",
    "sort, all columns": "document.querySelector('[data-sort=metric_4]').click()",
}
RESET = "document.getElementById('reset').click()"
TIMED = "() => {{ const began = performance.now(); {}; document.body.offsetHeight; return performance.now() - began; }}"


def main() -> None:
    """Build, open, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saes", type=int, default=1000)
    parser.add_argument("--metrics", type=int, default=100)
    parser.add_argument("--site", type=Path)
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.site or Path(tempfile.mkdtemp()) / "site"
    told: list[tuple[str, str, str]] = []
    results = Results(made_up(options.saes, options.metrics))
    begun = time.process_time()
    source = timed(told, "arrange the rows (nulls, trust)", lambda: read_rows(results))
    board = Board(title="Made up", columns=tuple(Column(metric=name) for name in ["l0", *names(options.metrics)[:12]]))
    written = timed(told, "write the site", lambda: write_site(source, board, out))
    say(told, "both", f"{time.process_time() - begun:.1f} s of CPU", "20 s")
    weights = {name: path.stat().st_size for name, path in written.items()}
    say(told, "files", f"{len(written)} ({sum(weights.values()) / 1e6:.0f} MB, with every row as CSV and JSON)")
    scripts = ("site.css", "theme.js", "common.js", "filters.js", "columns.js", "table.js")
    table = sum(weights[name] for name in ["index.html", "data/board.js", *(f"static/{name}" for name in scripts)])
    vega = sum(size for name, size in weights.items() if "vendor" in name)
    say(told, "weight of the table's page", f"{table / 1e6:.2f} MB", "5 MB")
    say(told, "weight of the plots' page", f"{(table + vega) / 1e6:.2f} MB", "5 MB")
    if not options.no_browser:
        browse(told, out)
    if options.out:
        lines = [f"{options.saes} SAEs x {options.metrics} metrics, {len(results)} rows", "", "| what | value | goal |"]
        lines += ["|---|---|---|", *(f"| {' | '.join(line)} |" for line in told)]
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def names(count: int) -> list[str]:
    """Names of the made-up metrics besides l0."""
    return [f"metric_{i}" for i in range(1, count)]


def made_up(saes: int, metrics: int) -> list[Row]:
    """Rows of SAEs, and of a null and a baseline for each hook."""
    rng = np.random.default_rng(0)
    people = [
        (f"{ARCHITECTURES[i % 5]}-{i}", ARCHITECTURES[i % 5], WIDTHS[i // 5 % 3], HOOKS[i % 2], "sae")
        for i in range(saes)
    ]
    references = (("null", "random"), ("baseline", "pca"))
    people += [(f"{role}:{name} at {hook}", name, 4096, hook, role) for hook in HOOKS for role, name in references]
    rows: list[Row] = []
    for name, architecture, width, hook, role in people:
        quality = float(rng.normal())
        for metric in ["l0", *names(metrics)]:
            value = (
                float(np.exp(rng.uniform(1, 6))) if metric == "l0" else 0.5 + 0.1 * quality + float(rng.normal(0, 0.05))
            )
            error = 0.01 * abs(value)
            rows.append(Row(
                sae=name, metric=metric, architecture=architecture, d_sae=width, role=role, model="made-up",
                hook_in=hook, hook_out=hook, corpus="text", corpus_hash="0", value=value, stderr=error,
                ci_low=value - 1.96 * error, ci_high=value + 1.96 * error, n=128, units="documents", unit="share",
                better="lower" if metric == "l0" else "higher", signature=f"{metric}@1|{hook}|{name}",
                sae_ref=f"hf:made/up/{name}", suite="core", seed=0, dtype="float32",
                settings={"top_k": 10, "window": 32}, versions={"saebench": "1.0.0", "torch": "2.13.0"},
                git_commit="0" * 40, git_dirty=False,
            ))  # fmt: skip
    return rows


def browse(told: list[tuple[str, str, str]], site: Path) -> None:
    """First paint, and how long each use of the table takes."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return say(told, "no browser times", "playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return say(told, "no browser times", "no Chromium is installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        paints = [_opened(page, (site / "index.html").as_uri()) for _ in range(3)]
        say(told, "first contentful paint (best of 3)", f"{min(paints):.0f} ms", "1,000 ms")
        for name, script in USES.items():
            say(told, name, f"{_used(page, name, script):.0f} ms", "" if "all columns" in name else "100 ms")
        page.goto((site / "pareto.html").as_uri())
        began = time.perf_counter()
        page.wait_for_selector("body[data-drawn]")
        say(told, "plot drawn after its page is loaded", f"{1000 * (time.perf_counter() - began):.0f} ms")
        browser.close()
    return None


def _opened(page: Any, url: str) -> float:
    page.goto("about:blank")
    page.goto(url)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    return page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")


def _used(page: Any, name: str, script: str) -> float:
    """Milliseconds of a use with its layout, the best of 3, each from a fresh start but for the columns."""
    times: list[float] = []
    for _ in range(3):
        if "all columns" not in name:
            page.evaluate(RESET)
        times.append(page.evaluate(TIMED.format(script)))
    return min(times)


def timed(told: list[tuple[str, str, str]], what: str, make: Callable[[], Any]) -> Any:
    """Run, and say how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = make()
    say(told, what, f"{time.process_time() - cpu:.1f} s of CPU, {time.perf_counter() - wall:.1f} s")
    return made


def say(told: list[tuple[str, str, str]], what: str, value: str, goal: str = "") -> None:
    """Print a line at once, and keep it."""
    told.append((what, value, f"under {goal}" if goal else ""))
    sys.stdout.write(f"{what}: {value}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
