"""Rows to and from a dataset on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from saebench import hub
from saebench.errors import UserError
from saebench.leaderboard.build import slug
from saebench.results import Results, Row, Store, read_rows

FOLDER = "rows"
"""Folder of the dataset that holds the rows, a file a SAE and push."""


def push(
    rows: str | Path | Results,
    repo: str,
    *,
    pull_request: bool = False,
    private: bool = False,
    sums: bool = False,
    message: str = "",
) -> list[str]:
    """Add rows to a hub dataset; it is made if it does not exist.

    Every push writes files of its own, named by SAE and contents, in one commit: nothing that is there is changed, two
    people may push at once, and pushing the same rows again changes nothing.

    Args:
        rows: A run folder, a `.jsonl` file or a `Results`.
        repo: `OWNER/NAME` of the dataset.
        pull_request: Offer the rows as a pull request, to a dataset that is someone else's.
        private: Make a new dataset private.
        sums: Keep the sums per unit, which paired tests need; ten to a hundred times the size.
        message: Title of the commit.

    Returns:
        The files by their path in the dataset.

    Raises:
        UserError: No rows, a name that is none, or a hub that refuses; the reason is the hub's.
    """
    _check(repo)
    results = rows if isinstance(rows, Results) else Results.load(rows)
    if not len(results):
        raise UserError("There are no rows to push.")
    files = _files(results.rows if sums else [row.without_sums() for row in results])
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        if not pull_request:
            api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        api.create_commit(
            repo,
            [CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=message or f"Add {len(results)} rows of {len({row.sae for row in results})} SAEs",
            repo_type="dataset",
            create_pr=pull_request,
        )
    except hub.failures() as error:
        raise UserError(f"Cannot push to the dataset {repo!r}: {hub.reason(error)}") from error
    return list(files)


def pull(repo: str, out: str | os.PathLike[str] | None = None, *, revision: str | None = None) -> Results:
    """The rows of a hub dataset, the latest of each measurement.

    Args:
        repo: `OWNER/NAME` of the dataset.
        out: Folder or `.jsonl` file that they are added to.
        revision: Branch, tag or commit.

    Raises:
        UserError: No such dataset, or none with rows; the reason is the hub's.
    """
    _check(repo)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=[f"{FOLDER}/*.jsonl"])
    except hub.failures() as error:
        raise UserError(f"Cannot pull the dataset {repo!r}: {hub.reason(error)}") from error
    files = sorted(Path(folder).glob(f"{FOLDER}/*.jsonl"))
    if not files:
        raise UserError(f"Dataset {repo!r} holds no {FOLDER}/*.jsonl. Rows come there by: saebench leaderboard push.")
    results = Results(sorted(_read(files), key=lambda row: row.created))
    if out is not None:
        place = Store(out)
        known = {row.key: row for row in place.rows()}
        place.append(row for row in results if _newer(row, known.get(row.key)))
    return results


def _check(repo: str) -> None:
    owner, slash, name = repo.partition("/")
    if not (owner and slash and name) or "/" in name or ":" in repo:
        raise UserError(f"{repo!r} is no dataset of the hub. Write OWNER/NAME.")


def _files(rows: Sequence[Row]) -> dict[str, bytes]:
    """One file a SAE, model and hook; equal rows give equal names."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row.model, row.hook_out, row.sae), []).append(row.to_json())
    files: dict[str, bytes] = {}
    for (_, _, sae), lines in groups.items():
        content = "".join(f"{line}\n" for line in sorted(lines)).encode("utf-8")
        files[f"{FOLDER}/{slug(sae)}-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"] = content
    return files


def _read(files: Iterable[Path]) -> list[Row]:
    """The rows of all files; a file of a later saebench is left out with a warning."""
    rows: list[Row] = []
    for file in files:
        try:
            rows += read_rows(file)
        except UserError as error:
            warnings.warn(f"{file.name} is left out: {error}", stacklevel=3)
    return rows


def _newer(row: Row, known: Any) -> bool:
    """Whether a pulled row says something that the store does not; a store's own sums are never lost to it."""
    return known is None or (row != known and row.created > known.created)
