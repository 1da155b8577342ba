"""What a probe of the mean activation says once latents are ablated, for any number of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from saebench.inputs import LabelledEffects
    from saebench.probes import Problem


class Probes(NamedTuple):
    """Linear probes of the mean activation: weights `[problems, d_out]` and intercepts `[problems]`, float64."""

    weight: np.ndarray
    intercept: np.ndarray

    def logits(self, y: np.ndarray) -> np.ndarray:
        """Log-odds `[texts, problems]` of activations `[texts, d_out]`."""
        return y @ self.weight.T + self.intercept


class Column(NamedTuple):
    """One slice: its value, which items it rests on, and what each adds to it (sum zero), `[items]` each."""

    value: float
    takes_part: np.ndarray
    influence: np.ndarray


def fit_probes(e: LabelledEffects, problems: Sequence[Problem], c: float) -> Probes:
    """Logistic regressions (L2, strength c) on activations scaled together to a total variance of one.

    All problems share the scale, that of the texts that any of them is fitted on.
    """
    import numpy as np
    import torch

    from saebench.probes import Features, fit_wide

    rows = np.unique(np.concatenate([p.train for p in problems]))
    y = activations(e)[rows]
    spread = float(y.var(0).sum()) if len(y) else 0.0
    scale = spread**-0.5 if spread > 0 else 1.0
    label, mask = torch.zeros(2, len(rows), len(problems), dtype=torch.float64)
    for column, p in enumerate(problems):
        place = torch.from_numpy(np.searchsorted(rows, p.train))
        label[place, column] = torch.from_numpy(p.train_label).double()
        mask[place, column] = 1.0
    probe = fit_wide(Features(y, scale), label, mask, c, tol=1e-7)
    return Probes(probe.coef.numpy() * scale, probe.intercept.numpy())


def activations(e: LabelledEffects) -> np.ndarray:
    """Mean activation of each text, `[texts, d_out]` float64."""
    return e.y.detach().cpu().double().numpy()


def directions(e: LabelledEffects, weight: np.ndarray) -> np.ndarray:
    """How far each latent's decoder row moves each probe's log-odds, w . d_i, `[problems, d_sae]`.

    A decoder that is not linear has no rows: all ones, so that latents are ranked by their codes alone.
    """
    import numpy as np
    import torch

    if not e.linear:
        return np.ones((len(weight), e.effects.width))
    decoder = e.decoder.detach().cpu()
    return (torch.from_numpy(weight).to(decoder.dtype) @ decoder.T).double().numpy()


def best(effect: np.ndarray, most: int) -> np.ndarray:
    """The latents with the largest effects, largest first; none whose effect is not positive."""
    import numpy as np

    positive = np.flatnonzero(effect > 0)
    return positive[np.argsort(-effect[positive], kind="stable")[:most]]


class Ablation:
    """Ablates latents in some texts.

    Args:
        e: The input.
        texts: Which texts, `[texts]`.
        weight: Of the probes that are read, `[problems, d_out]`.
        along: What `directions` gives for them, `[problems, d_sae]`.
    """

    def __init__(self, e: LabelledEffects, texts: np.ndarray, weight: np.ndarray, along: np.ndarray) -> None:
        self._e, self._texts, self._weight, self._along = e, texts, weight, along
        self._columns: Any = effects(e)[texts].tocsc() if e.linear else None

    def falls(self, ranked: np.ndarray, n: Sequence[int]) -> np.ndarray:
        """By how much log-odds fall when the first n of some latents are ablated, `[n, texts, problems]`.

        The mean activation moves by - sum_i s_i d_i over the ablated latents, s_i the mean of the code; so log-odds
        fall by sum_i s_i (w . d_i), a sum that grows with n. Where decoding is not linear the texts are decoded
        with and without each set of latents.
        """
        import numpy as np

        if not self._e.linear:
            return self._decoded(ranked, n)
        codes = self._columns[:, ranked].toarray().astype(np.float64)
        along = self._along[:, ranked].T
        parts = np.stack([codes[:, a:b] @ along[a:b] for a, b in zip([0, *n], n, strict=False)])
        return parts.cumsum(0)

    def _decoded(self, ranked: np.ndarray, n: Sequence[int]) -> np.ndarray:
        import torch

        shifts = self._e.shifts([torch.from_numpy(ranked[:size]) for size in n])[:, torch.from_numpy(self._texts)]
        return -(shifts.double().cpu() @ torch.from_numpy(self._weight).T).numpy()


def effects(e: LabelledEffects) -> Any:
    """Mean effects of the texts' latents as compressed rows, `[texts, d_sae]`."""
    from saebench.probes import table

    return e.once(("ablation: table",), lambda: table(e.effects))


def averaged(columns: Sequence[Column]) -> Column:
    """The mean of some slices; undefined ones are left out."""
    import numpy as np

    kept = [column for column in columns if np.isfinite(column.value)]
    if not kept:
        return Column(float("nan"), np.zeros_like(columns[0].takes_part), np.zeros_like(columns[0].influence))
    return Column(
        float(np.mean([column.value for column in kept])),
        np.any([column.takes_part for column in kept], axis=0),
        np.mean([column.influence for column in kept], axis=0),
    )


def fields(columns: Sequence[Column]) -> dict[str, Any]:
    """psi and n of each slice, `[items, slices]`, whose sums have the ratio psi / n = value; NaN is 0 / 0."""
    import numpy as np
    import torch

    value = np.array([column.value for column in columns])
    n = np.stack([column.takes_part & np.isfinite(column.value) for column in columns], axis=1).astype(np.float64)
    influence = np.stack([column.influence for column in columns], axis=1)
    psi = n * np.nan_to_num(value) + n.sum(0) * influence
    return {"psi": torch.from_numpy(psi), "n": torch.from_numpy(n)}
