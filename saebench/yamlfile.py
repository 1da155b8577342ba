"""YAML files a user writes: read safely, and said what is wrong with them in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from saebench.errors import UserError, nearest

if TYPE_CHECKING:
    from pydantic import ValidationError


def read_yaml(path: Path, what: str) -> Any:
    """The contents of a YAML file.

    Args:
        path: The file.
        what: What it is to the user, such as "Suite file".

    Raises:
        UserError: It cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{what} {str(path)!r} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{what} {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error


def read_keys(path: Path, what: str, example: str) -> dict[str, Any]:
    """The contents of a YAML file that must hold keys.

    Raises:
        UserError: As `read_yaml`, or the file holds something else than keys.
    """
    raw = read_yaml(path, what)
    if not isinstance(raw, dict):
        raise UserError(f"{what} {str(path)!r} must hold keys such as `{example}:`, not a {type(raw).__name__}.")
    return raw


def invalid(
    error: ValidationError, where: str, known: Callable[[list[str]], Iterable[str]], above: Sequence[str] = ()
) -> UserError:
    """What pydantic complains of first as a sentence; an unknown key goes before a missing one, which it may stand for.

    Args:
        error: What pydantic raised.
        where: The file, or what stands for it.
        known: From the keys above an unknown one to those that may stand there.
        above: Keys above what was validated.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = [*above, *(str(part) for part in first["loc"])]
    if first["type"] == "extra_forbidden":
        return UserError(f"Unknown key {'.'.join(place)!r} in {where}. {nearest(place[-1], known(place[:-1]))}")
    if first["type"] == "missing":
        return UserError(f"Key {'.'.join(place)!r} is missing in {where}: add it.")
    return UserError(f"Key {'.'.join(place)!r} in {where}: {first['msg']} (got {first.get('input')!r}).")
