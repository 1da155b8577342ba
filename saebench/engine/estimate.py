"""How long a pass will take and how much memory it needs, from its matrix products."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from saebench.engine import agreement
from saebench.engine.accumulate import out_of_memory
from saebench.engine.contexts import room
from saebench.engine.execute import token_budget
from saebench.engine.fits import MOST_ENTRIES
from saebench.engine.joint import Joint
from saebench.engine.judged import sampling
from saebench.engine.pooling import Arrays, Collector
from saebench.engine.references import FIT_TOKENS
from saebench.engine.stream import Pass, Task
from saebench.inputs import Losses, OtherCodes, SeedCodes

if TYPE_CHECKING:
    from saebench.engine.batches import Batch
    from saebench.engine.rows import Cell
    from saebench.metric import Metric
    from saebench.saes import Codes, SparseCoder

_OVERHEAD = 2.0
"""Time of a pass over that of its matrix products: attention, normalisation, softmax and sums."""


def minutes(cells: list[Cell]) -> float:
    """Estimated minutes of one pass on this machine, from a timed matrix product."""
    model = cells[0].model
    if cells[0].corpus is None:
        return sum(4.0 * c.sae.d_sae**2 * c.sae.d_out for c in cells) / _speed(model.device) / 60
    forward = 2.0 * _parameters(cells)
    per_token = forward
    for sae, spliced in _saes(cells).items():
        depth = model.site(sae.hook_out).layer / max(1, model.n_layers)
        per_token += 4.0 * sae.d_in * sae.d_sae + (forward * (1 - depth) if spliced else 0)
    tokens = len(Joint.of(cells).whole.corpus.tokens)
    return _OVERHEAD * per_token * tokens / _speed(model.device) / 60


def memory_gb(cells: list[Cell]) -> float:
    """Estimated peak memory of one pass in GB.

    On a CPU: of the process, what it holds before the pass included. On a GPU: of the device, weights included.
    """
    model = cells[0].model
    saes = _saes(cells)
    host = model.device.type == "cpu"
    size = torch.finfo(model.dtype).bits / 8
    weights = _parameters(cells) * size + sum(4.0 * 2 * sae.d_in * sae.d_sae for sae in saes)
    base = max(_held(), weights) if host else weights
    if cells[0].corpus is None:
        return base / 1e9
    budget = token_budget(model.device, saes)
    logits = 12.0 * budget * model.vocab_size if any(saes.values()) else 0
    base += 12.0 * budget * max(sae.d_sae for sae in saes) + logits
    return (base + _kept(cells)) / 1e9 if host else base / 1e9


def _held() -> float:
    """Bytes that this process holds; 0 where the system does not say."""
    try:
        return 1024.0 * int(re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[0])
    except (OSError, IndexError):
        return 0.0


def _kept(cells: list[Cell]) -> float:
    """Bytes that are kept of each SAE until a pass ends: sums, a batch's beside them, windows, other text, groups."""
    by_sae: dict[SparseCoder, list[Metric]] = {}
    for cell in cells:
        by_sae.setdefault(cell.sae, []).append(cell.metric)
    tasks = [Task(sae, metrics) for sae, metrics in by_sae.items()]
    seen = {id(task): _Entries() for task in tasks}
    for task in tasks:
        task.collectors = {"entries": seen[id(task)]}
    try:
        Pass(cells[0].model, Joint.of(cells).whole.corpus, tasks, budget=1).one_row()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    sums = sum(value.nbytes for task in tasks for tally in task.tallies for value in tally.fields.values())
    other = sum(seen[id(task)].bytes_of(FIT_TOKENS) for task in tasks if task.wants(OtherCodes))
    contexts = sum(room(s, sae.d_sae) for sae, s in {(c.sae, sampling(c.metric)) for c in cells} if s)
    asked = [cell.pairs.whole for cell in cells if cell.pairs and SeedCodes in cell.metric.inputs.values()]
    groups = sum(min(agreement.ROOM, agreement.room(group)) for group in {id(g): g for g in asked if g}.values())
    return 2.0 * sums + other + contexts + groups


class _Entries(Collector):
    """Counts the codes of a batch."""

    def __init__(self) -> None:
        self.share = 0.0

    def adder(self, codes: Codes, batch: Batch) -> Callable[[], None]:
        self.share = len(codes.values) / max(1, codes.n)
        return lambda: None

    def bytes_of(self, tokens: int) -> float:
        """Bytes of the codes of some tokens, of as many of them as are kept."""
        return 12.0 * min(MOST_ENTRIES, self.share * tokens)

    def state(self) -> Arrays:
        return {}

    def restore(self, state: Arrays) -> None:
        """There is nothing to put back."""


def _saes(cells: list[Cell]) -> dict:
    """The SAEs of a pass, and whether their losses are wanted."""
    found: dict = {}
    for cell in cells:
        found[cell.sae] = found.get(cell.sae, False) or Losses in cell.metric.inputs.values()
    return found


def _parameters(cells: list[Cell]) -> float:
    """Parameters of the model: layers of the usual 12 d^2, and the head."""
    model = cells[0].model
    return 12.0 * model.n_layers * model.d_model**2 + model.d_model * model.vocab_size


def _speed(device: torch.device) -> float:
    """Floating-point operations a second of a float32 matrix product."""
    a = torch.ones(1024, 512, device=device)
    (a @ a.T).sum().item()
    began = time.perf_counter()
    torch.stack([(a @ a.T).sum() for _ in range(4)]).sum().item()
    return 4 * 2.0 * 1024 * 1024 * 512 / (time.perf_counter() - began)
