"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import os

import pytest
import torch

from saebench import registry
from tests.helpers.toys import tiny_llama

if "SAEBENCH_GPU" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # "auto" is then the CPU; `make test-gpu` sets the variable


SLOW = (
    "test_notebooks.py",
    "test_tutorials.py",
    "test_supervised_world.py",
    "test_world_files.py",
    "test_processes.py",
)
"""Files that take longest; begun first, so that two processes end at the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first."""
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny models run faster on one thread than on several."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_leftover_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_included", {})


@pytest.fixture(scope="session")
def llama() -> torch.nn.Module:
    """A random Llama of three layers: vocabulary 40, d_model 16."""
    return tiny_llama()
