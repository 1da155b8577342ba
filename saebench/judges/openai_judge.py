"""A judge that is a language model behind any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from saebench.judges import prompts, workers
from saebench.judges.cache import ReplyCache, request_key
from saebench.judges.client import Client, logical
from saebench.judges.endpoint import Endpoint
from saebench.judges.faults import GaveUp
from saebench.judges.ledger import Estimate, Ledger, Spend, usual
from saebench.judges.prompts import Ask
from saebench.judges.prompts_saebench import SaebenchPrompt
from saebench.judges.protocol import Answers, ExplainTask, Explanation, Progress, ScoreTask, Unanswered
from saebench.judges.replies import BadReply
from saebench.judges.settings import settings_from
from saebench.judges.transcript import Transcript
from saebench.judges.wire import Manners

T = TypeVar("T", ExplainTask, ScoreTask)
EMPTY = Unanswered("failed: the task has no contexts")


class OpenAIJudge:
    """Explains and scores by asking a language model; settings are those of `Settings`.

    Every reply is kept before it is read, so that a run that was killed, or is run again, pays for
    none twice. Questions that the endpoint fails to answer, or that the budget does not allow, are
    `Unanswered`; asked again another time, they may be answered.

    Attributes:
        settings: What was asked for.
        ledger: What it has cost so far.

    Raises:
        UserError: An unknown setting, or a value that cannot be meant.
    """

    def __init__(self, model: str, **settings: Any) -> None:
        self.settings = settings_from(model, settings)
        self.ledger = Ledger(self.settings)
        self._prompt = SaebenchPrompt() if self.settings.prompt == "saebench" else prompts.PlainPrompt()
        self._manners = Manners()

    @property
    def name(self) -> str:
        """How the judge is called in rows and on boards."""
        return f"openai:{self.settings.model}"

    def signature(self) -> dict[str, Any]:
        """All that decides its answers; neither key nor address."""
        names = ("model", "prompt", "temperature", "seed", "max_tokens", "draws")
        chosen = {name: getattr(self.settings, name) for name in names}
        return {"judge": "openai", **chosen, "prompt_version": prompts.version(self._prompt)}

    @property
    def notes(self) -> list[str]:
        """What a reader of its rows should know about how the endpoint was asked."""
        if self._manners.structured:
            return []
        return ["The judge's endpoint takes no response_format; it was asked for JSON in words."]

    @property
    def remote(self) -> str:
        """Host that it is asked at, "" for one on this machine.

        Raises:
            UserError: The address is none.
        """
        endpoint = Endpoint.named(self.settings.base_url)
        return "" if endpoint.loopback else endpoint.host

    def check(self) -> None:
        """Prove, before any work and without the network, that there are an address and a key.

        Raises:
            UserError: One is missing.
        """
        Endpoint.found(self.settings.base_url)

    def explain(self, tasks: Sequence[ExplainTask], progress: Progress | None = None) -> list[Explanation | Unanswered]:
        """Explains each latent.

        Raises:
            UserError: The endpoint cannot be used: no key, unknown model, or it speaks something else.
        """
        return self._answer(tasks, self._explain, progress)

    def score(self, tasks: Sequence[ScoreTask], progress: Progress | None = None) -> list[Answers | Unanswered]:
        """Answers each task; contexts are shown in an order of their own, whatever the task's.

        Raises:
            UserError: As for `explain`, or a kind of task that the prompt does not have.
        """
        return self._answer(tasks, self._score, progress)

    def estimate(self, tasks: Sequence[ExplainTask | ScoreTask]) -> Estimate:
        """What the tasks would cost; nothing is asked. Tasks not known yet can be stood in for by similar ones."""
        asks = [self._explain(task) if isinstance(task, ExplainTask) else self._score(task) for task in tasks]
        wanted = {request_key(logical(ask, 0, self.settings)): ask for ask in asks if ask is not None}
        there: set[str] = set()
        if self.settings.cache_file.exists():
            with ReplyCache(self.settings.cache_file) as cache:
                there = {key for key in wanted if cache.get(key) is not None}
        cost = sum((usual(ask) for key, ask in wanted.items() if key not in there), start=Spend())
        money = cost.money(self.settings.price)
        return Estimate(cost.calls, len(there), cost.prompt_tokens, cost.completion_tokens, money)

    def _explain(self, task: ExplainTask) -> Ask | None:
        return self._limited(self._prompt.explain(task)) if task.firing else None

    def _score(self, task: ScoreTask) -> Ask | None:
        if not task.contexts:
            return None
        order = prompts.presented(task, self.settings.seed)
        ask = self._limited(self._prompt.score(task, order))
        return dataclasses.replace(ask, read=lambda reply: prompts.in_order(ask.read(reply), order))

    def _limited(self, ask: Ask) -> Ask:
        limit = self.settings.max_tokens
        return ask if limit is None else dataclasses.replace(ask, max_tokens=limit)

    def _answer(self, tasks: Sequence[T], made: Callable[[T], Ask | None], progress: Progress | None) -> list[Any]:
        return workers.run(self._answer_all(tasks, made, progress)) if tasks else []

    async def _answer_all(
        self, tasks: Sequence[T], made: Callable[[T], Ask | None], progress: Progress | None
    ) -> list[Any]:
        """Questions are worded when their turn has come, while others wait for their replies."""
        endpoint = Endpoint.found(self.settings.base_url)
        done = 0
        with Transcript(self.settings.transcript) as transcript, ReplyCache(self.settings.cache_file) as cache:
            async with Client(self.settings, endpoint, self.ledger, cache, transcript, self._manners) as client:

                async def one(task: T) -> Any:
                    nonlocal done
                    ask = made(task)
                    answer = EMPTY if ask is None else await self._ask(client, ask)
                    done += 1
                    if progress is not None:
                        progress(done, len(tasks))
                    return answer

                return await workers.each(tasks, one, self.settings.concurrency, client.halt)

    async def _ask(self, client: Client, ask: Ask) -> Any:
        """The answer to a question, asked again with another seed while its replies cannot be used."""
        reason = ""
        try:
            for draw in range(self.settings.draws):
                reply = await client.reply(ask, draw)
                try:
                    return ask.read(reply.text(whole=ask.whole))
                except BadReply as bad:
                    reason = str(bad)
        except GaveUp as end:
            reason = str(end)
        return Unanswered(reason)
