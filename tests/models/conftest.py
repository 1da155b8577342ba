"""A tiny model of each family, its subject, and a plain forward of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from saebench.models import Run, Subject, load_model
from tests.models.families import FAMILIES, Family, build, token_rows


class Case(NamedTuple):
    """One family: paths, model, subject, tokens, plain output, and a run that kept every hook."""

    family: Family
    model: Any
    subject: Subject
    tokens: Tensor
    plain: Any
    run: Run


_CASES: dict[str, Case] = {}


def case_of(name: str) -> Case:
    """The case of a family, built once a session."""
    if name not in _CASES:
        model, tokens = build(name), token_rows()
        subject = load_model(model)
        with torch.no_grad():
            plain = model(tokens, use_cache=False, output_hidden_states=True)
        _CASES[name] = Case(FAMILIES[name], model, subject, tokens, plain, subject.forward(tokens, subject.sites()))
    return _CASES[name]


@pytest.fixture(params=sorted(FAMILIES))
def case(request: pytest.FixtureRequest) -> Case:
    """Each family in turn."""
    return case_of(request.param)


@pytest.fixture
def llama_case() -> Case:
    """One family for what does not depend on it."""
    return case_of("llama")
