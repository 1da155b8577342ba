"""The Hugging Face hub's client: its errors in words, and what it does where there is no network."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_PATIENCE = 10.0
"""Seconds in which the hub must answer."""
_AGAIN = 60.0
"""Seconds after which a hub that did not answer is asked again."""
_last: dict[str, tuple[float, str]] = {}
"""When each hub was asked, and why it could not be reached, "" where it could."""


def unreachable() -> str:
    """Why the hub cannot be reached, "" where it can: one request, as the client's own retries take half a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    asked, why = _last.get(constants.ENDPOINT, (-_AGAIN, "not asked yet"))
    if why and time.monotonic() - asked >= _AGAIN:
        try:
            get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
            why = ""
        except Exception as error:  # of whichever HTTP library the client uses
            why = " ".join(str(error).split()) or type(error).__name__
        _last[constants.ENDPOINT] = time.monotonic(), why
    return why


@contextmanager
def cache_alone() -> Iterator[None]:
    """The hub's client and the libraries on it take what the local cache has, as if HF_HUB_OFFLINE were set."""
    from huggingface_hub import constants

    with ExitStack() as stack:
        for module in (constants, sys.modules.get("datasets.config")):
            if module is not None:
                stack.callback(vars(module).update, HF_HUB_OFFLINE=module.HF_HUB_OFFLINE)
                vars(module).update(HF_HUB_OFFLINE=True)
        yield


@contextmanager
def asking(*, offline: bool = False) -> Iterator[None]:
    """Calls that may ask the hub; where it cannot be reached, or `offline`, the local cache answers at once."""
    if offline or unreachable():
        with cache_alone():
            yield
    else:
        yield


def failures() -> tuple[type[Exception], ...]:
    """What the hub's client raises, errors of the HTTP library beneath it included (without a network)."""
    from huggingface_hub.errors import HfHubHTTPError

    beneath = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError" and issubclass(kind, Exception)]
    return (HfHubHTTPError, OSError, ValueError, *beneath)


def reason(error: Exception, *, offline: bool = False) -> str:
    """Why the hub, or the cache in its place, gave nothing, on one line and as a sentence."""
    from huggingface_hub.errors import HfHubHTTPError

    if _absent(error):
        if offline:
            return "--offline was given and it is not in the local cache."
        if why := unreachable():
            return f"the hub cannot be reached ({why.rstrip('.')}) and it is not in the local cache."
    said = str(error).strip() or type(error).__name__
    said = " ".join(said.split() if isinstance(error, HfHubHTTPError) else said.split("\n")[0].split())
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _absent(error: BaseException | None) -> bool:
    """Whether an error, or one it was raised for, is that nobody was asked or nobody answered."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    while error is not None:
        if isinstance(error, (LocalEntryNotFoundError, ConnectionError)):
            return True
        if isinstance(error, failures()) and not isinstance(error, (OSError, ValueError, HfHubHTTPError)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
