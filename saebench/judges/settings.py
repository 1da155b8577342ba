"""Settings of a judge behind an OpenAI-compatible endpoint, checked before anything is asked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebench.errors import UserError, unknown

PROMPTS = ("plain", "saebench")


@dataclass(frozen=True)
class Settings:
    """How a language model is asked. Tokens are the endpoint's; money is in the currency of `prices`.

    Attributes:
        model: Name of the model at the endpoint.
        base_url: Address of the endpoint, up to `/v1`; else OPENAI_BASE_URL, else OpenAI.
        prompt: `plain`, or `saebench` for that suite's questions.
        temperature: Of sampling; None leaves it to the endpoint, for models that take no other.
        seed: Of sampling, and of the order in which contexts are shown; None sends none.
        max_tokens: Longest reply; None is 4000 for `plain`, and SAEBench's own limits for `saebench`.
        draws: Times a question is asked, each with another seed, before its replies count as unusable.
        concurrency: Calls under way at a time.
        timeout: Seconds after which a call is given up and tried again.
        attempts: Times a call is tried when the endpoint fails or asks to wait.
        backoff: Seconds before the second try; doubles with every further one, with jitter.
        longest_wait: Seconds beyond which no wait grows; an endpoint that asks for more is given up.
        cache: File of replies already paid for; None is one for all runs of this user.
        transcript: File to which every question and reply is appended: Markdown for `.md`, else JSON lines.
        prices: By model, what a million tokens of question and of reply cost, `{"m": [0.5, 1.5]}`.
        budget_money: Most that may be spent in one run, over all its SAEs, metrics and seeds.
        budget_tokens: Most tokens, of questions and replies together.
        budget_calls: Most calls, failed ones included.
    """

    model: str
    base_url: str | None = None
    prompt: str = "plain"
    temperature: float | None = 0.0
    seed: int | None = 0
    max_tokens: int | None = None
    draws: int = 3
    concurrency: int = 32
    timeout: float = 120.0
    attempts: int = 8
    backoff: float = 1.0
    longest_wait: float = 120.0
    cache: str | os.PathLike[str] | None = None
    transcript: str | os.PathLike[str] | None = None
    prices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    budget_money: float | None = None
    budget_tokens: int | None = None
    budget_calls: int | None = None

    def __post_init__(self) -> None:
        """Check all that can be checked without an endpoint.

        Raises:
            UserError: A value that cannot be meant; names the setting.
        """
        if self.prompt not in PROMPTS:
            raise unknown("prompt of the judge", str(self.prompt), PROMPTS)
        for name in ("draws", "concurrency", "attempts"):
            _check(self, name, int, 1)
        for name in ("max_tokens", "budget_tokens", "budget_calls"):
            _check(self, name, int, 1, optional=True)
        for name in ("timeout", "longest_wait", "backoff"):
            _check(self, name, float, 0)
        for name in ("temperature", "budget_money"):
            _check(self, name, float, 0, optional=True)
        if self.budget_money is not None and self.price is None:
            raise UserError(
                f"The judge has a budget in money but no price of {self.model!r}. "
                f"Give prices: {{{self.model}: [QUESTION, REPLY]}}, each for a million tokens, or budget_tokens."
            )

    @property
    def price(self) -> tuple[float, float] | None:
        """Price of a million tokens of question and of reply, None where none was given.

        Raises:
            UserError: It is no pair of numbers.
        """
        given = self.prices.get(self.model)
        if given is None:
            return None
        try:
            question, reply = (float(part) for part in given)
        except (TypeError, ValueError):
            question, reply = -1.0, -1.0
        if not (0 <= question < float("inf") and 0 <= reply < float("inf")):
            raise UserError(
                f"Price of {self.model!r} is {given!r}. Give two numbers: a million tokens of question, and of reply."
            )
        return question, reply

    @property
    def cache_file(self) -> Path:
        """Where replies are kept."""
        if self.cache is not None:
            return Path(self.cache).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saebench" / "judge.sqlite"


def settings_from(model: str, given: Mapping[str, Any]) -> Settings:
    """Settings from keywords.

    Raises:
        UserError: An unknown keyword, with the nearest one, or a value that cannot be meant.
    """
    check_settings(given, {field.name for field in dataclasses.fields(Settings)} - {"model"})
    return Settings(model, **{**given, "prices": given.get("prices") or {}})


def check_settings(given: Iterable[str], known: Iterable[str]) -> None:
    """Prove that a judge has all settings it is given.

    Raises:
        UserError: It has not; with the nearest one.
    """
    names = set(known)
    for name in given:
        if name not in names:
            raise unknown("setting of the judge", name, names)


def _check(settings: Settings, name: str, kind: type, least: float, *, optional: bool = False) -> None:
    value = getattr(settings, name)
    if value is None and optional:
        return
    kinds = (int, float) if kind is float else int
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < float("inf"):
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"The judge's {name} is {value!r}. It must be {wanted} of at least {least}.")
