"""Rows and their line of JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saebench.errors import UserError
from saebench.results import SCHEMA_VERSION, Row, migrate
from saebench.results.row import decode_array, encode_array

VERSION_0 = (
    '{"sae":"old","metric":"l0","version":2,"signature":"l0@2|old","value":31.5,"stderr":0.25,'
    '"ci":[31.0,32.0],"n":4,"sums":{"fires":[60,66,62,64],"tokens":[2,2,2,2]}}'
)


def test_a_row_of_version_0_is_read() -> None:
    row = Row.from_json(VERSION_0)
    assert (row.schema, row.slice, row.slices_total, row.status) == (SCHEMA_VERSION, "", 1, "ok")
    assert (row.value, row.ci_low, row.ci_high, row.n) == (31.5, 31.0, 32.0, 4)
    assert row.created == ""
    assert row.sums is not None and row.sums["fires"].tolist() == [60, 66, 62, 64]
    assert Row.from_json(row.to_json()) == row


def test_migration_leaves_its_argument_and_present_rows_alone() -> None:
    old = json.loads(VERSION_0)
    before = json.dumps(old)
    migrate(old)
    assert json.dumps(old) == before
    now = json.loads(Row(sae="a", metric="m").to_json())
    assert migrate(now) == now


def test_a_row_from_the_future_says_upgrade() -> None:
    line = json.dumps({"schema": SCHEMA_VERSION + 1, "sae": "a", "metric": "m"})
    with pytest.raises(UserError, match="Upgrade saebench"):
        Row.from_json(line)


def test_all_fields_survive() -> None:
    row = Row(
        sae="ü|x", metric="m", signature="s", value=-0.0, stderr=1e-300, ci_low=-1.5, ci_high=2.0, n=3,
        settings={"k": [1, 2], "name": None}, bounds=(None, 1.0), warnings=["a"], versions={"torch": "2"},
        git_commit="abc", git_dirty=False, sums={"x": np.array([[1.0, 2.0]])},
    )  # fmt: skip
    back = Row.from_json(row.to_json())
    assert back == row
    assert back.value is not None and math.copysign(1, back.value) == -1
    assert back.sums is not None and back.sums["x"].shape == (1, 2)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), np.float64("nan")])
def test_what_is_not_finite_becomes_null_with_a_reason(number: float) -> None:
    row = Row(sae="a", metric="m", value=number, stderr=number, settings={"limit": float("inf")})
    record = json.loads(row.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["value"] is None and record["stderr"] is None and record["settings"] == {"limit": None}
    assert record["reason"].startswith("undefined")


def test_numpy_numbers_and_paths_in_settings_become_plain(tmp_path: object) -> None:
    row = Row(sae="a", metric="m", settings={"k": np.int64(3), "t": (np.float32(0.5),), "p": tmp_path, "b": np.True_})
    assert json.loads(row.to_json())["settings"] == {"k": 3, "t": [0.5], "p": str(tmp_path), "b": True}


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
def test_sums_are_bit_exact(array: np.ndarray) -> None:
    back = decode_array(json.loads(json.dumps(encode_array(array))))
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(128,), (128, 3), (0,)])
def test_counts_are_kept_short_and_exact(shape: tuple[int, ...]) -> None:
    counts = np.random.default_rng(0).integers(0, 9, shape).astype(float)
    kept = encode_array(counts)
    assert decode_array(kept).tobytes() == counts.tobytes()
    if counts.size:
        assert len(kept["z8"]) < counts.nbytes / 5


def test_a_small_line_cannot_unpack_to_a_large_array() -> None:
    kept = encode_array(np.zeros(100_000))
    for wrong in (2**20, 10):
        with pytest.raises(ValueError, match="do not fill the shape"):
            decode_array({**kept, "shape": [wrong]})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_values_are_exact(value: float) -> None:
    back = Row.from_json(Row(sae="a", metric="m", value=value).to_json()).value
    assert back == value and math.copysign(1, value) == math.copysign(1, back)


@pytest.mark.parametrize(
    "line",
    [
        "[1]", "3", "null", "{}", '{"sae":"a"}', '{"sae":"a","metric":"m","status":"fine"}',
        '{"sae":"a","metric":"m","bounds":3}', '{"sae":"a","metric":"m","sums":[1]}',
        '{"sae":"a","metric":"m","sums":{"x":{"shape":[2],"f8":"AAAA"}}}',
        '{"sae":"a","metric":"m","sums":{"x":{"shape":[2]}}}',
        '{"sae":"a","metric":"m","schema":"x"}', '{"sae":"a","metric":"m","value":"high"}',
        '{"sae":"a","metric":"m","value":[1]}', '{"sae":"a","metric":"m","schema":null}',
    ],
)  # fmt: skip
def test_damaged_lines_are_value_errors(line: str) -> None:
    with pytest.raises(ValueError):
        Row.from_json(line)


def test_rows_without_signature_are_told_apart() -> None:
    keys = {Row(sae=s, metric=m).key for s in "ab" for m in "xy"}
    assert len(keys) == 4


def test_without_sums_keeps_the_rest() -> None:
    row = Row(sae="a", metric="m", sums={"x": np.ones(3)})
    assert row.without_sums() == row and row.without_sums().sums is None
