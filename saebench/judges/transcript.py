"""Every question and reply of a judge in a file that can be read: Markdown, or JSON lines."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from saebench.errors import UserError


@dataclass(frozen=True)
class Exchange:
    """A question with its reply or with what went wrong.

    Attributes:
        kind: `explain`, `detection` or `fuzzing`.
        latent: Which latent it is about.
        draw: 0 for the first time the question is asked, more after unusable replies.
        source: `endpoint` or `cache`.
        seconds: How long the call took.
        messages: What was asked.
        reply: What was answered, None where a fault came instead.
        fault: What went wrong, None where nothing did.
    """

    kind: str
    latent: int
    draw: int
    source: str
    seconds: float
    messages: list[dict[str, str]]
    reply: dict[str, Any] | None = None
    fault: str | None = None


class Transcript:
    """Appends exchanges to a file, each in one write, so that several processes may share it.

    Open for as long as a `with` lasts; does nothing without a path.

    Raises:
        UserError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._file: int | None = None
        if path is None:
            return
        self._markdown = Path(path).suffix == ".md"
        try:
            place = Path(path).expanduser()
            place.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"Cannot write the judge's transcript to {str(path)!r}: {error.strerror}.") from error

    def __enter__(self) -> Transcript:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def add(self, exchange: Exchange) -> None:
        """Append one exchange."""
        if self._file is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = json.dumps({"time": now, **vars(exchange)}, ensure_ascii=False) + "\n"
        text = _markdown(exchange, now) if self._markdown else line
        os.write(self._file, text.encode("utf-8", "replace"))


def _markdown(exchange: Exchange, now: str) -> str:
    again = f", draw {exchange.draw + 1}" if exchange.draw else ""
    parts = [f"## Latent {exchange.latent}, {exchange.kind}{again}", f"{now}, {_cost(exchange)}"]
    for message in exchange.messages:
        parts += [f"**{message['role']}**", _fenced(message["content"])]
    reply = exchange.reply or {}
    said = reply.get("refusal") or reply.get("content") or ""
    parts += (
        [f"**reply** ({reply.get('finish')})", _fenced(said)] if exchange.reply else [f"**fault**: {exchange.fault}"]
    )
    return "\n\n".join(parts) + "\n\n"


def _cost(exchange: Exchange) -> str:
    reply = exchange.reply or {}
    tokens = f", {reply.get('prompt_tokens')} + {reply.get('completion_tokens')} tokens" if exchange.reply else ""
    return f"from the {exchange.source} in {exchange.seconds:.2f} s{tokens}"


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
