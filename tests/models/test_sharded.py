"""Models that accelerate has spread over devices, memory and disk: the numbers of the model in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import saebench as sb
from saebench.errors import UserError
from saebench.models import load_model
from tests.helpers.toys import ToySAE
from tests.models.families import LAYERS, WIDTH, build, edited, token_rows

accelerate = pytest.importorskip("accelerate")

SUITE = {"name": "m", "metric": ["ce_clean", "ce_delta", "mse", "l0", "kl"]}


def spread(name: str, places: dict[str, Any], folder: Path) -> Any:
    """A model with hooks of accelerate on each part of a map."""
    return accelerate.dispatch_model(
        build(name), device_map=places, main_device="cpu", offload_dir=str(folder), force_hooks=True
    )


def on_disk(name: str, folder: Path) -> Any:
    """A model whose later layers and head lie on disk and come to memory when they run."""
    stem, embed, norm = {
        "llama": ("model", "embed_tokens", "norm"), "gpt_neox": ("gpt_neox", "embed_in", "final_layer_norm"),
    }[name]  # fmt: skip
    near = [f"{stem}.{part}" for part in (embed, "rotary_emb", "layers.0", "layers.1")]
    far = [f"{stem}.{part}" for part in (*(f"layers.{i}" for i in range(2, LAYERS)), norm)]
    return spread(name, dict.fromkeys(near, "cpu") | dict.fromkeys([*far, "lm_head"], "disk"), folder)


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_parts_on_disk(name: str, tmp_path: Path) -> None:
    whole, parted = load_model(build(name)), load_model(on_disk(name, tmp_path))
    tokens = token_rows()
    hooks = [hook for hook in whole.sites() if hook.startswith(("blocks.1.", "blocks.3."))]
    assert parted.sites() == whole.sites() and parted.fingerprint == whole.fingerprint
    run, again = whole.forward(tokens, hooks), parted.forward(tokens, hooks)
    assert run.final is not None and again.final is not None
    assert torch.equal(parted.logits(again.final), whole.logits(run.final))
    for hook in hooks:
        assert torch.equal(again.acts[hook], run.acts[hook]), hook
        value = edited(run.acts[hook])
        assert torch.equal(parted.resume(again, hook, value), whole.resume(run, hook, value)), hook


def test_a_run_on_a_spread_model_has_the_same_numbers(tmp_path: Path) -> None:
    sae, rows = ToySAE(d_in=WIDTH), {"text": token_rows(6, 12, seed=2)}
    numbers = []
    for model in (build("llama"), spread("llama", {"": "cpu"}, tmp_path), on_disk("llama", tmp_path)):
        results = sb.evaluate(sae, SUITE, model=model, data=rows)
        numbers.append([(row.metric, row.value) for row in results.rows])
    assert numbers[0] == numbers[1] == numbers[2]


def test_shard_loads_by_device_map(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path / "m")
    subject = load_model(tmp_path / "m", device="shard")
    final = subject.forward(token_rows()).final
    whole = load_model(tmp_path / "m")
    assert torch.equal(final.cpu(), whole.forward(token_rows()).final.cpu())  # type: ignore[union-attr]


def test_a_spread_model_is_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UserError, match="spread over devices by its device_map: leave device at 'auto'"):
        load_model(spread("llama", {"": "cpu"}, tmp_path), device="mps")
