"""What a pass over text knows of each single latent of a SAE, kept as a table beside the rows."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saebench.engine.accumulate import Tally, finished
from saebench.inputs import Weights
from saebench.judges.look_html import file_name
from saebench.metric import NotApplicable

if TYPE_CHECKING:
    from saebench.engine.rows import Cell
    from saebench.saes import SparseCoder

FOLDER = "latents"


def write_table(
    folder: Path, cells: Sequence[Cell], tallies: Sequence[Tally], shared: Mapping[str, np.ndarray]
) -> None:
    """Write the table of the SAE of some cells into `latents/` of a run's folder, if they know anything of latents.

    A Parquet file for each SAE, a line for each latent; its attributes say which SAE it is of (`frame.attrs["sae"]`).
    Columns of an earlier suite stay.
    """
    sae = cells[0].sae
    columns = {} if sae.role != "sae" else measured(cells, tallies, shared)
    if not columns:
        return
    import pandas as pd

    file = folder / FOLDER / f"{file_name(sae.name)}.parquet"
    of_latents = {**_of_weights(sae), **_kept(file, sae), **columns}
    first = {name: of_latents[name] for name in ("density",) if name in of_latents}
    frame = pd.DataFrame({"latent": np.arange(sae.d_sae), **first, **of_latents})
    frame.attrs = {"sae": sae.name, "sae_hash": sae.fingerprint}
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(file, index=False)


def measured(
    cells: Sequence[Cell], tallies: Sequence[Tally], shared: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """By name, `[d_sae]` each: how often a latent fires, and its own value of every metric whose units are all latents.

    A metric that only says yes or no of a latent, such as whether it is dead, is left out: its frequency says so. Of
    slices with and without a setting (`bins=4`, `chosen`) those without one stay.
    """
    found: dict[str, np.ndarray] = {}
    for cell, tally in zip(cells, tallies, strict=True):
        metric, width = cell.metric, cell.sae.d_sae
        if metric.units != "latents" or tally.failure or cell.corpus is None or cell.corpus.name != "text":
            continue
        if len(tally.fields.get("fires", ())) == width and tally.fields["fires"].ndim == 1:
            found.setdefault("density", tally.fields["fires"] / cell.corpus.content)
        try:
            fields = finished(metric, tally, shared)
            if any(len(value) != width for value in fields.values()):
                continue
            values = np.asarray(metric.compute(fields), dtype=np.float64)
        except (KeyError, AttributeError, TypeError, ValueError, IndexError):
            continue  # its row says what is wrong
        whole = [name for name in tally.slices if "=" not in name]
        for name, column in zip(tally.slices or ("",), values.reshape(width, -1).T, strict=True):
            if whole and name not in whole:
                continue
            if not np.isin(column[np.isfinite(column)], (0.0, 1.0)).all():
                found[f"{metric.name}[{name}]" if name else metric.name] = column.astype(np.float32)
    return found


def _of_weights(sae: SparseCoder) -> dict[str, np.ndarray]:
    """The norm of each decoder row and its cosine with the encoder's, where the SAE has such matrices."""
    from torch.nn.functional import cosine_similarity

    weights, found = Weights(sae), {}
    with contextlib.suppress(NotApplicable):
        found["decoder_norm"] = weights.decoder.norm(dim=1).cpu().numpy()
        if weights.encoder.shape == weights.decoder.shape:
            found["encoder_decoder_cosine"] = cosine_similarity(weights.encoder, weights.decoder, dim=1).cpu().numpy()
    return found


def _kept(file: Path, sae: SparseCoder) -> dict[str, np.ndarray]:
    """What an earlier suite has left of the same weights."""
    import pandas as pd

    if not file.exists():
        return {}
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError):
        return {}
    same = frame.attrs.get("sae_hash") == sae.fingerprint and len(frame) == sae.d_sae
    return {str(name): frame[name].to_numpy() for name in frame} if same else {}
