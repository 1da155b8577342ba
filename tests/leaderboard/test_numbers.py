"""Numbers as text: digits from the standard error, alignment, and odd sizes."""

from __future__ import annotations

import math

import pytest

from saebench.leaderboard.numbers import column_text, decimals_for
from saebench.leaderboard.rows import Score


def score(value: float, stderr: float = math.nan, low: float = math.nan, high: float = math.nan) -> Score:
    return Score(sae="s", metric="m", value=value, stderr=stderr, low=low, high=high)


def texts(*scores: Score | None, **more: object) -> list[tuple[str, str] | None]:
    return [text and (text.value, text.error) for text in column_text(scores, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stderr", "decimals"),
    [(0.0004, 4), (0.012, 3), (0.019, 3), (0.0196, 2), (0.02, 2), (0.1, 2), (0.95, 1), (1.0, 1), (3, 0), (25, 0)],
)
def test_one_digit_of_the_error_two_after_a_one(stderr: float, decimals: int) -> None:
    assert decimals_for(stderr) == decimals


def test_each_cell_has_the_digits_of_its_own_error() -> None:
    assert texts(score(0.98765, 0.0004), score(0.5, 0.03), score(12.3, 25)) == [
        ("0.9877", "0.0004"), ("0.50", "0.03"), ("12", "25"),
    ]  # fmt: skip


def test_cells_line_up_on_the_point() -> None:
    found = texts(score(7.81, 0.08), score(24.5, 0.2), score(192.0), score(120, 4), pad=("~", "!"))
    assert found == [
        ("~~7.81", "0.08"), ("~24.5~", "0.2~"), ("192.0~", "~!~~"), ("120!~~", "4!~~"),
    ]  # fmt: skip


def test_without_errors_four_significant_digits_of_the_largest() -> None:
    assert texts(score(0.123456), score(0.0001)) == [("0.1235", ""), ("0.0001", "")]
    assert texts(score(1234.56), score(2.0)) == [("1235", ""), ("2", "")]
    assert texts(score(0.0), score(0.0)) == [("0", ""), ("0", "")]


def test_a_value_without_error_has_the_digits_of_its_neighbours() -> None:
    found = texts(score(1.0), score(0.5, 0.03), score(0.4, 0.004))
    assert found == [("1.000", ""), ("0.50", "0.03"), ("0.400", "0.004")]


def test_an_error_of_zero_is_not_shown() -> None:
    assert texts(score(1.0, 0.0), score(0.5, 0.03)) == [("1.00", ""), ("0.50", "0.03")]


def test_missing_scores_stay_missing() -> None:
    failed = Score(sae="s", metric="m", status="error", reason="oom", value=3.0)
    assert texts(None, failed, score(math.nan), score(math.inf)) == [None] * 4
    assert texts() == []


def test_intervals() -> None:
    found = texts(score(0.5, 0.03, 0.4412, 0.5588), score(0.5), error="interval")
    assert found == [("0.50", "[0.44, 0.56]"), ("0.50", "")]


def test_fixed_digits() -> None:
    assert texts(score(0.98765, 0.0004), score(0.5, 0.03), digits=2) == [("0.99", "0.00"), ("0.50", "0.03")]


def test_errors_can_be_left_out() -> None:
    assert texts(score(0.98765, 0.0004), error="none") == [("0.9877", "")]


def test_very_small_and_large_values_are_scientific() -> None:
    assert texts(score(1.234e-9, 2.5e-11), score(0.5, 0.1)) == [("1.23e-09", "2.5e-11"), ("5.00e-01", "1.0e-01")]
    assert texts(score(2.5e9, 1e7)) == [("2.50e+09", "1.0e+07")]


def test_one_very_exact_cell_does_not_make_its_column_scientific() -> None:
    found = texts(score(0.9961, 4.4e-5), score(0.83, 8e-4), score(0.99999982, 1.8e-8))
    assert found == [("0.99610", "0.00004"), ("0.8300", "0.0008"), ("0.9999998", "0.0000001")]


def test_no_negative_zero() -> None:
    assert texts(score(-0.0001, 0.02)) == [("0.00", "0.02")]
