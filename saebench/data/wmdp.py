"""The corpora of the unlearning preset: the gated one to forget, in a local folder, and the one to retain."""

from __future__ import annotations

from pathlib import Path

from saebench.errors import UserError

REQUEST = "https://huggingface.co/datasets/cais/wmdp-bio-forget-corpus"
"""Where access is asked for; nobody may pass the corpus on."""
NAMES = ("bio-forget-corpus", "bio_forget_corpus", "bio-remove-dataset", "bio_remove_dataset")
"""Stems under which it was handed out over time."""
SUFFIXES = (".jsonl", ".parquet")
RETAIN = "hf:Salesforce/wikitext@b08601e04326c79dfdd32d625aee71d232d685c3"
RETAIN_CONFIG = "wikitext-2-raw-v1"
RETAIN_SPLIT = "test"
COLUMN = "text"


def forget_corpus(folder: str | Path) -> Path:
    """The file or folder that holds the corpus to forget, for the reader of texts (column `text`).

    It may be one file (`bio-forget-corpus.jsonl`, as it was first handed out) or the folder of Parquet files
    that the hub gives now, in `folder`, or be `folder` itself.

    Raises:
        UserError: It is not there; the message says what is missing, where to ask for it, and where to put it.
    """
    place = Path(folder)
    if place.is_file() and place.suffix in SUFFIXES:
        return place
    for name in NAMES:
        for suffix in SUFFIXES:
            if (place / f"{name}{suffix}").is_file():
                return place / f"{name}{suffix}"
        if any((place / name).rglob("*.parquet")):
            return place / name
    if place.is_dir() and any(found for at in ("", "data") for found in (place / at).glob("train-*.parquet")):
        return place
    lacks = f"holds no {NAMES[0]}.jsonl" if place.is_dir() else "does not exist"
    raise UserError(
        f"The WMDP-bio corpus to forget is missing: the folder {str(place)!r} {lacks}. It is gated: ask for it at "
        f"{REQUEST}, then put {NAMES[0]}.jsonl (rows with a column {COLUMN!r}) or the hub's train-*.parquet into "
        "that folder. Questions alone are not enough, since latents are chosen by how often they fire on this corpus."
    )
