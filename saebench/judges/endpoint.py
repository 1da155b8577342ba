"""Where a judge is reached, and with which key; the key leaves this file only inside a request."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from saebench.errors import UserError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY, URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
DEFAULT_URL = "https://api.openai.com/v1"

_SHORTEST_SECRET = 8
"""Shorter keys are placeholders such as `EMPTY`, words that a reply may hold."""

_LIKE_A_KEY = re.compile(r"\bsk-[\w*.-]{4,}")


@dataclass(frozen=True)
class Endpoint:
    """An address and the key for it."""

    url: str = field(repr=False)
    _key: str | None = field(repr=False)

    @classmethod
    def named(cls, base_url: str | None) -> Endpoint:
        """The endpoint by argument or environment; the key, if there is one, by environment only.

        Raises:
            UserError: The address is none.
        """
        url = base_url or os.environ.get(URL) or DEFAULT_URL
        try:
            scheme, host, _ = urlsplit(url).scheme, urlsplit(url).hostname, urlsplit(url).port
        except ValueError:
            scheme, host = "", None
        if scheme not in ("http", "https") or not host:
            raise UserError(f"The judge's base_url (or {URL}) is no address such as http://localhost:8000/v1.")
        return cls(url, _key())

    @classmethod
    def found(cls, base_url: str | None) -> Endpoint:
        """The same where it can be asked.

        Raises:
            UserError: The address is none, or there is no key for an endpoint elsewhere.
        """
        endpoint = cls.named(base_url)
        if endpoint._key is None and not endpoint.loopback:
            raise UserError(
                f"The judge at {endpoint.host} needs a key: set the environment variable {KEY} (to any word, where the "
                "endpoint asks for none). Without a key or a network, use the judge 'ngram'."
            )
        return endpoint

    @property
    def host(self) -> str:
        """Host and port, without what the address may hold besides."""
        parts = urlsplit(self.url)
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return f"{name}:{parts.port}" if parts.port else name

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine."""
        name = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name == "localhost" or name.endswith(".localhost")

    def clean(self, text: str) -> str:
        """The text without the key, should an endpoint have echoed it."""
        for secret in (self._key, urlsplit(self.url).password):
            if secret and len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "[key]")
        return text

    def clean_error(self, text: str) -> str:
        """The same for an error, where anything that looks like a part of a key goes too."""
        return _LIKE_A_KEY.sub("[key]", self.clean(text))

    def client(self, timeout: float) -> AsyncOpenAI:
        """The official client, its own retries off; for an endpoint on this machine, without proxy and certificates."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        plain = self.loopback and urlsplit(self.url).scheme == "http"
        http = DefaultAsyncHttpxClient(trust_env=not self.loopback, verify=not plain, timeout=timeout)
        return AsyncOpenAI(
            api_key=self._key or "none", base_url=self.url, timeout=timeout, max_retries=0, http_client=http
        )


def _key() -> str | None:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"The environment variable {KEY} holds characters that no key has.")
    return key or None
