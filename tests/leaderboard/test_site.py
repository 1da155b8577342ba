"""The site's files, without a browser: links, escaping, data that equal the rows, pages of SAEs and metrics."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import math
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saebench.errors import UserError
from saebench.leaderboard.rows import Score
from saebench.leaderboard.significance import best_group, differences, letters
from saebench.leaderboard.site import build_site
from saebench.leaderboard.site.metric_facts import about
from saebench.leaderboard.site.names import page_names
from saebench.leaderboard.site.serve import server
from saebench.leaderboard.site.standing import apart_unpaired, standings
from saebench.results import Results, Row
from tests.helpers.site_rows import BOARD, HOSTILE, SECOND


class Links(html.parser.HTMLParser):
    """The links, text and tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.handlers: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.links += [value or ""] if name in ("href", "src") else []
            self.ids |= {value or ""} if name == "id" else set()
            self.handlers |= {name} if name.startswith("on") else set()

    def handle_data(self, data: str) -> None:
        self.text += data


def board(site: Path) -> dict[str, Any]:
    text = (site / "data" / "board.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("window.SAEBENCH = ").removesuffix(";\n"))
    for column in data["columns"]:
        for names, kind in (("v", "<f8"), ("eab", "<f4")):
            column |= {name: np.frombuffer(base64.b64decode(column[name]), kind) for name in names}
    return data


def at(packed: Any, i: int) -> Any:
    """An entry of values that may be packed as distinct ones and indices."""
    return packed[i] if isinstance(packed, list) else packed["u"][packed["i"][i] if packed["i"] else 0]


def test_every_link_resolves_and_none_leaves_the_folder(site: Path) -> None:
    papers = {url for page in (site / "metrics").iterdir() for _, url in _papers(page.stem)}
    for page in site.rglob("*.html"):
        parsed = Links(page.read_text(encoding="utf-8"))
        for link in parsed.links:
            assert not link.startswith("http") or page.parent.name == "metrics" and link in papers, (page.name, link)
            if link in papers:
                continue  # what a reader may click on; nothing is loaded from there
            if link.startswith("#"):
                assert link[1:] in parsed.ids, (page.name, link)
            elif link != "data:,":
                target = (page.parent / link.split("#")[0]).resolve()
                assert target.is_file() and site in target.parents, (page.name, link)


def _papers(metric: str) -> list[tuple[str, str]]:
    said = about(metric)
    return said.papers if said else []


def test_nothing_in_style_or_scripts_asks_for_more(site: Path) -> None:
    for file in [*site.glob("static/*.js"), *site.glob("static/*.css")]:
        text = file.read_text(encoding="utf-8").replace("https://vega.github.io/schema/", "")
        assert not any(word in text for word in ("http://", "https://", "fetch(", "XMLHttp", "import(", "url(")), (
            file.name
        )
    assert (site / "static/vendor/LICENSE-vega").stat().st_size > 1000
    assert (site / "static/vendor/LICENSE-vega-lite").stat().st_size > 1000


def test_every_sae_has_a_page_of_its_own(site: Path, rows: pd.DataFrame) -> None:
    data = board(site)
    saes = data["saes"]
    pairs = set(zip(rows["hook_out"], rows["role"], rows["sae"], strict=True))
    hooks = [section["hook"] for section in data["sections"]]
    assert {(hooks[s], r, n) for s, r, n in zip(saes["section"], saes["role"], saes["name"], strict=True)} == pairs
    assert len(set(saes["page"])) == len(pairs) == len(list((site / "saes").iterdir()))
    assert all((site / "saes" / f"{page}.html").is_file() for page in saes["page"])


def test_names_are_text_everywhere(site: Path) -> None:
    seen = ""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        parsed = Links(text)
        seen += parsed.text
        assert "img" not in parsed.tags and not parsed.handlers, page.name
        assert "alert(1)</script>" not in text and "A <b>board" not in text and "\u202e" not in text
    assert HOSTILE[0] in seen and HOSTILE[1] in seen and "A <b>board</b>" in seen
    assert "</script" not in (site / "data" / "board.js").read_text(encoding="utf-8").lower()


def test_file_names_are_safe_and_unlike() -> None:
    names = ["a", "A", "a/b", "a b", "..", "../..", "", "con", "NUL", "é", "è", "x" * 500, "x" * 501, *HOSTILE]
    found = page_names(names)
    assert len({name.lower() for name in found}) == len(names)
    assert all(
        name and set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for name in found
    )
    assert not {name.lower() for name in found} & {"con", "nul"} and max(map(len, found)) < 140


def test_the_tables_data_equal_the_rows(site: Path, rows: pd.DataFrame) -> None:
    data = board(site)
    saes, hooks = data["saes"], [section["hook"] for section in data["sections"]]
    columns = {column["key"]: column for column in data["columns"]}
    place = {(hooks[saes["section"][i]], saes["role"][i], saes["name"][i]): i for i in range(len(saes["name"]))}
    checked = 0
    for row in rows.to_dict("records"):
        column = columns[row["metric"] + (f"[{row['slice']}]" if row["slice"] else "")]
        i = place[row["hook_out"], row["role"], row["sae"]]
        if row["status"] != "ok":
            assert math.isnan(column["v"][i]) and column["gone"][str(i)] == row["reason"]
            continue
        assert column["v"][i] == row["value"]
        base = at(column["base"], i)
        assert base == pytest.approx(row["baseline"], rel=1e-4) if row["baseline"] == row["baseline"] else base is None
        if not math.isnan(row["stderr"]) and row["stderr"] > 0:
            assert column["a"][i] == pytest.approx(row["value"] - row["ci_low"], rel=1e-6)
            assert column["b"][i] == pytest.approx(row["ci_high"] - row["value"], rel=1e-6)
        checked += 1
    assert checked == (rows["status"] == "ok").sum()


def test_downloads_hold_every_digit(site: Path, rows: pd.DataFrame) -> None:
    keys = ["hook_out", "role", "sae", "metric", "slice"]
    wanted = rows.fillna({"slice": ""}).set_index(keys)["value"].sort_index()
    csv = pd.read_csv(
        site / "data/rows.csv", keep_default_na=False, na_values={"value": [""]}, float_precision="round_trip"
    )
    pd.testing.assert_series_equal(csv.set_index(keys)["value"].sort_index(), wanted, check_exact=True)
    held = json.loads((site / "data/rows.json").read_text(encoding="utf-8"))
    told = pd.DataFrame(held["rows"], columns=held["columns"]).set_index(keys)["value"].astype(float).sort_index()
    pd.testing.assert_series_equal(told, wanted, check_exact=True)
    wide = pd.read_csv(site / "data/board.csv", float_precision="round_trip").set_index(["hook_out", "role", "sae"])
    one = rows[(rows["sae"] == "gated-l0_25") & (rows["metric"] == "ce_delta") & (rows["hook_out"] == SECOND)]
    assert wide.loc[(SECOND, "sae", "gated-l0_25"), "ce_delta"] == one["value"].item()


def test_bibtex_is_well_formed(site: Path) -> None:
    text = (site / "data/citation.bib").read_text(encoding="utf-8")
    assert (
        text.count("{") == text.count("}") and text.count("\n@") >= 2 and "@article{bricken2023monosemanticity" in text
    )
    assert "title = {A <b>board</b>}" in text


def test_a_rebuild_changes_no_byte(site: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    written = build_site(rows.iloc[::-1], tmp_path, BOARD)
    assert set(written) == {str(file.relative_to(site)) for file in site.rglob("*") if file.is_file()}
    for file in site.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / file.relative_to(site)).read_bytes(), file.name


def test_standings_are_those_of_the_board() -> None:
    """The quick path for many SAEs finds the pairs, letters and best group that the pairwise one finds."""
    rng = np.random.default_rng(3)
    for better in ("higher", "lower", "one"):
        values = np.round(rng.normal(1, 0.3, 40), 2)
        errors = np.where(rng.random(40) < 0.2, math.nan, rng.uniform(0.0, 0.2, 40))
        scores = [
            Score(sae=str(i), metric="m", value=v, stderr=e, better=better)
            for i, (v, e) in enumerate(zip(values, errors, strict=True))
        ]
        pairs = differences(scores, 0.05)
        apart = apart_unpaired(scores, 0.05)
        assert {(int(i), int(j)) for i, j in np.argwhere(np.triu(apart))} == pairs and 0 < len(pairs) < 780
        found = standings(scores, 0.05)
        assert [place.letters for place in found] == letters(scores, pairs)
        assert {i for i, place in enumerate(found) if place.best} == best_group(scores, pairs)
        turn = {"higher": -values, "lower": values, "one": abs(values - 1)}[better]
        for i, place in enumerate(found):
            beaten = [j for j in range(40) if (min(i, j), max(i, j)) in pairs]
            assert place.first == 1 + sum(turn[j] < turn[i] for j in beaten)
            assert place.last == 40 - sum(turn[j] > turn[i] for j in beaten)


def test_the_page_of_a_sae(tmp_path: Path) -> None:
    shared: dict[str, Any] = {
        "sae": "mine", "metric": "absorption_main_f1", "sae_ref": "hf:me/it's mine", "sae_hash": "abc123",
        "model": "gpt2", "model_hash": "fff", "hook_in": "h", "hook_out": "h", "corpus": "words", "suite": "probing",
        "seed": 3, "dtype": "float32", "created": "2026-01-02T00:00:00", "units": "items", "unit": "F1", "n": 50,
        "versions": {"torch": "9.9"}, "git_commit": "c0ffee", "better": "higher", "warnings": ["a letter was left out"],
    }  # fmt: skip
    values = {"": 0.5, "first_letter/a": 0.25, "first_letter/b": 0.75, "first_letter/b=x": 0.7}
    made = [
        Row(signature=f"main@1|{name}", slice=name, value=v, stderr=0.02, ci_low=v - 0.04, ci_high=v + 0.04, **shared)
        for name, v in values.items()
    ]
    build_site(Results(made), tmp_path)
    page = Links((tmp_path / "saes/mine.html").read_text(encoding="utf-8")).text
    assert "saebench run probing --sae 'hf:me/it'\"'\"'s mine' --model gpt2 --seed 3 --dtype float32" in page
    wanted = ("abc123", "gpt2@fff", "torch 9.9", "c0ffee", "2026-01-02", "a letter was left out", "first_letter/b=x",
              "[0.21, 0.29]", "50 items", "main@1|first_letter/a")  # fmt: skip
    for part in wanted:
        assert part in page, part


def test_the_page_of_a_sae_draws_its_density(site: Path) -> None:
    page = (site / "saes/topk-l0_25.html").read_text(encoding="utf-8")
    bars = [page.index(f">10⁻{i}<") for i in ("¹⁰", "³", "²", "¹")]
    assert bars == sorted(bars) and 'aria-label="10⁻¹⁰: 0.100; 10⁻³: 0.300; 10⁻²: 0.500; 10⁻¹: 0.100"' in page


def test_the_page_of_a_metric(site: Path) -> None:
    page = Links((site / "metrics/loss_recovered.html").read_text(encoding="utf-8")).text
    for part in (
        "(ce_zero - ce_sae) / (ce_zero - ce_clean)",
        "loss_recovered@1",
        "Known limits",
        "null gap",
        "jumprelu-l0_80",
    ):
        assert part in page, part


def test_a_metric_names_its_sources() -> None:
    said = about("mean_absorption_fraction")
    assert said is not None and "Chanin et al. 2024" in " ".join(said.sources)


def test_a_metric_that_is_not_installed_has_a_page(make_row: Any, tmp_path: Path) -> None:
    build_site(pd.DataFrame([make_row("a", "my_metric", 1.0, 0.1), make_row("b", "my_metric", 2.0, 0.1)]), tmp_path)
    assert "not installed here" in (tmp_path / "metrics/my_metric.html").read_text(encoding="utf-8")


def test_serve_answers_this_machine(site: Path, tmp_path: Path) -> None:
    with server(site, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/data/board.csv") as answer:
            assert len(pd.read_csv(io.BytesIO(answer.read()))) == len(board(site)["saes"]["name"])
        running.shutdown()
        with pytest.raises(UserError, match="Port"):
            server(site, running.server_port)
    with pytest.raises(UserError, match="leaderboard build"):
        server(tmp_path, 0)


def test_a_folder_that_cannot_be_written(small: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        build_site(small, tmp_path / "taken")


def test_the_command_says_how_much_text_was_read() -> None:
    from saebench.leaderboard.site.reproduce import commands
    from saebench.results import Row

    facts: dict[str, Any] = {"sae": "a", "sae_ref": "runs/a b", "suite": "core", "model": "gpt2", "seed": 0}
    rows = [
        Row(metric="l0", corpus="text", tokens=20029, context=128, signature="1", dtype="float32", **facts),
        Row(metric="decoder_norm", signature="2", dtype="float32", **facts),
    ]
    assert commands(rows) == [
        "saebench run core --sae 'runs/a b' --model gpt2 --tokens 20029 --context 128 --seed 0 --dtype float32"
    ]
    assert commands(rows[1:]) == ["saebench run core --sae 'runs/a b' --model gpt2 --seed 0 --dtype float32"]
