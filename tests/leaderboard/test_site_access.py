"""The site on a phone, in the dark, from the keyboard, and as axe-core judges it; skipped where there is no browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saebench.leaderboard.site import build_site
from tests.helpers.site_rows import BOARD

PAGES = ("index", "pareto", "compare", "metrics", "downloads", "saes/topk-l0_25", "metrics/ce_delta")


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_no_page_sideways(page: Any, name: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{name}.html" + ("#sae=topk-l0_25&sae=gated-l0_8" if name == "compare" else ""))
    page.wait_for_timeout(150)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("nav[aria-label=Pages] a").last.is_visible()


def test_light_and_dark(page: Any) -> None:
    def ground() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.goto("index.html")
    light = ground()
    page.emulate_media(color_scheme="dark")
    assert ground() != light
    page.click("#theme")
    assert ground() == light and "light" in page.text_content("#theme")
    page.click("#theme")
    page.goto("metrics.html")  # the choice stays
    assert ground() != light and "dark" in page.text_content("#theme")


def test_the_keyboard_reaches_the_table(page: Any) -> None:
    page.goto("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("[data-sort=l0]")
    page.keyboard.press("Space")
    assert page.get_attribute("th:has([data-sort=l0])", "aria-sort") == "ascending"
    page.focus("#pick")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#columns').open")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "pick"


def test_axe_finds_no_serious_fault(page: Any, rows: pd.DataFrame, tmp_path: Path) -> None:
    """On a site of a few SAEs, which has all that a large one has."""
    package = pytest.importorskip("axe_playwright_python")
    few = rows["sae"].isin(["topk-l0_25", "gated-l0_8", "gated-l0_80", "topk-untrained"]) | (rows["role"] != "sae")
    build_site(rows[few], tmp_path, BOARD)
    script = (Path(package.__path__[0]) / "axe.min.js").read_text(encoding="utf-8")
    found: list[str] = []
    for name in PAGES:
        page.goto(f"{tmp_path.as_uri()}/{name}.html" + ("#sae=topk-l0_25&sae=gated-l0_8" if name == "compare" else ""))
        if name == "pareto":
            page.wait_for_selector("body[data-drawn]")
        page.evaluate(script)
        for scheme, rules in (("light", "undefined"), ("dark", "['color-contrast']")):
            page.emulate_media(color_scheme=scheme)
            result = page.evaluate(f"axe.run({{resultTypes: ['violations'], preload: false, runOnly: {rules}}})")
            found += [
                f"{name} in {scheme}: {fault['id']} {fault['nodes'][0]['html'][:160]}"
                for fault in result["violations"]
                if fault["impact"] in ("serious", "critical")
            ]
    assert not found
