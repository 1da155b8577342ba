"""A value that moved needs a new version; a new version needs a new line in the table."""

from __future__ import annotations

import pytest

from tests.evals.reference_values import computed, stored


def test_no_value_moved_under_its_version() -> None:
    now, then = computed(), stored()
    assert set(now) == set(then), "write the table anew: python -m tests.evals.reference_values --write"
    for name, value in then.items():
        assert now[name] == pytest.approx(value, rel=1e-4, abs=1e-5), f"{name} moved: raise its version"
