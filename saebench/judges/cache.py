"""Replies already paid for, in one file that survives a kill at any instant and serves several processes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from saebench.errors import UserError
from saebench.judges.completion import Reply

_PATIENCE = 30.0
"""Seconds to wait for another process that writes."""


class ReplyCache:
    """Replies by request; opened for as long as a `with` lasts.

    Each reply is one committed transaction of a write-ahead log: a kill loses none, half of one is never read. The
    file should lie on a local disk. The first reply to a request stays, whoever else asks the same.

    Raises:
        UserError: The file cannot be opened or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            self._write_ahead()
            self._database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, model TEXT, reply TEXT)")
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"Cannot keep the judge's replies in {str(path)!r}: {error}. Give another cache."
            ) from error

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def get(self, key: str) -> Reply | None:
        """The reply to a request, None where there is none yet."""
        found = self._database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return Reply(**json.loads(found[0])) if found else None

    def put(self, key: str, model: str, reply: Reply) -> Reply:
        """Keep a reply before anybody reads it; returns the one that is kept, which may be an earlier one."""
        row = (key, model, json.dumps(reply.to_dict()))
        added = self._database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", row).rowcount
        return reply if added else self.get(key) or reply

    def _write_ahead(self) -> None:
        """Two processes that make the file at once may find it locked in spite of the time-out."""
        for _ in range(100):
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                time.sleep(0.02)
        self._database.execute("PRAGMA synchronous = NORMAL")


def request_key(request: dict[str, Any]) -> str:
    """A hash of all that a request holds, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
