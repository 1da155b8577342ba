"""A hub of its own on the loopback: datasets and models from memory, spoken to by the real client."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import huggingface_hub
import pytest

COMMIT = "c0ffee" * 6 + "abcd"


class _Handler(BaseHTTPRequestHandler):
    repos: dict[str, Any]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        """What a push asks: make a repository, how files are to be sent, and the commit with their contents."""
        path = self.path.partition("?")[0].strip("/")
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(path)
        _, kind, owner, name, verb, *_ = [*path.split("/"), "", "", ""]
        if path == "api/repos/create":
            made = json.loads(content)
            self.repos.setdefault(f"{made['type']}s/{made['organization']}/{made['name']}", {})
            url = f"{huggingface_hub.constants.ENDPOINT}/{made['type']}s/{made['organization']}/{made['name']}"
            self._send(200, json.dumps({"url": url}).encode(), {}, body=True)
        elif f"{kind}/{owner}/{name}" not in self.repos:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=True)
        elif verb == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(content)["files"]
            ]
            self._send(200, json.dumps({"files": files}).encode(), {}, body=True)
        else:
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    self.repos[f"{kind}/{owner}/{name}"][line["value"]["path"]] = b64decode(line["value"]["content"])
            url = f"{huggingface_hub.constants.ENDPOINT}/{kind}/{owner}/{name}/commit/{COMMIT}"
            done = {"commitUrl": url, "commitOid": COMMIT, "hookOutput": ""}
            self._send(200, json.dumps(done).encode(), {}, body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.asked.append(path)
        api = path.startswith("api/")
        kind, _, rest = (path.removeprefix("api/") + "/").partition("/")
        if kind not in ("datasets", "models"):
            kind, rest = "models", path + "/"
        owner, name, verb, revision, *inner = [*rest.split("/"), "", "", ""]
        files = self.repos.get(f"{kind}/{owner}/{name}")
        commit = revision if len(revision) == 40 else COMMIT
        file = "/".join(inner).strip("/")
        if isinstance(files, tuple):
            self._send(files[0], b"{}", {"X-Error-Code": files[1], "X-Error-Message": files[2]}, body)
        elif files is None or (verb == "resolve" and file not in files):
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound" if files is None else "EntryNotFound"}, body)
        elif verb == "resolve":
            etag = hashlib.sha1(files[file]).hexdigest()
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            content = files[file][int(part[1]) : int(part[2]) + 1] if part else files[file]
            self._send(206 if part else 200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, body)
        elif api and verb == "tree":
            listed = [
                {"type": "file", "path": f, "size": len(x), "oid": hashlib.sha1(x).hexdigest()}
                for f, x in files.items()
            ]
            self._send(200, json.dumps(listed).encode(), {}, body)
        else:
            siblings = [{"rfilename": f} for f in files]
            info = {"id": f"{owner}/{name}", "sha": commit, "siblings": siblings, "private": False, "tags": []}
            self._send(200, json.dumps(info).encode(), {}, body)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def serving(repos: Mapping[str, Mapping[str, bytes] | tuple[int, str, str]]) -> Iterator[list[str]]:
    """Serve `datasets/OWNER/NAME` and `models/OWNER/NAME`; yields the paths that are asked for.

    A repository is its files by path, or the status, code and message with which it is refused.
    """
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"repos": repos, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(huggingface_hub.constants, "ENDPOINT", address)
            template = address + "/{repo_id}/resolve/{revision}/{filename}"
            patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            yield asked
    finally:
        server.shutdown()
        server.server_close()
