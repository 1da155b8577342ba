"""Labelled texts from wherever they lie, through one door: the world, presets, files and folders, the hub."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.data import labelled_sae_probes, labelled_saebench, labelled_world
from saebench.data.labelled_split import Labelling
from saebench.data.labelled_tasks import Builder
from saebench.errors import UserError, unknown

if TYPE_CHECKING:
    from saebench.data.labelled import LabelledTexts
    from saebench.data.specs import LabelledSpec

PRESETS = ("world", "saebench", "sae-probes")
_KNOWN = {
    "world": labelled_world.task_names,
    "saebench": labelled_saebench.task_names,
    "sae-probes": labelled_sae_probes.task_names,
}


def read_labelled(
    source: Any, spec: LabelledSpec, *, seed: int, offline: bool = False, hollow: Container[str] = ()
) -> LabelledTexts:
    """Texts with the tasks and pairs over them; every split depends on the seed and the texts alone.

    Args:
        source: `world[:TASK,...]`, `saebench`, `sae-probes`, `hf:OWNER/NAME[@REVISION]`, a file or folder, or rows
            in memory (mappings with the spec's columns).
        spec: Columns, sizes and what to keep.
        seed: Of the splits and of the negatives.
        offline: Take what is on the hub from the local cache alone.
        hollow: Texts that hold no content token for the model; they are left out, counted.

    Raises:
        UserError: Not found, not readable, a missing column, an unknown task, or too few texts for two classes; the
            message says what to change.
    """
    builder = Builder(spec, seed, hollow)
    name = source if isinstance(source, (str, Path)) else "rows in memory"
    for labelling in _labellings(source, spec, seed, offline):
        builder.add(labelling)
    return builder.finish(str(name), _notes(str(name)))


def chosen_tasks(preset: str, spec: LabelledSpec, among: str = "") -> list[str]:
    """Tasks of a preset that are asked for, in the preset's order.

    Raises:
        UserError: A task that it has not got.
    """
    known = _KNOWN[preset]()
    wanted = [part.strip() for part in among.split(",") if part.strip()] or list(known)
    return _kept(wanted, spec.tasks, known, preset)


def _labellings(source: Any, spec: LabelledSpec, seed: int, offline: bool) -> Iterable[Labelling]:
    if not isinstance(source, (str, Path)):
        return _from_memory(source, spec)
    preset, _, rest = str(source).partition(":")
    if preset == "world":
        return labelled_world.from_world(chosen_tasks("world", spec, rest), spec, seed)
    if str(source) == "saebench":
        return labelled_saebench.from_saebench(chosen_tasks("saebench", spec), spec, offline=offline)
    if preset == "sae-probes":
        folder = Path(rest) if rest else None
        return labelled_sae_probes.from_sae_probes(chosen_tasks("sae-probes", spec), folder)
    from saebench.data import labelled_files

    if preset == "hf":
        found = labelled_files.from_hub(str(source), spec, offline=offline)
    else:
        found = labelled_files.from_disk(Path(source), spec)
    names = _kept([each.name for each in found], spec.tasks, [each.name for each in found], str(source))
    return [each for each in found if each.name in names]


def _kept(wanted: Sequence[str], tasks: Sequence[str] | None, known: Sequence[str], source: str) -> list[str]:
    for name in (*wanted, *(tasks or ())):
        if name not in known:
            raise unknown(f"task of {source!r}:", name, known)
    return [name for name in known if name in wanted and (tasks is None or name in tasks)]


def _from_memory(source: Any, spec: LabelledSpec) -> list[Labelling]:
    rows = [row for row in source if isinstance(row, Mapping)] if isinstance(source, Iterable) else []
    if not rows:
        raise UserError(
            f"Labelled data of type {type(source).__name__} is not understood: give a path, or rows such as "
            f"{{{spec.column!r}: 'a text', 'label': 'a class'}}."
        )
    from saebench.data.labelled_files import labellings

    return labellings("rows", rows, spec)


def _notes(name: str) -> dict[str, str]:
    return dict(labelled_world.NOTES) if name.partition(":")[0] == "world" else {}
