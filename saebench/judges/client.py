"""One batch of questions to an endpoint: from the cache where they were answered, else asked until they are."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from types import TracebackType
from typing import Any

from saebench.errors import UserError
from saebench.judges import refusals, waits
from saebench.judges.cache import ReplyCache, request_key
from saebench.judges.completion import Reply
from saebench.judges.endpoint import Endpoint
from saebench.judges.faults import Fault, GaveUp, Halted, Refitted
from saebench.judges.ledger import Ledger, Spend, most
from saebench.judges.prompts import Ask
from saebench.judges.settings import Settings
from saebench.judges.transcript import Exchange, Transcript
from saebench.judges.wire import Manners, Wire
from saebench.judges.wording import IN_PROSE

_TRIES_TO_REACH = 3
"""Tries before an endpoint that never answered is called unreachable."""


def logical(ask: Ask, draw: int, settings: Settings) -> dict[str, Any]:
    """All that decides a reply, and neither address nor key: what the cache goes by."""
    return {
        "model": settings.model,
        "messages": list(ask.messages),
        "temperature": settings.temperature,
        "seed": None if settings.seed is None else settings.seed + draw,
        "draw": draw,
        "schema": ask.schema,
        "in_prose": IN_PROSE if ask.schema else None,
        "max_tokens": ask.max_tokens,
    }


class Client:
    """Asks; use it with `async with`, in one event loop.

    Attributes:
        halt: Set when nothing more is to be asked.
    """

    def __init__(
        self,
        settings: Settings,
        endpoint: Endpoint,
        ledger: Ledger,
        cache: ReplyCache,
        transcript: Transcript,
        manners: Manners,
    ) -> None:
        self._settings, self._endpoint, self._ledger = settings, endpoint, ledger
        self._cache, self._transcript = cache, transcript
        self._wire = Wire(settings, endpoint, manners)
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._over = asyncio.Condition()
        self._not_before = 0.0
        self.halt = asyncio.Event()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._wire.close()

    async def reply(self, ask: Ask, draw: int) -> Reply:
        """The reply to a question; the same question is paid for once.

        Raises:
            GaveUp: The endpoint failed too often, the budget is spent, or the question was refused.
            UserError: An error that will not pass.
            Halted: Another question met such an error.
        """
        request = logical(ask, draw, self._settings)
        key = request_key(request)
        async with self._asking[key]:
            found = self._cache.get(key)
            if found is None:
                return await self._ask(ask, request, key)
        self._ledger.cached += 1
        self._transcript.add(Exchange(ask.kind, ask.latent, draw, "cache", 0.0, request["messages"], found.to_dict()))
        return found

    async def _ask(self, ask: Ask, request: dict[str, Any], key: str) -> Reply:
        attempt = 0
        while True:
            try:
                return await self._try(ask, request, key, again=attempt + request["draw"] > 0)
            except Refitted:
                continue
            except Fault as fault:
                attempt += 1
                wait = self._wait(fault, attempt)
            await self._sleep(wait)

    def _wait(self, fault: Fault, attempt: int) -> float:
        """Seconds to wait after a fault; where the endpoint asked to wait, that holds for all calls."""
        longest = self._settings.longest_wait
        if not (fault.reached or self._wire.reached) and attempt >= min(_TRIES_TO_REACH, self._settings.attempts):
            raise refusals.unreachable(self._endpoint, self._settings.model, fault.reason)
        if attempt >= self._settings.attempts or (fault.wait or 0.0) > longest:
            raise GaveUp(fault.reason)
        if fault.wait:
            self._not_before = max(self._not_before, time.monotonic() + fault.wait)
            return 0.0
        return waits.backoff(self._settings.backoff, attempt - 1, longest)

    async def _try(self, ask: Ask, request: dict[str, Any], key: str, *, again: bool) -> Reply:
        """One call, when it may be made; its reply is kept before anything else is done with it."""
        while (early := self._not_before - time.monotonic()) > 0:
            await self._sleep(early + waits.jitter(self._settings.backoff))
        body = self._wire.fitted(request)
        dearest = most(body["messages"], json.dumps(body.get("response_format", "")), ask.max_tokens)
        await self._admitted(dearest)
        self._ledger.retries += again
        begun, reply, trouble = time.monotonic(), None, None
        try:
            reply = await self._wire.send(body)
            return self._cache.put(key, self._settings.model, reply)
        except (Fault, GaveUp, Refitted, UserError) as error:
            trouble = str(error)
            raise
        finally:
            self._ledger.end(dearest, ask, reply)
            seconds, answer = time.monotonic() - begun, None if reply is None else reply.to_dict()
            asked = (ask.kind, ask.latent, request["draw"], "endpoint", seconds, body["messages"])
            self._transcript.add(Exchange(*asked, answer, trouble))
            async with self._over:
                self._over.notify_all()

    async def _admitted(self, dearest: Spend) -> None:
        """Wait until the budget takes the call, which it may when calls under way end cheaper than feared."""

        def settled() -> bool:
            return self.halt.is_set() or self._ledger.admits(dearest) or not self._ledger.busy

        async with self._over:
            await self._over.wait_for(settled)
            if self.halt.is_set():
                raise Halted
            if not self._ledger.admits(dearest):
                raise GaveUp("budget")
            self._ledger.begin(dearest)

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless everything is halted meanwhile."""
        try:
            await asyncio.wait_for(self.halt.wait(), seconds)
        except asyncio.TimeoutError:
            return
        raise Halted
