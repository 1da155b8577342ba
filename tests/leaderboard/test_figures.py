"""Figures: what stands in them, in which colours, and that odd data draws too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saebench.leaderboard import load_board
from saebench.leaderboard.board import Pareto
from saebench.leaderboard.figures import axis_label, draw, save
from saebench.leaderboard.fronts import Plane, front_frame, planes
from saebench.leaderboard.labels import shorten
from saebench.leaderboard.rows import scores_of, tidy
from saebench.leaderboard.scales import Scale, scale_of
from saebench.leaderboard.sections import sections
from saebench.leaderboard.style import FORMATS, KNOWN, looks


def plane_of(frame: pd.DataFrame, y: str = "loss_recovered", **more: Any) -> Plane:
    board = load_board({"columns": ["l0", y]})
    (section,) = sections(scores_of(tidy(frame, board)), board)
    (plane,) = planes(section, [Pareto.model_validate({"y": y, **more})])
    return plane


def svg_text(path: Path) -> str:
    return " ".join(re.findall(r">([^<>]+)</text>", path.read_text(encoding="utf-8")))


def test_front_holds_saes_only(frame: pd.DataFrame) -> None:
    plane = plane_of(frame)
    (front,) = plane.fronts
    members = [plane.points[i] for i in front.members]
    assert {point.role for point in members} == {"sae"}
    assert [point.x for point in members] == sorted(point.x for point in members)
    for point in members:
        assert not any(q.role == "sae" and q.x < point.x and q.y >= point.y for q in plane.points)


def test_a_front_for_each_width(make_row: Any) -> None:
    rows = [make_row(f"s{d}", m, v, 0.1, d_sae=d) for d in (64, 128) for m, v in (("l0", d), ("loss_recovered", 0.9))]
    plane = plane_of(pd.DataFrame(rows))
    assert [(front.d_sae, len(front.members)) for front in plane.fronts] == [(64, 1), (128, 1)]
    assert plane.fronts[0].reference == plane.fronts[1].reference == (128, 0.9)


def test_matched_scores_leave_out_damaged_twins(frame: pd.DataFrame) -> None:
    matched = {m.architecture: m for m in plane_of(frame, matched=[25]).fronts[0].matched}
    assert set(matched) == {"standard", "topk", "batchtopk", "jumprelu", "gated", "matryoshka"}
    assert matched["topk"].at == 25 and 0.93 < matched["topk"].value < 0.97 and matched["topk"].stderr > 0


def test_scalars_as_a_frame(frame: pd.DataFrame) -> None:
    found = front_frame([plane_of(frame, reference=[100, 0])])
    area = found[found["quantity"] == "hypervolume"]
    assert area[["reference_x", "reference_y"]].to_numpy().tolist() == [[100, 0]]
    assert area["value"].item() > 0 and bool(area["log_x"].item())


def test_svg_says_what_is_drawn(frame: pd.DataFrame, tmp_path: Path) -> None:
    paths = save(draw(plane_of(frame)), tmp_path / "f")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    assert all(path.stat().st_size > 5000 for path in paths)
    text = svg_text(paths[1])
    for words in ("L0 (latents a token, ← lower is better)", "loss recovered (share of loss, higher is better →)",
                  "world · blocks.2.hook_resid_post · text", "matryoshka", "null", "baseline", "front",
                  "95 % interval", "batchtopk-l0_25", "baseline:pca-32"):  # fmt: skip
        assert words in text, words
    assert b"/FontFile2" in paths[2].read_bytes()  # TrueType, embedded


def test_names_are_text_and_not_mathematics(make_row: Any, tmp_path: Path) -> None:
    rows = [
        make_row(name, m, v, 0.01, architecture="$a_1$")
        for name, l0 in (("$x^2$ <b>", 5), ("_y", 50)) for m, v in (("l0", l0), ("loss_recovered", l0 / 100))
    ]  # fmt: skip
    text = svg_text(save(draw(plane_of(pd.DataFrame(rows))), tmp_path / "f")[1])
    assert "$x^2$ &lt;b&gt;" in text and "_y" in text and "$a_1$" in text


@pytest.mark.parametrize(
    "rows",
    [
        {"one": [("l0", 8.0, 0.1), ("loss_recovered", 0.9, 0.01)]},
        {"one": [("l0", 8.0, None), ("loss_recovered", 0.9, None)]},
        {name: [("l0", 0.0, 0.0), ("loss_recovered", 1.0, 0.0)] for name in "ab"},
        {"a": [("l0", 1e-3, 1.0), ("loss_recovered", -5.0, 9.0)], "b": [("l0", 9e4, 1), ("loss_recovered", 1.5, 9)]},
    ],
)
def test_odd_data_is_drawn(make_row: Any, rows: dict[str, list[Any]], tmp_path: Path) -> None:
    frame = pd.DataFrame([make_row(sae, *cell) for sae, cells in rows.items() for cell in cells])
    assert save(draw(plane_of(frame), FORMATS[1]), tmp_path / "f")[0].stat().st_size > 2000


def test_no_front_without_a_direction(make_row: Any) -> None:
    rows = [make_row(s, m, v, 0.1) for s in "ab" for m, v in (("l0", 5), ("uniformity", 0.5))]
    plane = plane_of(pd.DataFrame(rows), "uniformity")
    assert plane.fronts[0].members == () and draw(plane).axes


def test_no_figure_where_no_sae_has_both(make_row: Any) -> None:
    board = load_board({"columns": ["l0", "loss_recovered"]})
    rows = [make_row("a", "l0", 5), make_row("a", "loss_recovered", None, status="error", reason="x")]
    (section,) = sections(scores_of(tidy(pd.DataFrame(rows), board)), board)
    assert planes(section, [Pareto.model_validate({"y": "loss_recovered"})]) == []


def test_pyplot_is_left_alone(frame: pd.DataFrame) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw(plane_of(frame), labels=False)
    assert dict(mpl.rcParams) == before


def test_looks_differ_in_colour_and_marker() -> None:
    given = looks([*KNOWN, "new_one", "another"])
    assert len({colour for colour, _ in list(given.values())[:8]}) == 8 or len(set(given.values())) == len(given)
    assert len({marker for _, marker in given.values()}) == len(given)
    assert looks(["topk"])["topk"] == given["topk"]


def test_axis_labels(frame: pd.DataFrame) -> None:
    plane = plane_of(frame)
    assert axis_label(plane.x) == "L0 (latents a token, ← lower is better)"
    assert axis_label(plane.y, 20) == "loss recovered (share of loss)\nhigher is better →"


def test_scales() -> None:
    assert scale_of([0.01, 2], "lower", 0.0).kind == "log"
    assert scale_of([0.5, 0.99], "higher", 1.0) == Scale("gap", 1.0)
    assert scale_of([0.5, 1.0], "higher", 1.0).kind == scale_of([0.5, 0.99], "higher", None).kind == "linear"
    assert [text for _, text in Scale("gap").ticks((0.85, 0.996))] == ["0.9", "0.95", "0.98", "0.99", "0.995"]
    assert [text for _, text in Scale("gap").ticks((0.0, 0.9995))][:4] == ["0", "0.7", "0.9", "0.97"]
    assert [text for _, text in Scale("log").ticks((4, 120))] == ["5", "10", "20", "50", "100"]
    for scale in (Scale(), Scale("log"), Scale("gap")):
        assert scale.value(scale.place(0.75)) == pytest.approx(0.75)


def test_long_names_lose_their_middle() -> None:
    assert shorten("short") == "short"
    assert len(shorten("x" * 60)) == 28
