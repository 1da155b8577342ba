"""One batch of questions to an endpoint: from the cache where they were answered, else asked until they are."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from saebench.judges import refusals, waits
from saebench.judges.cache import ReplyCache, request_key
from saebench.judges.completion import Reply, read_completion
from saebench.judges.endpoint import Endpoint
from saebench.judges.faults import Fault, GaveUp, Halted, Incompatible, Refitted
from saebench.judges.ledger import Ledger, most
from saebench.judges.prompts import Ask
from saebench.judges.settings import Settings
from saebench.judges.transcript import Exchange, Transcript
from saebench.judges.wording import IN_PROSE

_CONNECTIONS_A_POOL = 16
"""The HTTP library looks at every connection of a pool at every call; small pools keep that cheap."""

_TRIES_TO_REACH = 3
"""Tries before an endpoint that never answered is called unreachable."""


@dataclass
class Manners:
    """What an endpoint has shown to take; learned once for all batches.

    Attributes:
        structured: Takes `response_format`; else the schema is part of the question.
        limit: What it calls the longest reply.
    """

    structured: bool = True
    limit: str = "max_tokens"


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
    """Asks; use it with `async with`, in one event loop."""

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
        self._cache, self._transcript, self._manners = cache, transcript, manners
        pools = max(1, settings.concurrency // _CONNECTIONS_A_POOL)
        self._clients = [endpoint.client(settings.timeout) for _ in range(pools)]
        self._turns = itertools.cycle(self._clients)
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._over = asyncio.Condition()
        self._not_before = 0.0
        self._reached = self._understood = False
        self.halt = asyncio.Event()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()

    async def reply(self, ask: Ask, draw: int) -> Reply:
        """The reply to a question; the same question is paid for once.

        Raises:
            GaveUp: The endpoint failed too often, the budget is spent, or the question was refused.
            UserError: An error that will not pass.
            Halted: Another question met such an error.
        """
        key = request_key(logical(ask, draw, self._settings))
        async with self._asking[key]:
            found = self._cache.get(key)
            if found is None:
                return await self._ask(ask, draw, key)
        self._ledger.cached += 1
        self._note(ask, draw, "cache", 0.0, list(ask.messages), found)
        return found

    async def _ask(self, ask: Ask, draw: int, key: str) -> Reply:
        attempt = 0
        while True:
            try:
                return await self._try(ask, draw, key, again=attempt + draw > 0)
            except Refitted:
                continue
            except Fault as fault:
                attempt += 1
                wait = self._wait(fault, attempt)
            await self._sleep(wait)

    def _wait(self, fault: Fault, attempt: int) -> float:
        """Seconds to wait after a fault; where the endpoint asked to wait, that holds for all calls."""
        longest = self._settings.longest_wait
        if not (fault.reached or self._reached) and attempt >= min(_TRIES_TO_REACH, self._settings.attempts):
            raise refusals.unreachable(self._endpoint, self._settings.model, fault.reason)
        if attempt >= self._settings.attempts or (fault.wait or 0.0) > longest:
            raise GaveUp(fault.reason)
        if fault.wait:
            self._not_before = max(self._not_before, time.monotonic() + fault.wait)
            return 0.0
        return waits.backoff(self._settings.backoff, attempt - 1, longest)

    async def _try(self, ask: Ask, draw: int, key: str, *, again: bool) -> Reply:
        while (early := self._not_before - time.monotonic()) > 0:
            await self._sleep(early + waits.jitter(self._settings.backoff))
        if self.halt.is_set():
            raise Halted
        body = self._body(ask, draw)
        dearest = most(body["messages"], json.dumps(body.get("response_format", "")), ask.max_tokens)
        await self._admitted(dearest)
        self._ledger.retries += again
        begun, reply = time.monotonic(), None
        try:
            reply = await self._send(body)
            self._understood = True
            return self._cache.put(key, self._settings.model, reply)
        except (Fault, GaveUp, Refitted) as fault:
            self._note(ask, draw, "endpoint", time.monotonic() - begun, body["messages"], None, str(fault))
            raise
        finally:
            self._ledger.end(dearest, ask, reply)
            if reply is not None:
                self._note(ask, draw, "endpoint", time.monotonic() - begun, body["messages"], reply)
            async with self._over:
                self._over.notify_all()

    async def _admitted(self, dearest: Any) -> None:
        """Wait until the budget takes the call, which it may when cheaper calls than feared have ended."""
        async with self._over:
            await self._over.wait_for(lambda: self._ledger.admits(dearest) or not self._ledger.busy)
            if not self._ledger.admits(dearest):
                raise GaveUp("budget")
            self._ledger.begin(dearest)

    def _body(self, ask: Ask, draw: int) -> dict[str, Any]:
        """The request as this endpoint takes it."""
        wanted = logical(ask, draw, self._settings)
        body = {name: wanted[name] for name in ("model", "messages", "temperature", "seed") if wanted[name] is not None}
        body[self._manners.limit] = ask.max_tokens
        if ask.schema and self._manners.structured:
            schema = {"name": ask.schema["title"], "strict": True, "schema": ask.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif ask.schema:
            *before, last = body["messages"]
            text = last["content"] + IN_PROSE.format(schema=json.dumps(ask.schema))
            body["messages"] = [*before, {**last, "content": text}]
        return body

    async def _send(self, body: dict[str, Any]) -> Reply:
        """One call, its errors sorted by what is to be done."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        create = next(self._turns).chat.completions.with_raw_response.create
        try:
            # As extra_body it goes out as it is; the client's walk over typed arguments would cost as much as the call.
            sent = create(model=self._settings.model, messages=[], extra_body=body)
            answer = await asyncio.wait_for(sent, self._settings.timeout)
            self._reached = True
            return read_completion(answer.http_response.text, self._endpoint.clean)
        except (APITimeoutError, asyncio.TimeoutError):
            raise Fault("timed out") from None
        except APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            raise Fault(f"failed: {cause} in the connection", reached=cause != "ConnectError") from None
        except APIStatusError as error:
            self._reached = True
            raise await self._sorted(error, body) from None
        except Incompatible as error:
            if self._understood:
                raise Fault(f"failed: no chat completion but {error}") from None
            raise refusals.incompatible(self._endpoint, self._settings.model, str(error)) from None

    async def _sorted(self, error: Any, body: dict[str, Any]) -> Exception:
        fitted = ("response_format" in body, "max_tokens" in body)
        found = refusals.sort(error, self._endpoint, fitted)
        if isinstance(found, Refitted):
            if str(found) == "response_format":
                self._manners.structured = False
            else:
                self._manners.limit = "max_completion_tokens"
        return found or await refusals.permanent(error, self._endpoint, self._settings.model, self._clients[0])

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless everything is halted meanwhile."""
        try:
            await asyncio.wait_for(self.halt.wait(), seconds)
        except asyncio.TimeoutError:
            return
        raise Halted

    def _note(
        self,
        ask: Ask,
        draw: int,
        source: str,
        seconds: float,
        messages: list[dict[str, str]],
        reply: Reply | None,
        fault: str | None = None,
    ) -> None:
        answer = None if reply is None else reply.to_dict()
        self._transcript.add(Exchange(ask.kind, ask.latent, draw, source, seconds, messages, answer, fault))
