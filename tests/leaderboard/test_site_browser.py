"""The site as a reader uses it, driven in headless Chromium; skipped where there is no browser."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pandas as pd
import pytest

from saebench.leaderboard.build import load_content
from saebench.leaderboard.pareto import front, hypervolume, score_at, shared_middle
from saebench.leaderboard.site import build_site
from tests.helpers.site_rows import HOSTILE, SECOND, site_rows

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

BOARD = {"title": "Board", "columns": ["l0", "loss_recovered", "ce_delta"], "pareto": [{"y": "loss_recovered"}]}
FIRST = "blocks.2.hook_resid_post"
PAGES = ("index", "pareto", "compare", "metrics", "downloads", "saes/topk-l0_25", "metrics/ce_delta")


@pytest.fixture(scope="module")
def rows(frame: pd.DataFrame) -> pd.DataFrame:
    return site_rows(frame)


@pytest.fixture(scope="module")
def site(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("site")
    build_site(rows, folder, BOARD)
    return folder.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        running = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if root else [])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """A page that fails the test on a console error, and on a request that leaves the folder."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
    allowed = (site, "data:", "blob:")
    opened.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith(allowed) else None)
    yield opened
    context.close()
    assert not faults


def names(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "#board tbody tr:not(.part):not(.other) .who a", "all => all.map(a => a.textContent)"
    )


def of(rows: pd.DataFrame, metric: str, hook: str = FIRST) -> pd.Series:
    """A metric's values over the SAEs of a hook."""
    chosen = (rows["metric"] == metric) & (rows["hook_out"] == hook) & (rows["role"] == "sae")
    return rows[chosen].set_index("sae")["value"]


def test_a_click_on_a_header_sorts_and_another_turns(page: Any, site: str, rows: pd.DataFrame) -> None:
    page.goto(f"{site}/index.html#hook={FIRST}")
    page.click("[data-sort=loss_recovered]")
    values = of(rows, "loss_recovered")
    shown = [values[name] for name in names(page)]
    assert shown == sorted(values, reverse=True)
    assert page.get_attribute("th:has([data-sort=loss_recovered])", "aria-sort") == "descending"
    page.keyboard.press("Enter")  # the header keeps the focus
    assert [values[name] for name in names(page)] == sorted(values)
    page.click("[data-sort=ce_delta]")
    values = of(rows, "ce_delta")
    assert [values[name] for name in names(page)][:-1] == sorted(values.dropna()) and names(page)[-1] == "gated-l0_80"


def test_filters_and_search(page: Any, site: str, rows: pd.DataFrame) -> None:
    page.goto(f"{site}/index.html")
    page.select_option("#hook", FIRST)
    page.click("#arch button[value=topk]")
    page.fill("#l0min", "20")
    page.fill("#l0max", "30")
    l0 = of(rows, "l0")
    kinds = rows.drop_duplicates("sae").set_index("sae")["architecture"]
    wanted = {sae for sae, value in l0.items() if 20 <= value <= 30 and kinds[sae] == "topk"}
    assert set(names(page)) == wanted and 3 < len(wanted) < 15
    page.fill("#q", "SEED topk")
    assert set(names(page)) == {"topk-l0_25-seed_1", "topk-l0_25-seed_2", "topk-l0_25-seed_3"}
    assert "3 of" in page.text_content("#status")
    page.fill("#q", "nothing of the kind")
    assert names(page) == [] and "No SAE passes" in page.text_content("#board")
    page.click("#reset")
    assert len(names(page)) == len(l0) + len(of(rows, "l0", SECOND)) and "#" not in page.url
    page.select_option("#width", "384")
    assert set(names(page)) == {sae for sae in of(rows, "l0", SECOND).index if "l0_25" in sae}


def test_a_cell_has_value_interval_null_baseline_and_place(page: Any, site: str, rows: pd.DataFrame) -> None:
    page.goto(f"{site}/index.html#hook={FIRST}&q=jumprelu-l0_25")
    row = rows[(rows["sae"] == "jumprelu-l0_25") & (rows["metric"] == "loss_recovered")].iloc[0]
    cell = page.locator("#board tbody tr", has_text="jumprelu-l0_25").locator("td").nth(3)
    value, half, null, base = map(float, re.findall(r"-?\d\.\d+", cell.inner_text().replace("−", "-"))[:4])
    assert value == pytest.approx(row["value"], abs=1e-4) and half == pytest.approx(1.96 * row["stderr"], abs=2e-4)
    assert null == pytest.approx(row["null"], abs=1e-3) and base == pytest.approx(row["baseline"], abs=1e-3)
    assert re.fullmatch(r"\d+(–\d+)?", cell.locator("small b").inner_text())
    page.select_option("#beside", "range")
    low, high = map(float, re.search(r"\[([\d.]+), ([\d.]+)\]", cell.inner_text()).groups())
    assert (low, high) == pytest.approx((row["ci_low"], row["ci_high"]), abs=1e-4)
    page.uncheck("#refs")
    page.select_option("#groups", "none")
    assert "∅" not in cell.inner_text() and cell.locator("small").count() == 0
    page.goto(f"{site}/index.html#hook={FIRST}&q=gated-l0_80")
    assert page.locator(".gone").first.get_attribute("title") == "out of memory | batch 3"


def test_columns_are_picked_and_the_address_keeps_the_view(page: Any, site: str) -> None:
    page.goto(f"{site}/index.html")
    page.click("#pick")
    page.fill("#find", "cosine")
    page.check("#choices input[value=cosine_similarity]")
    page.fill("#find", "ce delta")
    page.uncheck("#choices input[value=ce_delta]")
    page.keyboard.press("Escape")
    headers = page.eval_on_selector_all("#board thead [data-sort]", "all => all.map(b => b.dataset.sort)")
    assert headers == ["sae", "arch", "d_sae", "l0", "loss_recovered", "cosine_similarity"]
    page.click("[data-sort=cosine_similarity]")
    page.fill("#q", "gated")
    page.uncheck("#others")
    before, table = page.url, page.inner_html("#board tbody")
    page.goto("about:blank")
    page.goto(before)
    assert page.inner_html("#board tbody") == table and page.input_value("#q") == "gated"
    assert page.get_attribute("th:has([data-sort=cosine_similarity])", "aria-sort")


def test_what_is_shown_can_be_saved(page: Any, site: str, rows: pd.DataFrame) -> None:
    page.goto(f"{site}/index.html#hook={FIRST}&arch=gated")
    found = []
    for button in ("#csv", "#json"):
        with page.expect_download() as download:
            page.click(button)
        found.append(Path(download.value.path()).read_text(encoding="utf-8"))
    csv, told = pd.read_csv(io.StringIO(found[0])), pd.DataFrame(json.loads(found[1]))
    mine = csv[csv["role"] == "sae"].set_index("sae")["l0"]
    wanted = of(rows, "l0")[[name for name in of(rows, "l0").index if name.startswith("gated")]]
    pd.testing.assert_series_equal(mine.sort_index(), wanted.sort_index(), check_exact=False, check_names=False)
    assert list(told["sae"]) == list(csv["sae"])


def test_names_are_shown_as_text(page: Any, site: str) -> None:
    page.goto(f"{site}/index.html#q=alert")
    assert set(names(page)) == set(HOSTILE[:2])
    page.goto(f"{site}/compare.html")
    page.fill("#sae-A", HOSTILE[0])
    page.fill("#sae-B", HOSTILE[1])
    page.keyboard.press("Tab")
    assert HOSTILE[0] in page.text_content("#sides thead")
    page.goto(f"{site}/pareto.html#names=1")
    page.wait_for_selector("body[data-drawn]")
    page.goto(f"{site}/saes/script-alert-1-script.html")
    assert HOSTILE[0] in page.text_content("h1")


def test_two_saes_side_by_side(page: Any, site: str, rows: pd.DataFrame) -> None:
    page.goto(f"{site}/index.html#hook={FIRST}")
    assert page.is_disabled("#compare")
    for name in ("topk-l0_25", "topk-untrained"):
        page.check(f'input[aria-label="compare {name}"]')
    page.click("#compare")
    page.wait_for_selector("#sides tbody tr")
    line = page.locator("#sides tbody tr", has_text="loss recovered").inner_text()
    values = of(rows, "loss_recovered")
    ahead = float(re.search(r"([+−][\d.]+) \[", line)[1].replace("−", "-"))
    order = [page.input_value(f"#sae-{letter}") for letter in "AB"]
    assert [name.split(" · ")[0] for name in order] == ["topk-l0_25", "topk-untrained"]
    assert ahead == pytest.approx(values["topk-untrained"] - values["topk-l0_25"], abs=0.02)
    assert line.rstrip().endswith("worse")
    page.check("#apart")
    assert "not told apart" not in page.inner_text("#sides")
    before = page.inner_html("#sides tbody")
    page.reload()
    assert page.inner_html("#sides tbody") == before


def test_a_point_tells_who_it_is(page: Any, site: str) -> None:
    page.goto(f"{site}/pareto.html")
    page.wait_for_selector("body[data-drawn]")
    point = page.locator("#plot [aria-label^='jumprelu-l0_8:']")
    assert "loss recovered" in point.get_attribute("aria-label")
    point.hover()
    assert "jumprelu-l0_8" in page.inner_text(".tip") and "[" in page.inner_text(".tip")
    shown = page.locator("#plot [aria-label]").count()
    page.click("#legend [data-arch=gated]")
    page.wait_for_selector("body[data-drawn='2']")
    assert page.locator("#plot [aria-label]").count() < shown and "hide=gated" in page.url
    page.select_option("#y", "ce_delta")
    page.wait_for_selector("body[data-drawn='3']")
    page.locator("#plot [aria-label^='topk-l0_8:']").click()
    page.wait_for_url("**/saes/topk-l0_8.html")


def test_fronts_are_those_of_the_figures(page: Any, site: str, rows: pd.DataFrame) -> None:
    """Members, hypervolume and matched scores equal those of the Python side."""
    page.goto(f"{site}/pareto.html#x=l0&y=loss_recovered")
    page.wait_for_selector("body[data-drawn]")
    shown = page.evaluate("() => SB.shown.fronts.map(f => ({...f, members: f.members.map(p => p.name)}))")
    plane = next(g[0] for s, g in zip(*_content(rows), strict=True) if s.hook_out == FIRST)
    assert len(shown) == len(plane.fronts)
    for mine, theirs in zip(shown, plane.fronts, strict=True):
        assert mine["members"] == [plane.points[i].sae for i in theirs.members]
        assert mine["hypervolume"] == pytest.approx(theirs.hypervolume, rel=1e-6)
        for ours, other in zip(mine["matched"], theirs.matched, strict=True):
            assert (ours["arch"], ours["at"]) == (other.architecture, pytest.approx(other.at))
            assert ours["value"] == pytest.approx(other.value, rel=1e-6, nan_ok=True) or ours["value"] is None
            assert ours["stderr"] == pytest.approx(other.stderr, rel=1e-3, nan_ok=True) or ours["stderr"] is None


def _content(rows: pd.DataFrame) -> tuple[Any, Any]:
    content = load_content(rows, BOARD)
    return content.sections, content.planes


ARITHMETIC = """([points, corner, bx, by, log, ranges]) => {
  const F = SB.fronts;
  return {
    front: F.front(points.map(p => F.cost(p.x, bx)), points.map(p => F.cost(p.y, by))),
    area: F.hypervolume(points, corner, bx, by, log),
    at: F.scoreAt(points, 21.5, log),
    out: F.scoreAt(points, 1e9, log).value,
    middle: F.sharedMiddle(ranges),
  };
}"""


def test_the_arithmetic_of_fronts(page: Any, site: str) -> None:
    rng = np.random.default_rng(5)
    page.goto(f"{site}/pareto.html")
    page.wait_for_selector("body[data-drawn]")
    for better_x, better_y, log in (("lower", "higher", True), ("lower", "one", False), ("higher", "lower", True)):
        x, y = np.round(rng.lognormal(3, 1, 30), 1), np.round(rng.uniform(0.5, 1.5, 30), 2)
        corner = (float(x.max() * 2 if better_x == "lower" else x.min() / 2), 2.0 if better_y != "higher" else 0.0)
        points = [{"x": float(a), "y": float(b), "ye": 0.01 * i} for i, (a, b) in enumerate(zip(x, y, strict=True))]
        got = page.evaluate(ARITHMETIC, [points, corner, better_x, better_y, log, [[2, 30], [5, 80], [10, 200]]])
        assert got["front"] == list(front(x, y, better_x, better_y))
        assert got["area"] == pytest.approx(hypervolume(x, y, corner, better_x, better_y, log_x=log))
        told = score_at(x, y, 21.5, [p["ye"] for p in points], log_x=log)
        assert (got["at"]["value"], got["at"]["stderr"]) == pytest.approx(told)
        assert got["out"] is None or np.isnan(got["out"])
        assert got["middle"] == shared_middle([(2, 30), (5, 80), (10, 200)])


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_no_page_sideways(page: Any, site: str, name: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{site}/{name}.html" + ("#sae=topk-l0_25&sae=gated-l0_8" if name == "compare" else ""))
    page.wait_for_timeout(150)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("nav[aria-label=Pages] a").last.is_visible()


def test_light_and_dark(page: Any, site: str) -> None:
    def ground() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.goto(f"{site}/index.html")
    light = ground()
    page.emulate_media(color_scheme="dark")
    assert ground() != light
    page.click("#theme")
    assert ground() == light and "light" in page.text_content("#theme")
    page.click("#theme")
    page.goto(f"{site}/metrics.html")  # the choice stays
    assert ground() != light and "dark" in page.text_content("#theme")


def test_the_keyboard_reaches_the_table(page: Any, site: str) -> None:
    page.goto(f"{site}/index.html")
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


def test_axe_finds_no_serious_fault(page: Any, site: str, rows: pd.DataFrame) -> None:
    """On a site of a few SAEs, which has all that a large one has."""
    package = pytest.importorskip("axe_playwright_python")
    few = rows["sae"].isin(["topk-l0_25", "gated-l0_8", "gated-l0_80", "topk-untrained"]) | (rows["role"] != "sae")
    site = f"{site}/few"
    build_site(rows[few], Path(url2pathname(urlparse(site).path)), BOARD)
    script = (Path(package.__path__[0]) / "axe.min.js").read_text(encoding="utf-8")
    found: list[str] = []
    for name in PAGES:
        page.goto(f"{site}/{name}.html" + ("#sae=topk-l0_25&sae=gated-l0_8" if name == "compare" else ""))
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
