"""A board's site at an address of this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from saebench.errors import UserError


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def site_folder(folder: Path) -> Path:
    """The folder with the pages: the one given, or the `site` in it.

    Raises:
        UserError: There is no site in it.
    """
    for place in (folder, folder / "site", folder / "board" / "site"):
        if (place / "index.html").is_file() and (place / "data" / "board.js").is_file():
            return place
    raise UserError(f"No site in {str(folder)!r}: write one with `saebench leaderboard build ROWS --out {folder}`.")


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the site that answers this machine alone; the caller runs and closes it.

    Raises:
        UserError: No site, or the port is taken.
    """
    place = site_folder(folder)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(place)))
    except OSError as error:
        raise UserError(f"Port {port} cannot be had: {error.strerror}. Give another, or --port 0.") from error


def serve(folder: Path, port: int = 8000, say: Callable[[str], Any] = print) -> None:
    """Serve the site until interrupted."""
    with server(folder, port) as running:
        say(f"http://127.0.0.1:{running.server_port}/ (Ctrl-C ends it)")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            say("")
