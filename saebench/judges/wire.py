"""One call over the wire: the request as the endpoint takes it, and its answer or what is wrong with it."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saebench.judges import refusals
from saebench.judges.completion import Reply, read_completion
from saebench.judges.endpoint import Endpoint
from saebench.judges.faults import Fault, Incompatible, Refitted
from saebench.judges.settings import Settings
from saebench.judges.wording import IN_PROSE

if TYPE_CHECKING:
    from openai import APIStatusError

_POOL = 16
"""Connections a pool: the HTTP library looks at each of a pool's at every call, so small pools keep that cheap."""

_POOL_NEAR = 4
"""The same for an endpoint on this machine, where a pool needs no certificates and costs nothing."""


@dataclass
class Manners:
    """What an endpoint has shown to take; learned once for all batches.

    Attributes:
        structured: Takes `response_format`; else the schema is part of the question.
        limit: What it calls the longest reply.
    """

    structured: bool = True
    limit: str = "max_tokens"


class Wire:
    """Sends requests through the official client, in one event loop.

    Attributes:
        reached: Whether the endpoint has answered at all.
        understood: Whether it has answered with a chat completion.
    """

    def __init__(self, settings: Settings, endpoint: Endpoint, manners: Manners) -> None:
        self._model, self._timeout = settings.model, settings.timeout
        self._endpoint, self._manners = endpoint, manners
        pools = max(1, settings.concurrency // (_POOL_NEAR if endpoint.loopback else _POOL))
        self._clients = [endpoint.client(settings.timeout) for _ in range(pools)]
        self._turns = itertools.cycle(self._clients)
        self.reached = self.understood = False

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()

    def fitted(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request as this endpoint takes it."""
        body = {
            name: request[name] for name in ("model", "messages", "temperature", "seed") if request[name] is not None
        }
        body[self._manners.limit] = request["max_tokens"]
        schema = request["schema"]
        if schema and self._manners.structured:
            strict = {"name": schema["title"], "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": strict}
        elif schema:
            *before, last = body["messages"]
            text = last["content"] + IN_PROSE.format(schema=json.dumps(schema))
            body["messages"] = [*before, {**last, "content": text}]
        return body

    async def send(self, body: dict[str, Any]) -> Reply:
        """One call.

        Raises:
            Fault: What may pass.
            Refitted: The endpoint does not take a field; `fitted` will give it another request.
            GaveUp: This question is refused.
            UserError: What will not pass.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        # Not chat.completions.create: its walk over the types of request and reply is a good part of what a call costs.
        sent = next(self._turns).post("/chat/completions", cast_to=str, body=body)
        try:
            answer = await asyncio.wait_for(sent, self._timeout)
            self.reached = True
            reply = read_completion(answer, self._endpoint.clean)
            self.understood = True
            return reply
        except (APITimeoutError, asyncio.TimeoutError):
            raise Fault("timed out") from None
        except APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            raise Fault(f"failed: {cause} in the connection", reached=cause != "ConnectError") from None
        except APIStatusError as error:
            self.reached = True
            raise await self._sorted(error, body) from None
        except Incompatible as error:
            if self.understood:
                raise Fault(f"failed: no chat completion but {error}") from None
            raise refusals.incompatible(self._endpoint, self._model, str(error)) from None

    async def _sorted(self, error: APIStatusError, body: dict[str, Any]) -> Exception:
        found = refusals.sort(error, self._endpoint, ("response_format" in body, "max_tokens" in body))
        if isinstance(found, Refitted):
            if str(found) == "response_format":
                self._manners.structured = False
            else:
                self._manners.limit = "max_completion_tokens"
        return found or await refusals.permanent(error, self._endpoint, self._model, self._clients[0])
