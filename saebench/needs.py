"""What a suite has to get from elsewhere before it can run: models, SAEs, datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from saebench.data.datasets import resolved, with_its_keys
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.suite import Suite

Kind = Literal["model", "sae", "dataset"]
Way = Literal["files", "first", "library", "package", "by hand"]


@dataclass(frozen=True)
class Need:
    """One thing that a run reads and that is not part of saebench.

    Attributes:
        kind: `model`, `sae` or `dataset`.
        reference: What it is called: a hub id, `hf:OWNER/NAME`, `saelens:RELEASE/ID`.
        revision: Commit that is pinned; None for `main`.
        why: What wants it, such as `data probing`.
        way: How a dataset is got: chosen `files` of it, the `first` table of a split, through the `library`
            datasets, with a Python `package`, or `by hand`.
        files: Paths or globs that must be there; empty for all tables.
        config: Configuration of a dataset.
        split: Split of a dataset.
        note: For what is got by hand, how.
    """

    kind: Kind
    reference: str
    revision: str | None
    why: str
    way: Way = "files"
    files: tuple[str, ...] = ()
    config: str | None = None
    split: str | None = None
    note: str = ""

    def __str__(self) -> str:
        pinned = f"@{self.revision[:12]}" if self.revision else ""
        part = f" ({self.config})" if self.config else ""
        return f"{self.kind} {self.reference}{pinned}{part}, for {self.why}"


def wanted(suite: Suite, *, model: str | None = None, saes: Sequence[str] = ()) -> list[Need]:
    """What a suite reads from elsewhere, each thing once; nothing of the world, of paths or of objects.

    Args:
        suite: With its data as specs.
        model: Model in place of the suite's; without any, data takes the defaults of a model that is not the world's.
        saes: SAE references in place of the suite's.

    Raises:
        UserError: A reference or a source that makes no sense.
    """
    name = model or suite.model
    refs = list(saes) or [*suite.sae, *_grouped(suite)]
    if name is None and refs and all(bare(ref).startswith("world:") for ref in refs):
        name = "world"
    needs = [*_model(name), *(need for ref in refs for need in _sae(ref))]
    for data, spec in suite.data.items():
        needs += _data(data, spec, name or "")
    return list(dict.fromkeys(needs))


def _model(name: str | None) -> list[Need]:
    if name is None or name == "world" or ":" in name or Path(name).expanduser().exists():
        return []
    from saebench.models.names import hub_id

    return [Need("model", hub_id(name), None, "the model")]


def _sae(ref: str) -> list[Need]:
    ref = bare(ref)
    scheme, _, rest = ref.partition(":")
    if scheme in ("null", "baseline", "prefix", "topk", "at"):
        return _sae(rest.partition("@")[2]) if "@" in rest else []
    if scheme in ("hf", "saelens"):
        pinned = rest.partition("@")[2] if scheme == "hf" else ""
        return [Need("sae", ref, pinned or None, "the SAEs")]
    return []


def _grouped(suite: Suite) -> list[str]:
    """The references of the suite's seed groups."""
    refs = [ref for group in suite.groups.values() for ref in (*group.sae, *group.init)]
    return [ref for ref in refs if isinstance(ref, str)]


def bare(ref: str) -> str:
    """A reference without the `NAME=` that may stand in front of it."""
    name, equals, rest = ref.partition("=")
    return rest if equals and "/" not in name and ":" not in name and not Path(ref).exists() else ref


def _data(name: str, spec: Any, model: str) -> list[Need]:
    why = f"data {name}"
    try:
        source = str(resolved(name, spec.source, model))
    except UserError as error:
        return [Need("dataset", name, None, why, "by hand", note=str(error))]
    spec = with_its_keys(spec.source, source, spec)
    if name in ("probing", "last_token"):
        return list(_labelled(source, spec, why))
    if name == "entities" and (source == "saebench" or source.startswith("hf:")):
        from saebench.data.facts_file import HUB

        return [_files(HUB if source == "saebench" else source, ("*.json",), why)]
    if name == "questions" and source in ("wmdp-bio", "saebench"):
        from saebench.data.questions_file import REVISIONS, sets

        return [
            Need("dataset", f"hf:{repo}", REVISIONS[repo], why, "library", config=config, split=spec.split)
            for repo, config in sets()
        ]
    if source.startswith("hf:") and hasattr(spec, "config"):
        reference, _, revision = source.partition("@")
        return [Need("dataset", reference, revision or None, why, "first", config=spec.config, split=spec.split)]
    return []


def _labelled(source: str, spec: Any, why: str) -> Iterable[Need]:
    from saebench.data import labelled_sae_probes, labelled_saebench
    from saebench.data.hub_data import parse
    from saebench.data.labelled_reader import chosen_tasks

    if source == "saebench":
        for files in labelled_saebench.needed(chosen_tasks("saebench", spec)):
            yield Need("dataset", f"hf:{files.repo}", files.revision, why, files=files.patterns)
    elif source == "sae-probes":
        chosen_tasks("sae-probes", spec)
        yield Need("dataset", labelled_sae_probes.PACKAGE, labelled_sae_probes.VERSION, why, "package")
    elif source.startswith("hf:"):
        files = parse(source, spec.config)
        yield Need("dataset", f"hf:{files.repo}", files.revision, why, files=files.patterns, config=spec.config)


def _files(reference: str, patterns: tuple[str, ...], why: str) -> Need:
    plain, _, revision = reference.partition("@")
    return Need("dataset", plain, revision or None, why, files=patterns)


def grouped(needs: Iterable[Need]) -> Mapping[str, list[Need]]:
    """Needs by kind, in the order model, sae, dataset."""
    found: dict[str, list[Need]] = {"model": [], "sae": [], "dataset": []}
    for need in needs:
        found[need.kind].append(need)
    return found
