"""Getting what a suite needs once, so that it runs without a network afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from saebench import local_caches
from saebench.data import hub_data
from saebench.data.hub_data import HubFiles
from saebench.errors import UserError
from saebench.needs import Need, wanted

if TYPE_CHECKING:
    from saebench.suite import Suite

__all__ = ["Need", "fetch", "missing", "refuse_missing", "wanted"]


def missing(needs: Iterable[Need]) -> list[Need]:
    """Those that are not in the local caches; asks no network."""
    return [need for need in needs if not _present(need)]


def refuse_missing(suite: Suite, *, model: str | None = None, saes: Sequence[str] = ()) -> None:
    """Check before an offline run that all it needs is there.

    Raises:
        UserError: Something is missing; all of it is listed, with the command that gets it.
    """
    lacking = missing(wanted(suite, model=model, saes=saes))
    if not lacking:
        return
    listed = "; ".join(str(need) for need in lacking)
    by_hand = " ".join(need.note for need in lacking if need.note)
    options = "".join([f" --model {model}" if model else "", *(f" --sae {ref}" for ref in saes)])
    raise UserError(
        f"Not in the local caches, and --offline was given: {listed}. "
        f"Get it once with a network: saebench fetch {suite.name}{options}.{' ' + by_hand if by_hand else ''}"
    )


def fetch(needs: Iterable[Need], progress: Callable[[Need], None] | None = None) -> list[Need]:
    """Get what is missing.

    Args:
        needs: As `wanted` lists them.
        progress: Called with each thing before it is got.

    Returns:
        What was got; what was there already is left as it is.

    Raises:
        UserError: Some could not be got: all of them are named, after everything else was got.
    """
    got: list[Need] = []
    failed: list[str] = []
    for need in missing(needs):
        if progress is not None:
            progress(need)
        try:
            _get(need)
            got.append(need)
        except UserError as error:
            failed.append(str(error))
    if failed:
        raise UserError(f"{len(failed)} of {len(failed) + len(got)} could not be got: {' '.join(failed)}")
    return got


def _hub_files(need: Need) -> HubFiles:
    return HubFiles(need.reference.removeprefix("hf:"), need.files, need.revision)


def _full(need: Need) -> str:
    return need.reference + (f"@{need.revision}" if need.revision else "")


def _present(need: Need) -> bool:
    if need.kind == "model":
        return local_caches.has_model(need.reference, need.revision)
    if need.kind == "sae":
        return local_caches.has_sae(need.reference)
    if need.way == "first":
        return bool(hub_data.cached_split(_full(need), need.config, need.split or "train"))
    if need.way == "library":
        return local_caches.has_by_library(need.reference, need.config)
    if need.way == "package":
        from saebench.data.labelled_sae_probes import installed

        return installed() is not None
    return need.way == "files" and hub_data.cached(_hub_files(need)) is not None


def _get(need: Need) -> None:
    if need.kind == "model":
        local_caches.get_model(need.reference, need.revision)
    elif need.kind == "sae":
        local_caches.get_sae(need.reference)
    elif need.way == "first":
        hub_data.download_first(_full(need), need.config, need.split or "train")
    elif need.way == "library":
        local_caches.get_by_library(need.reference, need.config, need.split, need.revision)
    elif need.way == "package":
        local_caches.install()
    elif need.way == "by hand":
        raise UserError(need.note)
    else:
        hub_data.download(_hub_files(need))
