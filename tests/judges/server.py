"""A server on this machine that speaks chat completions over real sockets, with a scripted judge and faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Canned:
    """An answer as it goes over the wire.

    Attributes:
        body: A JSON value, or text as it is.
        status: HTTP status.
        headers: Further headers.
        delay: Seconds before it is sent.
        cut: Bytes of the body after which the connection breaks; None for none.
        hang: Never answer.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    hang: bool = False


@dataclass(frozen=True)
class Request:
    """What arrived: the JSON body, the headers, and when; `number` counts completions asked for, from 0."""

    number: int
    body: dict[str, Any]
    headers: dict[str, str]
    time: float


Brain = Callable[[Request], "Canned | str"]


def completion(content: str | None, *, refusal: str | None = None, finish: str = "stop", usage: bool = True) -> Any:
    """A chat completion; tokens are counted as words."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    value: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if usage:
        value["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return value


def failure(status: int, message: str, code: str | None = None, **headers: str) -> Canned:
    """An error as OpenAI writes it; underscores in headers stand for hyphens."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Canned(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class JudgeServer:
    """Serves from a thread of its own while a `with` lasts.

    Args:
        brain: What to answer: text of a completion, or something canned.
        latency: Seconds before every answer, or a function of the request.
        models: Names that `/models` lists; None for an endpoint that does not list any.

    Attributes:
        requests: Completions asked for.
        paid: How often each request was answered with a completion, by model, messages and seed.
        together: Most requests under way at a time.
    """

    def __init__(
        self,
        brain: Brain,
        latency: float | Callable[[Request], float] = 0.0,
        models: tuple[str, ...] | None = ("judge", "judge-mini"),
    ) -> None:
        self.brain, self.latency, self.models = brain, latency, models
        self.requests: list[Request] = []
        self.paid: Counter[str] = Counter()
        self.together = self._now = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._client, "127.0.0.1", 0, backlog=512))
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.partition(": ") for line in head[1:] if line)
                headers = {name.lower(): value for name, _, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(head[0].split()[1], headers, body, writer):
                    break
        writer.transport.abort()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection lives on."""
        if not path.endswith("/v1/chat/completions"):
            return await self._send(self._listing(path), writer)
        request = Request(len(self.requests), json.loads(body), headers, time.monotonic())
        self.requests.append(request)
        self._now += 1
        self.together = max(self.together, self._now)
        try:
            canned = self.brain(request)
            if isinstance(canned, str):
                canned = Canned(completion(canned))
            await asyncio.sleep(self.latency(request) if callable(self.latency) else self.latency)
            if canned.status == 200 and canned.cut is None and not canned.hang:
                self.paid[identity(request)] += 1
            return await self._send(canned, writer)
        finally:
            self._now -= 1

    def _listing(self, path: str) -> Canned:
        if path.endswith("/v1/models") and self.models is not None:
            data = [{"id": name, "object": "model", "created": 1, "owned_by": "t"} for name in self.models]
            return Canned({"object": "list", "data": data})
        return Canned({"detail": "Not Found"}, 404)

    async def _send(self, canned: Canned, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(3600 if canned.hang else canned.delay)
        text = canned.body if isinstance(canned.body, str) else json.dumps(canned.body)
        data = text.encode()
        kind = "application/json" if text.startswith("{") else "text/html"
        named = {"content-type": kind, "content-length": str(len(data)), **canned.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        writer.write(f"HTTP/1.1 {canned.status} X\r\n{lines}\r\n".encode() + data[: canned.cut])
        await writer.drain()
        return canned.cut is None


def identity(request: Request) -> str:
    """What makes a request the same as another one, to a payer."""
    return json.dumps([request.body[name] for name in ("model", "messages")] + [request.body.get("seed")])
