"""Whether models, SAEs and datasets are in the local caches, and how each gets there."""

from __future__ import annotations

from pathlib import Path

from saebench import hub
from saebench.data.hub_data import snapshot_folder, whole
from saebench.errors import UserError

_WEIGHTS = ("*.safetensors", "*.bin")
_BESIDES = ("*.json", "*.txt", "*.model", "*.jinja")


def has_model(reference: str, revision: str | None) -> bool:
    """Whether a model's configuration and all of its weights are there."""
    folder = snapshot_folder(reference, "model", revision)
    if folder is None or not (folder / "config.json").is_file():
        return False
    return any(whole(folder.glob(pattern)) for pattern in _WEIGHTS)


def get_model(reference: str, revision: str | None) -> None:
    """Get a model's configuration, tokenizer and weights.

    Raises:
        UserError: No such model, no access, or no network.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        with hub.asking():
            names = HfApi().list_repo_files(reference, revision=revision)
            weights = next((pattern for pattern in _WEIGHTS if any(Path(n).match(pattern) for n in names)), _WEIGHTS[0])
            snapshot_download(reference, revision=revision, allow_patterns=[*_BESIDES, weights])
    except hub.failures() as error:
        raise UserError(
            f"Cannot get model {reference!r}: {hub.reason(error)} Check the name, and `hf auth login` if it is gated."
        ) from error


def has_sae(reference: str) -> bool:
    """Whether the files of `hf:` or `saelens:` are there."""
    from saebench.saes import hub as saes_on_hub

    scheme, _, rest = reference.partition(":")
    try:
        if scheme == "hf":
            return saes_on_hub.fetch(rest, offline=True)[0].exists()
        return _saelens_folder(rest) is not None
    except UserError:
        return False


def get_sae(reference: str) -> None:
    """Get the files of `hf:` or `saelens:`.

    Raises:
        UserError: No such SAE, no access, or no network.
    """
    from saebench.saes import hub as saes_on_hub
    from saebench.saes import saelens

    scheme, _, rest = reference.partition(":")
    if scheme == "hf":
        saes_on_hub.fetch(rest)
    else:
        release, _, sae_id = rest.partition("/")
        saelens.from_release(release, sae_id)


def _saelens_folder(reference: str) -> Path | None:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    release, _, sae_id = reference.partition("/")
    known = get_pretrained_saes_directory().get(release)
    if known is None or sae_id not in known.saes_map:
        return None
    folder = snapshot_folder(known.repo_id, "model", None)
    found = folder / known.saes_map[sae_id] if folder else None
    return found if found is not None and found.exists() else None


def has_by_library(reference: str, config: str | None) -> bool:
    """Whether the library `datasets` has prepared a configuration before."""
    from datasets.config import HF_DATASETS_CACHE

    owner, _, name = reference.removeprefix("hf:").partition("/")
    return any((Path(HF_DATASETS_CACHE) / f"{owner}___{name}" / str(config)).rglob("*.arrow"))


def get_by_library(reference: str, config: str | None, split: str | None, revision: str | None) -> None:
    """Have the library `datasets` prepare a configuration.

    Raises:
        UserError: No such dataset or configuration, no access, or no network.
    """
    import datasets

    try:
        with hub.asking():
            datasets.load_dataset(reference.removeprefix("hf:"), config, split=split, revision=revision)
    except hub.failures() as error:
        raise UserError(f"Data {reference!r} ({config}) cannot be read from the hub: {hub.reason(error)}") from error


def install() -> None:
    """Install the package that holds the sae-probes datasets, and nothing that it asks for.

    Raises:
        UserError: pip failed; the message has its last line.
    """
    import subprocess
    import sys

    from saebench.data.labelled_sae_probes import INSTALL

    done = subprocess.run([sys.executable, "-m", *INSTALL.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UserError(f"`{INSTALL}` failed: {lines[-1] if lines else done.returncode}.")
