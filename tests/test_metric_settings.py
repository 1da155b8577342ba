"""Settings that a family of metrics states once, as a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from saebench import Sums, metric
from saebench.errors import UserError
from saebench.inputs import Activity
from saebench.metric import Metric


@dataclass(frozen=True)
class Probe:
    """What two metrics share."""

    k: tuple[int, ...] = (1, 2)
    how: str = "mean"


PROBE = Probe()
WIDE = Probe(k=(50,))


def _metric(default: Probe = PROBE) -> Metric:
    @metric(version=3, unit="", better="none")
    def probed(a: Activity, *, probe: Probe = default, least: float = 0.5) -> Sums:
        """What it was given."""
        return Sums(notes=(repr(probe), repr(least)))

    return probed


def test_its_fields_are_settings_like_any_others() -> None:
    @metric(version=3, unit="", better="none")
    def probed(a: Activity, *, k: tuple[int, ...] = (1, 2), how: str = "mean", least: float = 0.5) -> Sums:
        """The same without a dataclass."""
        return Sums()

    assert _metric().settings == probed.settings
    assert _metric().signature == probed.signature == "probed@3(how=mean,k=(1, 2),least=0.5)"
    assert _metric(WIDE).signature == "probed@3(how=mean,k=(50,),least=0.5)"
    assert list(_metric().inputs) == ["a"]


def test_the_function_is_given_the_dataclass() -> None:
    changed = _metric().with_settings(k=[5], least=0.1)
    assert changed.rows(None, **changed.settings).notes == (repr(Probe((5,), "mean")), "0.1")
    assert changed.signature == "probed@3(how=mean,k=(5,),least=0.1)"
    assert _metric(WIDE).rows(None).notes == (repr(WIDE), "0.5")


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(UserError, match="probe"):
        _metric().with_settings(probe=1)
    with pytest.raises(UserError, match="'k'"):
        _metric().with_settings(kk=1)


def test_two_settings_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="two settings named 'k'"):

        @metric(version=1, unit="", better="none")
        def twice(a: Activity, *, k: int = 1, probe: Probe = PROBE) -> Sums:
            """Two."""
            return Sums()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"k": "four"}, r"Setting 'k' of metric 'probed' must be a list, each a whole number, such as \[1, 2\] "),
        ({"k": [1, "two"]}, r"got \[1, 'two'\]"),
        ({"how": 3}, "must be a word, such as 'mean'"),
        ({"least": [0.5]}, "must be a number, such as 0.5"),
        ({"least": True}, "must be a number"),
    ],
)
def test_a_value_of_another_kind_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        _metric().with_settings(**settings)


def test_one_number_is_a_list_of_one_and_a_whole_number_is_a_number() -> None:
    assert _metric().with_settings(k=5).settings["k"] == (5,)
    assert _metric().with_settings(least=1).settings["least"] == 1


def test_a_setting_without_a_readable_type_takes_anything() -> None:
    @metric(version=1, unit="", better="none")
    def loose(a: Activity, *, way=None) -> Sums:  # noqa: ANN001
        """Says nothing of its setting."""
        return Sums(notes=(repr(way),))

    assert loose.with_settings(way={"a": 1}).settings == {"way": {"a": 1}}


def test_every_shipped_metric_says_of_which_kind_its_settings_are() -> None:
    from saebench.registry import metrics

    untyped = [(m.name, key) for m in metrics().values() for key, kind in m._kinds.items() if kind is Any]
    assert not untyped
    for m in metrics().values():
        m.with_settings(**{key: list(v) if isinstance(v, tuple) else v for key, v in m.settings.items()})


def test_a_number_of_a_shipped_metric_must_lie_within_bounds() -> None:
    """No setting of ours takes any number at all: one far below zero is refused before a run."""
    from saebench.registry import metrics

    numbers = 0
    for m in metrics().values():
        for key, value in m.settings.items():
            first = value[0] if isinstance(value, tuple) and value else value
            if isinstance(first, (int, float)) and not isinstance(first, bool):
                numbers += 1
                with pytest.raises(UserError, match=f"Setting '{key}' of metric '{m.name}' must be"):
                    m.with_settings(**{key: -77 if isinstance(first, int) else -77.0})
    assert numbers > 200


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("sparse_probing", {"k": [1, 0]}, r"must be a list, each a whole number of at least 1, such as \[1, 2, 5\]"),
        ("sparse_probing", {"pooling": "sum"}, "must be one of 'mean', 'max', 'last', such as 'mean' .got 'sum'"),
        ("dense_fraction", {"above": 2.0}, r"each a number from 0 to 1, such as \[0.01, 0.1\] .got \[2.0\]"),
        ("tpp", {"c": 0}, "must be a number above 0, such as 100.0"),
        ("detection", {"window": 1}, "must be a whole number of at least 2, such as 32"),
        ("density_histogram", {"lowest": 0}, "must be a whole number from -30 to -1, such as -6"),
    ],
)
def test_bounds_are_said_in_words(name: str, settings: dict, said: str) -> None:
    from saebench.registry import get

    with pytest.raises(UserError, match=said):
        get(name).with_settings(**settings)


def test_a_list_may_be_empty_only_where_its_type_says_so() -> None:
    from saebench.registry import get

    with pytest.raises(UserError, match=r"each a number from 0 to 1, such as \[0.01, 0.1\] \(got \[\]\)"):
        get("dense_fraction").with_settings(above=[])
    assert get("unlearning").with_settings(multipliers=[]).settings["multipliers"] == ()
    assert get("unlearning").with_settings(relative=2).settings["relative"] == (2,)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_is_finite(value: float) -> None:
    from saebench.registry import get

    with pytest.raises(UserError, match="must be a number above 0"):
        get("tpp").with_settings(c=value)


def test_show_says_what_a_setting_takes() -> None:
    from saebench.listing import shown

    assert "k=(1, 2, 5): a list, each a whole number of at least 1" in shown("sparse_probing")
    assert "pooling=mean: one of 'mean', 'max', 'last'" in shown("sparse_probing")
