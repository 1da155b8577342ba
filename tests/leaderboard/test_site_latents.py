"""Pages of latents that a run left beside its rows are found from the page of their SAE."""

from __future__ import annotations

from pathlib import Path

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
        "latents/a-b-seed0.html",
        "latents/a-b-seed1.html",
    ]
    page = written["saes/a-b.html"].read_text(encoding="utf-8")
    assert 'href="../latents/a-b-seed0.html"' in page and 'href="../latents/a-b-seed1.html"' in page
    assert "../latents/" not in written["saes/plain.html"].read_text(encoding="utf-8")


def test_a_run_without_such_pages_has_none(tmp_path: Path) -> None:
    Results([_row("plain")]).save(tmp_path / "run")
    assert not [name for name in build_site(tmp_path / "run", tmp_path / "site") if name.startswith("latents/")]
