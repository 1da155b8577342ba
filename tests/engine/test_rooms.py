"""SAEs that do not fit into memory together: in and out by turns, with the numbers of all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import saebench as sb
from saebench.engine import execute, rooms
from saebench.engine.rooms import settled, size_of
from saebench.saes.architectures import ReLU
from tests.helpers.toys import HOOK, WIDTH, ToySAE, tiny_llama, token_rows

SUITE = {
    "name": "m", "metric": ["ce_delta", "mse", "l0", "dead_fraction", "decoder_norm"],
    "references": {"null": "null:random-8", "baseline": "baseline:pca"},
}  # fmt: skip


def coders(count: int) -> list[ReLU]:
    """Different SAEs at one hook."""
    made = []
    for seed in range(count):
        toy = ToySAE(seed=seed)
        weights = {name: getattr(toy, name).detach() for name in ("W_dec", "W_enc", "b_enc", "b_dec")}
        made.append(ReLU(**weights, hook_in=HOOK, hook_out=HOOK, name=f"toy-{seed}"))
    return made


@pytest.mark.parametrize("fitting", [1, 2, 3])
def test_numbers_do_not_depend_on_what_fits(fitting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, saes = tiny_llama(), {"text": token_rows()}, coders(4)
    whole = sb.evaluate(saes, SUITE, model=model, data=data)
    inside: list[int] = []
    plain = execute.moved_in

    @contextmanager
    def watched(cells: list[Any]) -> Iterator[list[Any]]:
        with plain(cells) as moved:
            inside.append(len({id(cell.sae) for cell in moved}))
            yield moved

    monkeypatch.setattr(execute, "moved_in", watched)
    largest = max(size_of(sae) for sae in saes)
    monkeypatch.setattr(rooms, "sae_budget", lambda device: largest * (fitting + 0.5))
    again = sb.evaluate(saes, SUITE, model=model, data=data)
    assert inside and max(inside) <= fitting + 1 and len(inside) > 2  # PCA is smaller than the SAEs

    def told(results: Any) -> dict[tuple[str, str], Any]:
        return {(row.sae, row.metric): (row.value, row.signature, row.status) for row in results.rows}

    assert told(again) == told(whole) and len(told(whole)) == 6 * 5


def test_saes_wait_at_home_where_not_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    saes, device = coders(3), torch.device("meta")
    size = size_of(saes[0])
    assert size == 4 * (2 * 24 * WIDTH + 24 + WIDTH)
    monkeypatch.setattr(rooms, "sae_budget", lambda _: 3.5 * size)
    assert {sae.W_dec.device.type for sae in settled(saes, device)} == {"meta"}
    assert {sae.W_dec.device.type for sae in settled(saes, device, references=1)} == {"cpu"}


def test_a_gpu_has_a_budget_and_a_cpu_none() -> None:
    assert rooms.sae_budget(torch.device("cpu")) == float("inf")
