"""What a judge has cost: calls, tokens, money; and a budget that no call may break."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from saebench.judges.completion import Reply
from saebench.judges.prompts import Ask
from saebench.judges.settings import Settings

CHARACTERS_A_TOKEN = 4
"""Rule of thumb for English, by which costs are estimated."""

RULE = f"a token is {CHARACTERS_A_TOKEN} characters; a reply is as long as a usual one that answers every context"

_ENVELOPE = 16
"""Tokens that a chat format may add to a message, at most."""


@dataclass(frozen=True)
class Spend:
    """Calls, and tokens of questions and of replies."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: Spend) -> Spend:
        return self + Spend(-other.calls, -other.prompt_tokens, -other.completion_tokens)

    def money(self, price: tuple[float, float] | None) -> float | None:
        """Its price, None where the price is unknown."""
        if price is None:
            return None
        return (self.prompt_tokens * price[0] + self.completion_tokens * price[1]) / 1e6


@dataclass(frozen=True)
class Estimate:
    """What tasks would cost, without asking anything.

    Attributes:
        calls: Calls to make.
        cached: Calls whose reply is there already.
        prompt_tokens: Tokens of the questions to ask.
        completion_tokens: Tokens of the replies.
        money: None where the model's price was not given.
        rule: How tokens were counted.
    """

    calls: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    rule: str = RULE


class Ledger:
    """Counts what is spent, and says whether a further call fits the budget.

    A call fits if the budget would hold even if it cost the most it can: a token for every byte of
    the question and the longest reply. So the budget holds whatever the endpoint replies. What a
    call costs that times out or breaks off is not known; it counts as a call without tokens.

    Attributes:
        spent: What was asked and answered.
        cached: Answers taken from replies that were there.
        retries: Calls that repeat one that failed or whose reply could not be used.
        uncounted: Replies without a count of tokens by the endpoint; these are counted by `RULE`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.spent = Spend()
        self.cached = 0
        self.retries = 0
        self.uncounted = 0
        self._under_way = Spend()

    @property
    def money(self) -> float | None:
        """What was spent, None where the model's price was not given."""
        return self.spent.money(self._settings.price)

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return self._under_way.calls > 0

    def admits(self, most: Spend) -> bool:
        """Whether the budget holds with this call too, whatever the calls under way will cost."""
        total = self.spent + self._under_way + most
        limits = (
            (total.calls, self._settings.budget_calls),
            (total.prompt_tokens + total.completion_tokens, self._settings.budget_tokens),
            (total.money(self._settings.price), self._settings.budget_money),
        )
        return all(limit is None or (value is not None and value <= limit) for value, limit in limits)

    def begin(self, most: Spend) -> None:
        """A call goes out that costs no more than this."""
        self._under_way += most

    def end(self, most: Spend, ask: Ask, reply: Reply | None) -> None:
        """The call is over, with a reply or without."""
        self._under_way -= most
        self.spent += Spend(calls=1) if reply is None else self._cost(ask, reply)

    def _cost(self, ask: Ask, reply: Reply) -> Spend:
        asked, answered = reply.prompt_tokens, reply.completion_tokens
        self.uncounted += asked is None or answered is None
        guess = usual(ask, reply.content or "")
        return Spend(
            calls=1,
            prompt_tokens=guess.prompt_tokens if asked is None else asked,
            completion_tokens=guess.completion_tokens if answered is None else answered,
        )

    def to_dict(self) -> dict[str, Any]:
        """All counts by name, for a row or a report."""
        counts = {"cached": self.cached, "retries": self.retries, "uncounted": self.uncounted}
        return {**dataclasses.asdict(self.spent), **counts, "money": self.money}

    def __str__(self) -> str:
        money = self.money
        price = f"no price given for {self._settings.model!r}" if money is None else f"{money:.4f} spent"
        return (
            f"{self.spent.calls} calls ({self.retries} of them retries), {self.cached} answers from the cache, "
            f"{self.spent.prompt_tokens} + {self.spent.completion_tokens} tokens, {price}"
        )


def usual(ask: Ask, reply: str | None = None) -> Spend:
    """What a question usually costs, by `RULE`."""
    answer = ask.expected if reply is None else reply
    return Spend(1, math.ceil(ask.size / CHARACTERS_A_TOKEN), math.ceil(len(answer) / CHARACTERS_A_TOKEN))


def most(messages: list[dict[str, str]], schema: str, max_tokens: int) -> Spend:
    """The most a question can cost."""
    size = sum(len(message["content"].encode()) + _ENVELOPE for message in messages)
    return Spend(1, size + len(schema.encode()), max_tokens)
