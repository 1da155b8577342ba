"""Checkpoints on the Hugging Face hub: `hf:OWNER/REPO[/PATH][@REV]`."""

from __future__ import annotations

from pathlib import Path

from saebench import hub
from saebench.errors import UserError
from saebench.saes.files import first_line

CONFIGURATIONS = ("*.json", "*.yaml")
PATTERNS = ("*.json", "*.yaml", "*.safetensors", "*.npz", "*.pt", "*.pth", "*.bin")
"""What is fetched of a folder: configurations and weights."""
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".bin")


def split(ref: str) -> tuple[str, str, str | None]:
    """Repository, path inside it and revision of a reference without its `hf:`.

    Raises:
        UserError: No owner or no repository.
    """
    rest, _, revision = ref.partition("@")
    parts = rest.strip("/").split("/")
    if len(parts) < 2 or not all(parts) or ".." in parts:
        raise UserError(f"hf:{ref}: write hf:OWNER/REPO, with /PATH and @REVISION if needed.")
    return "/".join(parts[:2]), "/".join(parts[2:]), revision or None


def _wanted(path: str) -> list[str]:
    """Patterns of what is fetched: a folder's files, or one file with the configurations beside and above it."""
    if not path:
        return list(PATTERNS)
    wanted = [path, *(f"{path}/{pattern}" for pattern in PATTERNS)]
    if Path(path).suffix in WEIGHTS:
        folders = [folder for folder in Path(path).parents][:2]
        wanted += [(folder / pattern).as_posix() for folder in folders for pattern in CONFIGURATIONS]
    return wanted


def fetch(ref: str, *, offline: bool = False) -> tuple[Path, str]:
    """Local folder or file of a hub reference, and the commit it was resolved to.

    Only the named folder is fetched. `HF_HUB_OFFLINE` and the cache are honoured.

    Raises:
        UserError: No such repository or path, no access, no network, or not in the cache when offline.
    """
    from huggingface_hub import snapshot_download

    repo, path, revision = split(ref)
    wanted = _wanted(path)
    try:
        with hub.asking(offline=offline):
            root = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=offline))
    except hub.failures() as error:
        raise UserError(f"Cannot get hf:{ref}: {_why(error, repo, revision, offline=offline)}.") from error
    found = root / path if path else root
    if not found.exists():
        raise UserError(f"hf:{ref}: repository {repo} has no {path!r} with a configuration or weights in it.")
    return found, root.name


def _why(error: Exception, repo: str, revision: str | None, *, offline: bool) -> str:
    """What stands between here and a repository, and what can be done."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"{repo} is gated. Accept its terms on its page at the hub, and log in by `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no repository {repo}, or it is private. Check the name, or log in by `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}. Name one of its branches, tags or commits"
    if not isinstance(error, LocalEntryNotFoundError):
        return first_line(error)
    status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
    if status is not None:
        return f"the hub refuses, with status {status}. Try again later, or give a local path"
    absent = "it is not in the local cache and offline is set"
    why = absent if offline or HF_HUB_OFFLINE else "the hub cannot be reached"
    return f"{why}. Fetch it once with a network, or give a local path"
