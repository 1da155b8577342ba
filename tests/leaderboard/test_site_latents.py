"""Pages of latents that a run left beside its rows are found from the page of their SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saebench.judges.look_html import write_run
from saebench.leaderboard.site import build_site
from saebench.results import Results, Row


def _row(sae: str) -> Row:
    return Row(
        sae=sae, metric="l0", version=1, model="m", hook_in="h", hook_out="h", signature=sae, value=3.0, stderr=0.1,
        n=9, better="lower", unit="latents a token", status="ok",
    )  # fmt: skip


def test_a_sae_links_to_its_latents_and_to_no_other(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Results([_row("a <b>"), _row("plain")]).save(run)
    for seed in (0, 1):
        write_run(run, "a <b>", seed, [], 0)
    (run / "autointerp" / "notes.html").write_text("<title>something else</title>")
    written = build_site(run, tmp_path / "site")
    assert sorted(name for name in written if name.startswith("latents/")) == [
        "latents/a-b-5e73-seed0.html",
        "latents/a-b-5e73-seed1.html",
    ]
    page = written["saes/a-b.html"].read_text(encoding="utf-8")
    assert 'href="../latents/a-b-5e73-seed0.html"' in page and 'href="../latents/a-b-5e73-seed1.html"' in page
    assert "../latents/" not in written["saes/plain.html"].read_text(encoding="utf-8")


def test_a_run_without_such_pages_has_none(tmp_path: Path) -> None:
    Results([_row("plain")]).save(tmp_path / "run")
    assert not [name for name in build_site(tmp_path / "run", tmp_path / "site") if name.startswith("latents/")]


def _with_table(run: Path) -> Path:
    import numpy as np
    import pandas as pd

    Results([_row("a <b>"), _row("plain")]).save(run)
    (run / "latents").mkdir()
    table = pd.DataFrame({"latent": np.arange(120), "density": np.linspace(0, 1, 120) ** 2, "max_phi": np.nan})
    table.loc[7, "max_phi"] = 0.123456
    table.attrs = {"sae": "a <b>"}
    table.to_parquet(run / "latents" / "a-b.parquet")
    (run / "latents" / "notes.parquet").write_bytes(b"no such thing")
    return run


def test_a_table_of_latents_is_a_page_of_its_own(tmp_path: Path) -> None:
    written = build_site(_with_table(tmp_path / "run"), tmp_path / "site")
    assert 'href="../latents/a-b-table.html"' in written["saes/a-b.html"].read_text(encoding="utf-8")
    page = written["latents/a-b-table.html"].read_text(encoding="utf-8")
    assert "Latents of a &lt;b&gt;" in page and "0.1235" in page and "NaN" not in page
    assert [name for name in written if name.startswith("latents/")] == ["latents/a-b-table.html"]


def test_it_sorts_pages_and_finds(browser: Any, tmp_path: Path) -> None:
    build_site(_with_table(tmp_path / "run"), tmp_path / "site")
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((tmp_path / "site" / "latents" / "a-b-table.html").as_uri())
    first = page.locator("tbody tr").first
    assert first.inner_text().split() == ["0", "0", "–"] and page.locator("tbody tr").count() == 50
    page.get_by_role("button", name="density").click()
    assert first.inner_text().split() == ["119", "1", "–"]
    assert page.locator("th[aria-sort=descending]").inner_text() == "density ↓"
    page.get_by_role("button", name="max phi").click()
    assert first.inner_text().split()[0] == "7", "what has no value stands last"
    page.get_by_role("button", name="Next").click()
    assert page.locator("#where").inner_text() == "page 2 of 3"
    page.locator("#find").fill("42")
    assert [line.split()[0] for line in page.locator("tbody tr").all_inner_texts()] == ["42"]
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#find").fill("")
    package = pytest.importorskip("axe_playwright_python")
    page.evaluate((Path(package.__path__[0]) / "axe.min.js").read_text(encoding="utf-8"))
    judged = page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")
    found = [fault["id"] for fault in judged["violations"] if fault["impact"] in ("serious", "critical")]
    page.close()
    assert not faults and not found
