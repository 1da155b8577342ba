"""The sums of an unfinished pass, kept on disk so that a killed run goes on where it was."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saebench.engine.accumulate import Fields
    from saebench.engine.pooling import Means
    from saebench.engine.stream import Task

    AllMeans = Mapping[str, Sequence[Means]]


class Checkpoint:
    """One file for one pass, written to a temporary name and renamed; its name says what it belongs to.

    Args:
        folder: Where to keep it.
        key: Hash of everything the pass depends on (model, corpus, SAEs, metrics).
        every: Seconds between two saves.
    """

    def __init__(self, folder: Path, key: str, *, every: float = 30.0) -> None:
        self.file = folder / f"pass-{key}.npz"
        self._every = every
        self._saved = time.monotonic()

    def save(
        self, start: int, tasks: list[Task], totals: dict[str, Fields], means: AllMeans | None = None, *, last: bool
    ) -> None:
        """Keep the sums if it is time; `start` is the place in the order of rows to go on from."""
        if last or time.monotonic() - self._saved < self._every:
            return
        arrays: dict[str, np.ndarray] = {}
        state = {
            "start": start,
            "tasks": [[(t.shared, t.slices, t.notes, t.failure, t.seconds) for t in task.tallies] for task in tasks],
            "failures": [task.failure for task in tasks],
        }
        for place, task in enumerate(tasks):
            for number, tally in enumerate(task.tallies):
                arrays |= {f"{place}/{number}/{name}": value for name, value in tally.fields.items()}
            for kind, collector in task.collectors.items():
                arrays |= {f"{place}/collected {kind}/{name}": value for name, value in collector.state().items()}
        for hook, pools in (means or {}).items():
            arrays |= {f"means/{hook}/{pool.how}": pool.sums for pool in pools}
        for hook, fields in totals.items():
            arrays |= {f"shared/{hook}/{name}": value for name, value in fields.items()}
        arrays["state"] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as out:
            np.savez(out, **arrays)  # pyright: ignore[reportArgumentType]
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.file)
        self._saved = time.monotonic()

    def restore(self, tasks: list[Task], totals: dict[str, Fields], means: AllMeans | None = None) -> int:
        """Take the sums back into the tasks; returns the place to go on from, 0 when there is nothing kept."""
        if not self.file.exists():
            return 0
        try:
            with np.load(self.file, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return 0
        state = json.loads(arrays.pop("state").tobytes())
        for task, tallies, failure in zip(tasks, state["tasks"], state["failures"], strict=True):
            task.failure = failure
            for tally, (shared, slices, notes, why, seconds) in zip(task.tallies, tallies, strict=True):
                tally.shared, tally.slices, tally.notes = tuple(shared), tuple(slices), tuple(notes)
                tally.seconds = seconds
                tally.failure = tuple(why) if why else None
        collected: dict[tuple[int, str], dict[str, np.ndarray]] = {}
        for name, value in arrays.items():
            owner, rest = name.split("/", 1)
            place, field = rest.rsplit("/", 1)
            if owner == "shared":
                totals[place][field] = value
            elif owner == "means":
                next(pool for pool in (means or {})[place] if pool.how == field).sums = value
            elif place.startswith("collected "):
                collected.setdefault((int(owner), place.removeprefix("collected ")), {})[field] = value
            else:
                tasks[int(owner)].tallies[int(place)].fields[field] = value
        for (number, kind), kept in collected.items():
            tasks[number].collectors[kind].restore(kept)
        return int(state["start"])

    def remove(self) -> None:
        """Forget the pass: its rows are on disk."""
        self.file.unlink(missing_ok=True)
