"""SAEs on a hub: fetched once, read from the cache without a network, and one sentence where the hub gives nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from safetensors.torch import save

from saebench.errors import UserError
from saebench.saes import load_sae
from tests.helpers.hub import COMMIT, serving
from tests.saes.checkpoints import config, weights

FILES = {"layer_1/cfg.json": json.dumps(config()).encode(), "layer_1/sae_weights.safetensors": save(weights()),
         "layer_2/cfg.json": b"{}", "README.md": b"not asked for"}  # fmt: skip
NO_SERVER = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    yield


def test_fetched_once_and_read_from_the_cache_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"models/me/saes": FILES}) as asked:
        coder = load_sae("hf:me/saes/layer_1@v2")
    assert coder.metadata["revision"] == COMMIT and coder.ref == "hf:me/saes/layer_1@v2"
    assert coder.name == "me/saes/layer_1@v2" and "api/models/me/saes/revision/v2" in asked
    assert not any("layer_2" in path or "README" in path for path in asked if "resolve" in path)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", NO_SERVER)
    for offline in (True, False):
        assert load_sae("hf:me/saes/layer_1@v2", offline=offline).fingerprint == coder.fingerprint


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, "RepoNotFound", ""), "there is no repository me/saes, or it is private. Check the name, or log in"),
        ((404, "RepoNotFound", ""), "there is no repository me/saes, or it is private"),
        ((403, "GatedRepo", "not in the list"), "me/saes is gated. Accept its terms on its page .* `hf auth login`"),
        ((404, "RevisionNotFound", ""), "me/saes has no revision 'v9'. Name one of its branches, tags or commits"),
        ((503, "", ""), "the hub refuses, with status 503. Try again later, or give a local path"),
    ],
)
def test_what_the_hub_does_not_give(answer: tuple[int, str, str], words: str) -> None:
    with serving({"models/me/saes": answer}), pytest.raises(UserError, match=f"Cannot get hf:me/saes@v9: {words}"):
        load_sae("hf:me/saes@v9")


def test_path_that_the_repository_does_not_have() -> None:
    with serving({"models/me/saes": FILES}), pytest.raises(UserError, match="repository me/saes has no 'layer_3'"):
        load_sae("hf:me/saes/layer_3")


def test_no_network_and_nothing_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", NO_SERVER)
    with pytest.raises(UserError, match="the hub cannot be reached. Fetch it once with a network, or give a local"):
        load_sae("hf:me/saes")
    with pytest.raises(UserError, match="it is not in the local cache and offline is set"):
        load_sae("hf:me/saes", offline=True)
