"""The site as a reader uses it, driven in headless Chromium; skipped where there is no browser."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saebench.leaderboard.build import load_content
from saebench.leaderboard.pareto import front, hypervolume, score_at, shared_middle
from saebench.leaderboard.site import build_site
from saebench.results import Results, Row
from tests.helpers.site_rows import BOARD, FIRST, HOSTILE, SECOND


def names(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "#board tbody tr:not(.part):not(.other) .who a", "all => all.map(a => a.textContent)"
    )


def of(rows: pd.DataFrame, metric: str, hook: str = FIRST) -> pd.Series:
    """A metric's values over the SAEs of a hook."""
    chosen = (rows["metric"] == metric) & (rows["hook_out"] == hook) & (rows["role"] == "sae")
    return rows[chosen].set_index("sae")["value"]


def test_a_click_on_a_header_sorts_and_another_turns(page: Any, rows: pd.DataFrame) -> None:
    page.goto(f"index.html#hook={FIRST}")
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


def test_filters_and_search(page: Any, rows: pd.DataFrame) -> None:
    page.goto("index.html")
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


def test_the_author_is_the_owner_or_the_release(page: Any, tmp_path: Path) -> None:
    owners = {"a": "hf:ann/saes/one", "b": "saelens:bob-release/blocks.5", "c": "own/path.pt"}
    made = [
        Row(sae=sae, metric="l0", sae_ref=ref, value=9.0, stderr=0.1, model="m", hook_out="h", better="lower")
        for sae, ref in owners.items()
    ]
    build_site(Results(made), tmp_path)
    page.goto(f"{tmp_path.as_uri()}/index.html#author=ann")
    assert names(page) == ["a"]
    assert page.locator("#author option").all_inner_texts() == ["all", "ann", "bob-release"]
    page.select_option("#author", "bob-release")
    assert names(page) == ["b"] and "author=bob-release" in page.url


def test_a_cell_has_value_interval_null_baseline_and_place(page: Any, rows: pd.DataFrame) -> None:
    page.goto(f"index.html#hook={FIRST}&q=jumprelu-l0_25")
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
    page.goto(f"index.html#hook={FIRST}&q=gated-l0_80")
    assert page.locator(".gone").first.get_attribute("title") == "out of memory | batch 3"


def test_columns_are_picked_and_the_address_keeps_the_view(page: Any) -> None:
    page.goto("index.html")
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


def test_what_is_shown_can_be_saved(page: Any, rows: pd.DataFrame) -> None:
    page.goto(f"index.html#hook={FIRST}&arch=gated")
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


def test_names_are_shown_as_text(page: Any) -> None:
    page.goto("index.html#q=alert")
    assert set(names(page)) == set(HOSTILE[:2])
    page.goto("compare.html")
    page.fill("#sae-A", HOSTILE[0])
    page.fill("#sae-B", HOSTILE[1])
    page.keyboard.press("Tab")
    assert HOSTILE[0] in page.text_content("#sides thead")
    page.goto("pareto.html#names=1")
    page.wait_for_selector("body[data-drawn]")
    page.goto("saes/script-alert-1-script.html")
    assert HOSTILE[0] in page.text_content("h1")


def test_two_saes_side_by_side(page: Any, rows: pd.DataFrame) -> None:
    page.goto(f"index.html#hook={FIRST}")
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


def test_a_point_tells_who_it_is(page: Any) -> None:
    page.goto("pareto.html")
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


def test_fronts_are_those_of_the_figures(page: Any, rows: pd.DataFrame) -> None:
    """Members, hypervolume and matched scores equal those of the Python side."""
    page.goto("pareto.html#x=l0&y=loss_recovered")
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


def test_the_arithmetic_of_fronts(page: Any) -> None:
    rng = np.random.default_rng(5)
    page.goto("pareto.html")
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
