"""Judges by name, and what their settings may be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from saebench.errors import UserError
from saebench.judges.openai_judge import OpenAIJudge
from saebench.judges.select import judge


def test_a_model_is_named_behind_the_kind() -> None:
    made = judge("openai:qwen2.5:7b", temperature=0.3)
    assert isinstance(made, OpenAIJudge)
    assert made.name == "openai:qwen2.5:7b" and made.settings.temperature == 0.3


def test_the_judge_for_no_network_takes_its_own_settings() -> None:
    assert judge("ngram").name == "ngram"
    assert judge("ngram", depth=2).signature()["depth"] == 2


@pytest.mark.parametrize(
    ("reference", "settings", "message"),
    [
        ("openia:gpt-4o", {}, "Unknown judge 'openia:gpt-4o'. Did you mean 'openai'.*openai:MODEL"),
        ("n-gram", {}, "Did you mean 'ngram'"),
        ("gpt-4o-mini", {}, "openai:MODEL"),
        ("openai", {}, "needs a model"),
        ("openai:", {}, "needs a model"),
        ("ngram:5", {}, "no models"),
        ("ngram", {"dept": 2}, "'dept'. Did you mean 'depth'"),
        ("ngram", {"temperature": 2}, "Unknown setting of the judge 'temperature'"),
        ("openai:m", {"temprature": 1}, "'temprature'. Did you mean 'temperature'"),
        ("openai:m", {"api_key": "x"}, "Unknown setting of the judge 'api_key'"),
        ("openai:m", {"prompt": "saebnch"}, "Did you mean 'saebench'"),
        ("openai:m", {"concurrency": 0}, "concurrency is 0"),
        ("openai:m", {"attempts": 2.5}, "attempts is 2.5"),
        ("openai:m", {"timeout": "long"}, "timeout is 'long'"),
        ("openai:m", {"temperature": float("nan")}, "temperature is nan"),
        ("openai:m", {"budget_tokens": True}, "budget_tokens is True"),
        ("openai:m", {"prices": {"m": 3}, "budget_money": 1}, "Price of 'm' is 3"),
        ("openai:m", {"prices": {"m": [1, -1]}, "budget_money": 1}, "Price of 'm'"),
        ("openai:m", {"prices": {"m": [1, 1]}, "budget_money": -1}, "budget_money is -1"),
    ],
)
def test_what_cannot_be_meant_is_refused(reference: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        judge(reference, **settings)


def test_naming_a_judge_imports_no_client() -> None:
    code = (
        "import sys; from saebench.judges.select import judge; judge('openai:m').signature();"
        "print({'openai', 'torch', 'httpx', 'httpx2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
