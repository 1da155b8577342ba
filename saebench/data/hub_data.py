"""Datasets on the hub: downloaded once, and found again without a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from saebench import hub
from saebench.data.hub_layout import is_table, split_of, tables
from saebench.data.tables import TABLES
from saebench.errors import UserError

_NOTHING = ["*/nothing/is/called/this/*"]
"""Patterns that match no file: the client then asks for the folder alone, not for all that the hub has."""


class HubFiles(NamedTuple):
    """Files of a dataset on the hub.

    Attributes:
        repo: `OWNER/NAME`.
        patterns: Paths or globs, each of which must be there; empty for all tables.
        revision: Commit, branch or tag; None for `main`.
    """

    repo: str
    patterns: tuple[str, ...] = ()
    revision: str | None = None

    @property
    def reference(self) -> str:
        """`hf:OWNER/NAME[@REVISION]`."""
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse(reference: str, config: str | None = None) -> HubFiles:
    """Files of `hf:OWNER/NAME[@REVISION]`.

    Raises:
        UserError: Not of that form.
    """
    repo, _, revision = reference.removeprefix("hf:").partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UserError(f"{reference!r} is no dataset on the hub: write hf:OWNER/NAME, with @REVISION if needed.")
    return HubFiles(repo, (f"*{config}*",) if config else (), revision or None)


def cached(files: HubFiles) -> Path | None:
    """The folder of a dataset in the local cache; None where a file of it is missing. Uses no network."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(files, local=True)
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    patterns = files.patterns or ("*",)
    return folder if all(_whole(folder, pattern) for pattern in patterns) else None


def download(files: HubFiles, *, offline: bool = False) -> Path:
    """The folder of a dataset; downloaded where the cache has not got it.

    Raises:
        UserError: No such dataset, no access, no network, or `offline` and not in the cache.
    """

    found = cached(files)
    if found is not None:
        return found
    what = f"Data {files.reference!r} cannot be read from the hub"
    instead = "`saebench fetch SUITE` gets what a suite needs; or pass a folder that holds its files."
    if offline:
        raise UserError(f"{what}: --offline was given and it is not in the local cache. {instead}")
    try:
        with hub.asking():
            folder = _snapshot(files, local=False)
    except hub.failures() as error:
        raise UserError(f"{what}: {hub.reason(error)} {instead}") from error
    for pattern in files.patterns or ("*",):
        if not _whole(folder, pattern):
            raise UserError(f"{what}: it holds no table {pattern!r}.")
    return folder


def _snapshot(files: HubFiles, *, local: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*files.patterns] or [f"*{suffix}" for suffix in TABLES]
    folder = snapshot_download(
        files.repo,
        repo_type="dataset",
        revision=files.revision,
        allow_patterns=[*patterns, "README.md"],
        local_files_only=local,
    )
    return Path(folder)


def _whole(folder: Path, pattern: str) -> bool:
    """Whether a pattern has a table, and all of them where their names count them and none is asked for alone."""
    found = [file for file in tables(folder) if fnmatch(file.relative_to(folder).as_posix(), pattern)]
    return bool(found) if re.search(r"\d-of-", pattern) else whole(found)


def whole(files: Iterable[Path]) -> bool:
    """Whether there are files, and all `-of-` as many as their names count."""
    found = list(files)
    counted = (re.search(r"(.*)-\d+-of-(\d+)", file.as_posix()) for file in found)
    families = Counter((match[1], int(match[2])) for match in counted if match)
    return bool(found) and all(count == total for (_, total), count in families.items())


def cached_split(reference: str, config: str | None, split: str) -> list[Path]:
    """Tables of one split of a dataset that lie in the local cache, perhaps not all that the hub has.

    They are the first ones, which is enough for texts that are read from the beginning until there are enough.
    """
    files = parse(reference)
    folder = snapshot_folder(files.repo, "dataset", files.revision)
    return in_split(tables(folder), folder, config, split) if folder else []


def snapshot_folder(repo: str, kind: str, revision: str | None) -> Path | None:
    """The folder of what was downloaded of a repository so far, however little; None where nothing was."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo, repo_type=kind, revision=revision, allow_patterns=_NOTHING, local_files_only=True
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return Path(found)


def download_first(reference: str, config: str | None, split: str) -> list[Path]:
    """Get the first table of one split of a dataset.

    Raises:
        UserError: No such dataset, configuration or split, no access, or no network.
    """
    from huggingface_hub import HfApi

    found = cached_split(reference, config, split)
    if found:
        return found
    files = parse(reference)
    try:
        with hub.asking():
            names = HfApi().list_repo_files(files.repo, repo_type="dataset", revision=files.revision)
    except hub.failures() as error:
        raise UserError(f"Data {reference!r} cannot be read from the hub: {hub.reason(error)}") from error
    there = in_split([Path(name) for name in sorted(names) if is_table(Path(name))], Path(), config, split)
    if not there:
        raise UserError(f"Data {reference!r} has no table of split {split!r}" + (f" of {config!r}." if config else "."))
    download(files._replace(patterns=(there[0].as_posix(),)))
    return cached_split(reference, config, split)


def in_split(paths: list[Path], root: Path, config: str | None, split: str) -> list[Path]:
    """The tables whose names say a split, in the folder of a configuration where one is named."""
    within = [path for path in paths if config is None or config in path.relative_to(root).parts[:-1]]
    return [path for path in within if split_of(path.relative_to(root)) == split]
