"""The hub is asked once; where it cannot be reached, its client takes what is cached, and at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from saebench import hub


class _Counting(BaseHTTPRequestHandler):
    asked = 0

    def do_HEAD(self) -> None:
        type(self).asked += 1
        self.send_response(404)  # whatever it says, it is there
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_last", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Counting]]:
    _Counting.asked = 0
    loop = HTTPServer(("127.0.0.1", 0), _Counting)
    threading.Thread(target=loop.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{loop.server_port}")
    yield _Counting
    loop.shutdown()


def test_a_hub_that_answers_is_asked_once(server: type[_Counting]) -> None:
    for _ in range(3):
        with hub.asking():
            assert not constants.HF_HUB_OFFLINE
    assert server.asked == 1
    assert hub.reason(ValueError("no such thing\nand more")) == "no such thing."


def test_without_a_hub_the_cache_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(hub.failures()) as stop, hub.asking():
        snapshot_download("nobody/nothing")
    assert time.monotonic() - began < 5, "the client's own retries take three times as long"
    assert "the hub cannot be reached (" in hub.reason(stop.value)
    assert not constants.HF_HUB_OFFLINE, "as it was before"


def test_what_is_cached_and_broken_is_not_called_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a network the error itself is told, unless it is that nobody was asked or answered."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    broken = ValueError("unknown model type 'x'.\nOne of: many")
    assert hub.reason(broken) == hub.reason(broken, offline=True) == "unknown model type 'x'."
    wrapped = OSError("cannot find it")
    wrapped.__cause__ = LocalEntryNotFoundError("not here")
    assert "not in the local cache" in hub.reason(wrapped)


def test_offline_asks_nobody(server: type[_Counting]) -> None:
    with pytest.raises(hub.failures()) as stop, hub.asking(offline=True):
        snapshot_download("nobody/nothing")
    assert server.asked == 0
    assert hub.reason(stop.value, offline=True).startswith("--offline was given")
