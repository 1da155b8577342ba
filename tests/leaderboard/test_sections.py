"""Which scores stand in one table: models, hooks, corpora, versions, slices, filters and order."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from saebench.errors import UserError
from saebench.leaderboard import load_board
from saebench.leaderboard.rows import scores_of, tidy
from saebench.leaderboard.sections import Section, in_words, sections


def arrange(rows: Any, **board: Any) -> list[Section]:
    definition = load_board(board)
    return sections(scores_of(tidy(pd.DataFrame(rows), definition)), definition)


def test_one_section_for_each_model_and_hook(make_row: Any) -> None:
    elsewhere = {"b": {"model": "gpt2"}, "c": {"hook_out": "blocks.0.mlp"}}
    rows = [make_row(sae, "l0", 1, **elsewhere.get(sae, {})) for sae in "abc"]
    assert [(s.model, s.hook_out) for s in arrange(rows)] == [
        ("gpt2", "blocks.2.hook_resid_post"), ("world", "blocks.0.mlp"), ("world", "blocks.2.hook_resid_post"),
    ]  # fmt: skip


def test_metrics_on_different_data_share_a_section(make_row: Any) -> None:
    rows = [make_row("a", "l0", 1), make_row("a", "probe", 0.9, corpus="reviews"), make_row("a", "norm", 1, corpus="")]
    (section,) = arrange(rows, columns=["l0", "probe", "norm"])
    assert section.corpora == ("reviews", "text")
    assert set(section.lines[0].scores) == {"l0", "probe", "norm"}


def test_one_metric_on_two_corpora_makes_two_sections(make_row: Any) -> None:
    rows = [make_row("a", "l0", 1), make_row("a", "l0", 2, corpus="code"), make_row("a", "norm", 1, corpus="")]
    found = arrange(rows, columns=["l0", "norm"])
    assert [(s.corpora, s.lines[0].scores["l0"].value, s.lines[0].scores["norm"].value) for s in found] == [
        (("code",), 2, 1), (("text",), 1, 1),
    ]  # fmt: skip


def test_an_older_version_is_not_compared(make_row: Any) -> None:
    rows = [make_row("a", "l0", 1, version=2), make_row("b", "l0", 5, version=1)]
    (section,) = arrange(rows)
    old = section.lines[1].scores["l0"] if section.lines[1].sae == "b" else section.lines[0].scores["l0"]
    assert not old.known and "version 1" in old.reason
    assert section.heads[0].version == 2


def test_slices_become_columns(make_row: Any) -> None:
    rows = [make_row("a", "probe", k / 10, slice=f"k={k}") for k in (1, 2, 5)]
    (section,) = arrange(rows, columns=["probe"])
    assert [head.key for head in section.heads] == ["probe[k=1]", "probe[k=2]", "probe[k=5]"]
    (section,) = arrange(rows, columns=["probe[k=2]"])
    assert [head.label for head in section.heads] == ["probe, k=2"]


def test_order_is_by_role_then_keys(make_row: Any) -> None:
    rows = [
        make_row("n", "l0", 1, role="null"), make_row("c", "l0", 30), make_row("a", "l0", 8), make_row("b", "l0", None),
    ]  # fmt: skip
    (section,) = arrange(rows, sort="l0")
    assert [line.sae for line in section.lines] == ["a", "c", "b", "n"]
    rows = [make_row("x", "loss_recovered", 0.3), make_row("y", "loss_recovered", 0.9)]
    (section,) = arrange(rows, sort=["loss_recovered"])
    assert [line.sae for line in section.lines] == ["y", "x"]
    rows = [make_row("x", "l2_ratio", 1.5), make_row("y", "l2_ratio", 0.9)]
    (section,) = arrange(rows, sort=["l2_ratio"], columns=["l2_ratio"])
    assert [line.sae for line in section.lines] == ["y", "x"]


def test_filters(make_row: Any) -> None:
    rows = [make_row("a", "l0", 1), make_row("b", "l0", 2, d_sae=64)]
    (section,) = arrange(rows, filters={"d_sae": 64})
    assert [line.sae for line in section.lines] == ["b"]
    with pytest.raises(UserError, match="No rows have sae 'bb'"):
        arrange(rows, filters={"sae": "bb"})


def test_several_rows_and_unlike_measurements_are_said(make_row: Any) -> None:
    rows = [make_row(sae, "l0", v, context=c) for sae, v, c in (("a", 1, 128), ("a", 2, 128), ("b", 3, 256))]
    (section,) = arrange(rows)
    assert "a: several rows for l0; the last is shown." in section.notes
    assert "l0 was not measured alike for all SAEs: context 128, 256." in section.notes
    assert section.lines[0].scores["l0"].value == 2


@pytest.mark.parametrize(
    ("board", "words"),
    [
        ({"columns": ["l0", "loss_recoverd"]}, "'loss_recovered'"),
        ({"columns": ["l0[k=1]"]}, "no slice 'k=1'"),
        ({"pareto": [{"y": "mse"}]}, "No row of the results holds metric 'mse'"),
        ({"sort": "los"}, "sorted by 'los'"),
    ],
)
def test_boards_that_ask_for_what_is_not_there(make_row: Any, board: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        arrange([make_row("a", "l0", 1), make_row("a", "loss_recovered", 1)], **board)


def test_frames_that_are_no_results(make_row: Any) -> None:
    with pytest.raises(UserError, match="no column 'sae'"):
        tidy(pd.DataFrame({"value": [1]}))
    with pytest.raises(UserError, match="hold no rows"):
        tidy(pd.DataFrame([make_row("a", "l0", 1)]).iloc[:0])
    with pytest.raises(UserError, match="role 'nul'"):
        tidy(pd.DataFrame([make_row("a", "l0", 1, role="nul")]))
    with pytest.raises(UserError, match="direction 'up'"):
        arrange([make_row("a", "l0", 1, better="up")])


def test_optional_columns_may_be_absent() -> None:
    rows = [{"sae": "a", "model": "m", "hook_out": "h", "metric": "l0", "value": 3.0}]
    (section,) = arrange(rows)
    assert section.lines[0].scores["l0"].value == 3.0 and section.heads[0].version is None


def test_the_order_of_the_rows_does_not_matter(frame: pd.DataFrame) -> None:
    shuffled = frame.sample(frac=1, random_state=0)
    assert tidy(frame).equals(tidy(shuffled))


@pytest.mark.parametrize(
    ("name", "words"), [("l0", "L0"), ("ce_delta", "CE delta"), ("loss_recovered", "loss recovered"), ("kl", "KL")]
)
def test_names_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_a_sae_on_which_a_sliced_metric_fails_hides_no_other(make_row: Any) -> None:
    """Its row has no slice; the others' values stand in their columns, and its reason in each of them."""
    rows = [
        make_row("a", "sparse_probing", 0.9, 0.01, slice="k=10"),
        make_row("a", "sparse_probing", 0.8, 0.01, slice="k=2"),
        make_row("b", "sparse_probing", None, status="error", reason="broken"),
    ]
    for order in (rows, rows[::-1]):
        (section,) = arrange(order, columns=["sparse_probing"])
        assert [head.column.slice for head in section.heads] == ["k=2", "k=10"], "by the numbers in them"
        found = {line.sae: [line.scores[head.key] for head in section.heads] for line in section.lines}
        assert [score.value for score in found["a"]] == [0.8, 0.9]
        assert [score.reason for score in found["b"]] == ["broken", "broken"]


def test_of_many_slices_the_overall_one_is_shown(make_row: Any) -> None:
    names = [*(f"bins={2**n}" for n in range(2, 9)), "chosen"]
    rows = [make_row("a", "description_length", 1.0, 0.1, slice=name) for name in names]
    (section,) = arrange(rows, columns=["description_length"])
    assert [head.column.slice for head in section.heads] == ["chosen"]


def test_a_sae_that_could_not_be_loaded_stands_with_the_others(make_row: Any) -> None:
    """It has no hook; only where its model has several tables does it have one of its own."""
    broken = make_row("b", "l0", None, status="error", reason="damaged", hook_out="")
    (section,) = arrange([make_row("a", "l0", 1), broken])
    assert [line.sae for line in section.lines] == ["a", "b"]
    apart = arrange([make_row("a", "l0", 1), make_row("c", "l0", 1, hook_out="blocks.0.mlp"), broken])
    assert [[line.sae for line in section.lines] for section in apart] == [["b"], ["c"], ["a"]]


def test_only_numbers_that_a_later_row_replaces_are_told_of(make_row: Any) -> None:
    failed = make_row("a", "l0", None, status="error", reason="no data")
    assert not arrange([failed, make_row("a", "l0", 1)])[0].notes
    twice = [make_row(sae, "l0", value) for sae in "ab" for value in (1, 2)]
    assert arrange(twice)[0].notes == ("a, b: several rows for l0; the last is shown.",)
