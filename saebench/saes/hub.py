"""Checkpoints on the Hugging Face hub: `hf:OWNER/REPO[/PATH][@REV]`."""

from __future__ import annotations

from pathlib import Path

from saebench.errors import UserError, hub_failures
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
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, path, revision = split(ref)
    wanted = _wanted(path)
    try:
        root = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=offline))
    except LocalEntryNotFoundError as error:
        why = "it is not in the local cache and offline is set" if offline else "the hub cannot be reached"
        raise UserError(f"Cannot get hf:{ref}: {why}. Fetch it once with a network, or give a local path.") from error
    except hub_failures() as error:
        raise UserError(
            f"Cannot get hf:{ref}: {first_line(error)}. Check the name, and `hf auth login` if it is private."
        ) from error
    found = root / path if path else root
    if not found.exists():
        raise UserError(f"hf:{ref}: repository {repo} has no {path!r} with a configuration or weights in it.")
    return found, root.name
